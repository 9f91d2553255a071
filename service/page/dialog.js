// Large views above the page. The focus goes back to where it was when they close.
import {button, byId, heading, make} from "./dom.js"
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
			heading(2, title, {id}),
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
	if (before && before.isConnected) before.focus()
}

// Asks; the answer's button is named after what it does.
export function confirm(title, text, action) {
	return new Promise(resolve => {
		const {body, close, closed} = openDialog(title, {class: "narrow"})
		let answer = false
		const yes = button(
			action,
			() => {
				answer = true
				close()
			},
			"main"
		)
		body.append(make("p", text), make("div.row", yes, button("Cancel", close)))
		yes.focus()
		closed.then(() => resolve(answer))
	})
}

// A button whose work shows that it goes on and can't be started twice.
export function working(text, work, ...looks) {
	const element = button(
		text,
		async () => {
			if (element.getAttribute("aria-busy") === "true") return
			element.setAttribute("aria-busy", "true")
			await attempt(work)
			element.removeAttribute("aria-busy")
		},
		...looks
	)
	return element
}
