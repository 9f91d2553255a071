// Views side by side: arrow keys, Home and End move between them.
import {hear, tell} from "./news.js"

const tabs = () => [...document.querySelectorAll('[role="tab"]')]
const panelOf = tab => document.getElementById(tab.getAttribute("aria-controls"))

export const isShown = id => !document.getElementById(id).hidden

// Has a view drawn whenever it comes to the front, and after the daemon was away.
export const whenShown = (id, show) => hear("shown", panel => panel === id && show())

export function showTab(id) {
	const chosen = tabs().find(tab => tab.getAttribute("aria-controls") === id) || tabs()[0]
	for (const tab of tabs()) {
		const here = tab === chosen
		tab.setAttribute("aria-selected", String(here))
		tab.tabIndex = here ? 0 : -1
		panelOf(tab).hidden = !here
	}
	const panel = panelOf(chosen).id
	if (location.hash.slice(2) !== panel) history.replaceState(null, "", `#/${panel}`)
	document.body.dataset.view = panel
	tell("shown", panel)
}

export function startTabs() {
	for (const tab of tabs()) {
		tab.onclick = () => showTab(tab.getAttribute("aria-controls"))
		tab.onkeydown = move
	}
	window.addEventListener("hashchange", () => {
		for (const dialog of document.querySelectorAll("dialog")) dialog.close()
		showTab(location.hash.slice(2))
	})
	showTab(location.hash.slice(2))
	let away = false
	hear("disconnected", () => {
		away = true
	})
	hear("connected", () => {
		if (away) tell("shown", document.body.dataset.view)
		away = false
	})
}

function move(event) {
	const every = tabs()
	const here = every.indexOf(event.target)
	const places = {ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: -1}
	if (!(event.key in places)) return
	event.preventDefault()
	const next = every[(places[event.key] + every.length) % every.length]
	next.focus()
	next.click()
}
