// The live picture: the camera's stream, read piece by piece, to know its end and its errors.
import {call, pause, whileConnected} from "./api.js"
import {byId} from "./dom.js"
import {known} from "./known.js"
import {hear, tell} from "./news.js"

const POLL_EVERY = 200
const TRY_STREAM_AFTER = 20000

let shown = null // the picture on the screen, a Blob
let pinned = false // one that was chosen or frozen; the camera's waits
let reading = null // AbortController of the stream

export const shownPicture = () => shown
export const isPinned = () => pinned
const wanted = () => known.connected && known.camera.state === "online" && !document.hidden && !pinned

export async function keepPicture() {
	for (;;) {
		if (!wanted()) await change()
		else if (!(await stream())) await poll()
	}
}

let wake = () => {}
const change = () =>
	new Promise(resolve => {
		wake = resolve
	})

function turn() {
	if (!wanted() && reading) reading.abort()
	if (wanted()) wake()
	if (known.camera.state !== "online" && !pinned) hide()
}

// True when it went well until it ended; a full or missing one is replaced by single pictures for a while.
async function stream() {
	reading = new AbortController()
	const started = Date.now()
	try {
		const response = await call("/v1/camera/stream.mjpg?annotated=false", {signal: reading.signal})
		await readParts(response, show)
	} catch (error) {
		if (error.name !== "AbortError" && wanted()) return false
	} finally {
		reading = null
	}
	if (Date.now() - started < 1000) await pause(500)
	return true
}

async function poll() {
	const until = Date.now() + TRY_STREAM_AFTER
	while (wanted() && Date.now() < until) {
		const frame = await call("/v1/camera/snapshot.jpg", whileConnected())
			.then(response => response.blob())
			.catch(() => null)
		if (frame && wanted()) await show(frame)
		await pause(frame ? POLL_EVERY : 1500)
	}
}

// multipart/x-mixed-replace: each part has its length; of several pictures the last counts.
async function readParts(response, onpicture) {
	const reader = response.body.getReader()
	let bytes = new Uint8Array()
	for (let part = await reader.read(); !part.done; part = await reader.read()) {
		bytes = join(bytes, part.value)
		let newest = null
		for (let found = cut(bytes); found; found = cut(bytes)) [newest, bytes] = found
		if (newest) await onpicture(new Blob([newest], {type: "image/jpeg"}))
	}
}

function join(one, other) {
	const both = new Uint8Array(one.length + other.length)
	both.set(one)
	both.set(other, one.length)
	return both
}

function cut(bytes) {
	const head = new TextDecoder("latin1").decode(bytes.subarray(0, 1000))
	const length = /content-length: *(\d+)/i.exec(head)
	const start = head.indexOf("\r\n\r\n", length ? length.index : 0) + 4
	if (!length || start < 4 || bytes.length < start + Number(length[1])) return null
	const end = start + Number(length[1])
	return [bytes.slice(start, end), bytes.slice(end)]
}

async function show(blob) {
	const image = byId("picture")
	const before = image.src
	image.src = URL.createObjectURL(blob)
	await image.decode().catch(() => {})
	if (before) URL.revokeObjectURL(before)
	if (!pinned && (known.camera.state !== "online" || !known.connected)) return // lost meanwhile
	shown = blob
	image.hidden = false
	byId("no-picture").hidden = true
	drawCrop(image)
	tell("picture", blob)
}

function hide() {
	byId("picture").hidden = true
	byId("crop").toggleAttribute("hidden", true)
	byId("no-picture").hidden = false
	byId("no-picture").textContent =
		{
			none: "No camera is connected. Try a picture, or start with --camera.",
			lost: `The camera is lost: ${known.camera.reason}`,
			starting: "The camera starts…",
			away: "Connection lost, trying again… Is the board on, and on this network?"
		}[known.camera.state] || "Waiting for the camera…"
	shown = null
	tell("picture", null)
}

// Shows a chosen picture until it is let go.
export async function pin(blob) {
	pinned = true
	turn()
	await show(blob)
}

export function unpin() {
	pinned = false
	turn()
}

// The part of a picture that goes into the model: the largest of its shape, in the middle.
export function seenPart(width, height) {
	const input = (known.status && known.status.extractor.input) || {width: 1, height: 1}
	const scale = Math.min(width / input.width, height / input.height)
	const [w, h] = [input.width * scale, input.height * scale]
	return {x: (width - w) / 2, y: (height - h) / 2, width: w, height: h}
}

let cropShown = false

export function showCrop(yes) {
	cropShown = yes
	drawCrop(byId("picture"))
}

function drawCrop(image) {
	const crop = byId("crop")
	const [width, height] = [image.naturalWidth, image.naturalHeight]
	crop.toggleAttribute("hidden", !cropShown || !width || image.hidden)
	if (!cropShown || !width) return
	const seen = seenPart(width, height)
	crop.setAttribute("viewBox", `0 0 ${width} ${height}`)
	crop
		.querySelector("path")
		.setAttribute("d", `M0 0H${width}V${height}H0ZM${seen.x} ${seen.y}h${seen.width}v${seen.height}h${-seen.width}Z`)
	for (const [name, value] of Object.entries(seen)) crop.querySelector("rect").setAttribute(name, value)
}

hear("camera", () => turn())
hear("connected", turn)
hear("disconnected", turn)
document.addEventListener("visibilitychange", turn)
