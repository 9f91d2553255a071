// What the page knows of the daemon: its classes and its status.
import {getJson, pause, whileConnected} from "./api.js"
import {byId, make, replace} from "./dom.js"
import {showError} from "./messages.js"
import {hear, tell} from "./news.js"

const SHOWN_CLASSES = 200
const STATUS_EVERY = 5000
const AT_MOST_EVERY = 300

export const known = {
	classes: [],
	taught: [],
	total: 0,
	status: null,
	camera: {state: "starting", reason: ""},
	extractor: {state: "starting"},
	connected: false
}

export const classNames = () => known.taught.map(item => item.name)

// The colour of a class: its place among the taught ones. Never the only sign of it.
export const hue = name => (place(name) < 0 ? "hue-none" : `hue-${place(name) % 8}`)
export const place = name => known.taught.findIndex(item => item.name === name)

let running = null
let again = false
let begun = 0 // times that it was asked
let change = null // the newest one of what is taught that was told of

// One at a time; what changed meanwhile is asked for by one more.
export function refresh() {
	again = true
	running =
		running ||
		refreshAll().finally(() => {
			running = null
		})
	return running
}

async function refreshAll() {
	while (again) {
		again = false
		begun++
		try {
			await Promise.all([refreshClasses(), refreshStatus()])
		} catch (error) {
			if (error.status !== 401 && known.connected) showError(error)
		}
		if (again) await pause(AT_MOST_EVERY)
	}
}

async function refreshClasses() {
	const list = await getJson(`/v1/classes?size=${SHOWN_CLASSES}`, whileConnected())
	known.classes = list.items
	known.taught = list.items.filter(item => !item.pretrained)
	known.total = list.total
	replace(
		byId("class-names"),
		known.taught.map(item => make("option", {value: item.name}))
	)
	tell("classes", known)
}

async function refreshStatus() {
	known.status = await getJson("/v1/status", whileConnected())
	tell("status", known.status)
}

export async function keepStatus() {
	for (;;) {
		await pause(STATUS_EVERY)
		if (known.connected && !document.hidden)
			await refreshStatus().catch(() => {}) // the stream notices
	}
}

// A change comes with several events, and what was asked for since holds it already.
async function refreshSoon() {
	const before = begun
	await pause(AT_MOST_EVERY)
	if (begun === before) await refresh()
}

hear("model", refreshSoon)
hear("taught", news => {
	if (news.change === change) return
	change = news.change
	refreshSoon()
})
hear("camera", camera => {
	known.camera = camera
})
hear("extractor", extractor => {
	known.extractor = extractor
	refresh()
})
