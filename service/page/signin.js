// Signing in: a token is sent once and kept nowhere; then a cookie that no script can read says who we are.
import {byId} from "./dom.js"
import {post, remove} from "./api.js"
import {refresh} from "./known.js"
import {attempt, banner} from "./messages.js"
import {hear, tell} from "./news.js"
import {said} from "./words.js"

export function startSignIn() {
	hear("sign-in", ask)
	byId("sign-in").onsubmit = event => {
		event.preventDefault()
		byId("sign-in-state").textContent = ""
		signIn().catch(error => {
			byId("sign-in-state").textContent = said(error)
		})
	}
	byId("sign-out").onclick = () =>
		attempt(async () => {
			await remove("/v1/session")
			location.reload()
		})
	showSession().catch(() => {
		/* shown once signed in */
	})
}

function ask() {
	if (!byId("sign-in").hidden) return
	byId("sign-in").hidden = false
	byId("state").textContent = "not signed in"
	byId("sign-out").hidden = true
	document.querySelector("main").hidden = true
	byId("token").focus()
}

async function signIn() {
	await post("/v1/session", {token: byId("token").value.trim()})
	byId("token").value = ""
	byId("sign-in").hidden = true
	document.querySelector("main").hidden = false
	await Promise.all([showSession(), refresh()])
	tell("signed-in")
	byId("work").focus({preventScroll: true})
}

async function showSession() {
	const session = await (await fetch("/v1/session")).json() // answered signed in or not
	byId("sign-out").hidden = !session.needed || !session.scope
	banner(
		"scope",
		session.scope === "classify" ? "You may look and classify. To teach, sign in with the manage token." : ""
	)
}
