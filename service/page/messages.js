// What the page says: errors, what was done, and banners for what is lost.
import {post} from "./api.js"
import {button, byId, make, replace} from "./dom.js"
import {tell} from "./news.js"
import {said} from "./words.js"

const SHOWN_FOR = 15000
const MOST_UNDONE = 1000 // steps at once, as the daemon has it

let timer = 0
let newest = [] // steps of what was done last on this page

export function showError(error) {
	if (error.status === 401 || error.name === "AbortError") return // signing in is the way on
	const close = button("Close", () => byId("message").toggleAttribute("hidden", true), "small")
	replace(byId("message"), make("span", said(error)), close)
	byId("message").hidden = false
}

// Runs what a person asked for and shows what went wrong. True when it worked.
export async function attempt(work) {
	byId("message").hidden = true
	try {
		await work()
		return true
	} catch (error) {
		showError(error)
		return false
	}
}

// Says what was done; steps : of all its requests in the journal, to take it back.
export function done(text, ...steps) {
	const toast = byId("toast")
	const parts = [make("span", text)]
	newest = steps.filter(Boolean)
	if (newest.length > MOST_UNDONE) newest = []
	const looks = {id: "undo", title: "Ctrl+Z", "aria-keyshortcuts": "Control+Z"}
	if (newest.length) parts.push(button("Undo", () => undo(newest), "small", looks))
	replace(toast, make("div.toast", ...parts))
	later()
	toast.onpointerenter = toast.onfocusin = () => clearTimeout(timer)
	toast.onpointerleave = toast.onfocusout = later
}

function later() {
	clearTimeout(timer)
	timer = setTimeout(() => replace(byId("toast")), SHOWN_FOR)
}

export async function undo(steps) {
	await attempt(async () => {
		await post("/v1/undo", {steps})
		done("Undone.")
		tell("changed")
	})
}

addEventListener("keydown", event => {
	if (event.key !== "z" || !(event.ctrlKey || event.metaKey) || !newest.length) return
	if (event.target.closest("input:not([type=checkbox])")) return // its own text is meant
	event.preventDefault()
	undo(newest)
})

// A banner stays as long as it is true; an empty text takes it away. action : a button that mends it
export function banner(id, text, action = null) {
	const place = byId("banners")
	let line = place.querySelector(`[data-id="${id}"]`)
	if (!text) {
		if (line) line.remove()
		return
	}
	if (line && line.dataset.text === text) return
	if (!line) place.append((line = make("div.banner.row", {"data-id": id})))
	line.dataset.text = text
	replace(line, make("p", text), action)
}

// Says in a view why it can't be shown.
export function unavailable(view, error, what) {
	const text =
		error.status === 404 ? `This board's coral-learn does not offer ${what}. A newer version does.` : said(error)
	view.dataset.facts = ""
	replace(view, make("p.empty", text))
}
