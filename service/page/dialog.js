// Large views above the page. The focus goes back to where it was when they close.
import {button, byId, make, row} from "./dom.js"
import {attempt} from "./messages.js"

let titles = 0

// Opens a dialog; returns {body, close, closed}.
export function openDialog(title, attributes = {}) {
	const before = document.activeElement
	const id = `dialog-title-${++titles}`
	const body = make("div.dialog-body")
	const dialog = make(
		"dialog",
		{"aria-labelledby": id, ...attributes},
		make(
			"div.dialog-head",
			make("h2", {id}, title),
			button("Close", () => dialog.close(), "small close")
		),
		body
	)
	dialog.onclick = event => {
		if (event.target === dialog) dialog.close()
	}
	const closed = new Promise(resolve => {
		dialog.onclose = () => {
			leave(dialog, before)
			resolve()
		}
	})
	document.body.append(dialog)
	dialog.showModal()
	dialog.append(byId("toasts")) // what is outside of a modal dialog can't be seen or pressed
	return {body, close: () => dialog.close(), closed, dialog}
}

function leave(dialog, before) {
	const others = [...document.querySelectorAll("dialog[open]")].filter(other => other !== dialog)
	;(others.pop() || document.body).append(byId("toasts"))
	dialog.remove()
	const label = one => one.getAttribute("aria-label") || one.textContent
	const same = [...document.querySelectorAll(before.tagName)].find(one => label(one) === label(before))
	;(before.isConnected ? before : same || byId("work")).focus() // what was drawn anew is another one
}

// Asks; the answer's button is named after what it does.
export async function confirm(title, text, action) {
	const {body, closed, dialog} = openDialog(title, {class: "narrow"})
	const yes = button(action, () => dialog.close("yes"), "main")
	body.append(
		make("p", text),
		row(
			yes,
			button("Cancel", () => dialog.close())
		)
	)
	yes.focus()
	await closed
	return dialog.returnValue === "yes"
}

// A button whose work shows that it goes on and can't be started twice.
export function working(text, work, ...looks) {
	const element = button(text, () => once(element, work), ...looks)
	return element
}

// Works, unless that button is at work already.
export async function once(element, work) {
	if (element.getAttribute("aria-busy") === "true") return
	element.setAttribute("aria-busy", "true")
	await attempt(work)
	element.removeAttribute("aria-busy")
}
