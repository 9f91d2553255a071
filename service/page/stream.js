// The daemon's events, and what is lost: the connection, the camera, the accelerator.
import {pause, readEvents} from "./api.js"
import {byId} from "./dom.js"
import {known, refresh} from "./known.js"
import {banner} from "./messages.js"
import {hear, tell} from "./news.js"
import {said} from "./words.js"

const TRY_EVERY = 1500

export async function watch() {
	for (;;) {
		let reason = ""
		try {
			await readEvents("/v1/stream", told, connected)
		} catch (error) {
			if (error.status === 401) {
				await signedIn()
				continue // nothing is lost
			}
			reason = said(error)
		}
		lost(reason)
		await pause(TRY_EVERY)
	}
}

// On the page "classes" is what was read of them; the daemon's is that they changed.
const told = (kind, data) => tell(kind === "classes" ? "taught" : kind, data)

const signedIn = () => new Promise(resolve => hear("signed-in", resolve))

function connected() {
	known.connected = true
	byId("state").textContent = "connected"
	banner("connection", "")
	tell("connected")
	refresh()
}

function lost(reason) {
	if (known.connected || reason) {
		byId("state").textContent = "not connected"
		banner("connection", `Connection lost, trying again… ${reason}`.trim())
	}
	known.connected = false
	tell("camera", {state: "away", reason: "the board is not connected"})
	tell("disconnected")
}

function showCamera(camera) {
	const states = {online: "camera on", none: "no camera", starting: "camera starts", lost: "camera lost", away: ""}
	const drawn = camera.state === "online" && camera.kind === "drawn"
	byId("camera").textContent = drawn ? "drawn pictures" : states[camera.state]
	byId("drawn").hidden = !drawn
	byId("camera").title = camera.reason || camera.source || ""
	const cable = /^(auto|\d|[/]dev[/]v)/.test(camera.source) ? "Check its cable. " : ""
	const words = `The camera is lost: ${camera.reason}. ${cable}The picture comes back by itself.`
	banner("camera", camera.state === "lost" ? words : "")
}

function showDevice(status) {
	const {state, reason} = status.extractor
	const name = {edgetpu: "Edge TPU", cpu: "CPU"}[status.device] || "extractor"
	byId("device").textContent = name + {lost: " lost", starting: " starts", ready: ""}[state]
	byId("device").title = status.device_reason
	const text =
		state !== "ready"
			? `No answers for now: ${state === "lost" ? "the extractor is lost, " : ""}${reason}. They come back by themselves.`
			: status.degraded
				? `The accelerator is not in use: ${status.device_reason}. Answers come from the CPU, slower.`
				: ""
	banner("device", text)
	banner("embedding", status.incomplete ? `Answers are not complete: ${status.incomplete}.` : "")
}

hear("camera", showCamera)
hear("status", showDevice)
