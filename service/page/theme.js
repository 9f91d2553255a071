// Light or dark: as the system says, until the switch is pressed.
import {byId} from "./dom.js"

const KEY = "theme"
const dark = matchMedia("(prefers-color-scheme: dark)")

const stored = () => {
	try {
		return localStorage.getItem(KEY)
	} catch {
		return null
	}
}
let chosen = stored()
const now = () => chosen || (dark.matches ? "dark" : "light")

function show() {
	if (chosen) byId("dark").media = chosen === "dark" ? "all" : "not all"
	byId("theme").textContent = now() === "dark" ? "Light" : "Dark"
	byId("theme").setAttribute("aria-label", `Switch to ${byId("theme").textContent.toLowerCase()} colours`)
}

export function startTheme() {
	show()
	dark.addEventListener("change", show)
	byId("theme").onclick = () => {
		chosen = now() === "dark" ? "light" : "dark"
		try {
			localStorage.setItem(KEY, chosen)
		} catch {
			/* until the page is left, then */
		}
		show()
	}
}
