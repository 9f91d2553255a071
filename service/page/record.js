// Hold to record: as long as the button is held, the camera's frames become examples.
import {pause, post, whileConnected} from "./api.js"
import {byId, make, replace} from "./dom.js"
import {known, refresh} from "./known.js"
import {done, showError} from "./messages.js"
import {tell} from "./news.js"
import {count, taughtWords} from "./words.js"

const INTERVAL = 200 // milliseconds between frames
const BUSY_TURNS = 5

// The button of a class's card; tell : gets words on how it goes.
export function recordButton(name, tell) {
	const element = make("button", {type: "button", class: "record main"})
	const hold = new Hold(name, element, tell)
	element.onpointerdown = event => {
		if (event.button === 0) {
			element.setPointerCapture(event.pointerId)
			hold.begin()
		}
	}
	for (const end of ["pointerup", "pointercancel", "lostpointercapture", "blur"])
		element.addEventListener(end, () => hold.end())
	element.oncontextmenu = event => event.preventDefault() // what a long touch would open
	element.onkeydown = element.onkeyup = event => {
		if (event.key !== " " && event.key !== "Enter") return
		event.preventDefault()
		if (event.type === "keyup") hold.end()
		else if (!event.repeat) hold.begin()
	}
	element.onclick = event => {
		if (event.detail === 0) hold.once()
	} // pressed by a screen reader
	showReadiness(element, name)
	return element
}

const REASONS = {
	none: "No camera: add pictures instead",
	lost: "The camera is lost",
	starting: "The camera starts…",
	away: "Not connected",
	online: "Not for now" // it could not be embedded
}

function whyNot() {
	const {camera, extractor} = known
	if (camera.state !== "online") return camera.reason || "there is no camera"
	return extractor.state === "ready" ? "" : extractor.reason || "the extractor starts"
}

// Takes away what a card says once it is no longer true. at : as it was told
export function forgetNote(card, at) {
	const note = card.querySelector(`.card-state[data-at="${at}"]`)
	if (note) replace(note)
}

export function showReadiness(element, name) {
	if (element.classList.contains("recording")) return
	const ready = !whyNot()
	if (ready && element.parentNode) forgetNote(element.parentNode, "camera")
	element.setAttribute("aria-disabled", String(!ready))
	element.textContent = ready ? "Hold to record" : REASONS[known.camera.state]
	element.setAttribute("aria-label", ready ? `Hold to record ${name}` : `${element.textContent}. Record ${name}`)
}

class Hold {
	constructor(name, element, tell) {
		Object.assign(this, {name, element, tell, held: false, running: false})
	}

	begin() {
		if (this.element.getAttribute("aria-disabled") === "true")
			return this.tell(`Can't record: ${whyNot()}.`, "camera")
		this.held = true
		tell("recording") // a chosen picture gives way to what the camera sees
		if (!this.running) this.run()
	}

	end() {
		this.held = false
	}

	once() {
		this.begin()
		this.end()
	}

	// A short press takes one picture.
	async run() {
		Object.assign(this, {
			running: true,
			kept: 0,
			alike: 0,
			steps: [],
			group: `page-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`
		})
		this.show(true)
		let gone = false // by another page: the next frame is refused, or the card went before
		try {
			await this.take()
			while (this.held) {
				await pause(INTERVAL) // nothing is taken after the button was let go
				if (this.held) await this.take()
			}
		} catch (error) {
			gone = error.code === "class_not_found"
			if (!gone) showError(error)
		}
		this.running = false
		this.show(false)
		if (gone || !this.element.isConnected)
			showError(new Error(`The class ${this.name} was deleted or renamed: recording ended.`))
		if (this.kept) done(`Taught ${this.name} ${count(this.kept, "picture")}.`, ...this.steps)
		await refresh()
	}

	async take(turns = BUSY_TURNS) {
		try {
			const body = {class: this.name, capture: this.group, create: false}
			this.count(await post("/v1/camera/capture", body, whileConnected()))
		} catch (error) {
			if (error.code !== "extractor_busy" || !turns) throw error
			await pause(1000 * (error.retryAfter || 1))
			if (this.held || !this.kept) await this.take(turns - 1)
		}
	}

	count(answer) {
		const again = answer.accepted.filter(one => one.duplicate).length
		this.kept += answer.accepted.length - again
		this.alike += answer.near_duplicates + again
		this.steps.push(answer.step)
		const alike = this.alike ? `, ${this.alike} too alike and left out` : ""
		const words = `${count(this.kept, "picture")} kept${alike}.${taughtWords(answer, known.taught)}`
		this.tell(words, answer.class_examples)
		refresh()
	}

	show(on) {
		this.element.classList.toggle("recording", on)
		byId("live").classList.toggle("recording", on)
		if (on) this.element.textContent = "Recording… let go to stop"
		else showReadiness(this.element, this.name)
	}
}
