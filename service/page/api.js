// Talking to the daemon. The cookie of the session goes along by itself.
import {hear, tell} from "./news.js"

export const pause = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds))

const LONGEST_WAIT = 60 // times that a busy daemon is asked again
const LONGEST_SILENCE = 10000 // of events; the daemon's heart beats every 3 seconds

// An answer of 400 and above: its problem document's words, stable code, and errors by field.
export class Problem extends Error {
	constructor(status, body, retryAfter) {
		super(body.detail || body.title || `the daemon answered ${status}`)
		Object.assign(this, {status, code: body.code, errors: body.errors || [], retryAfter})
	}
}

// url`/v1/classes/${name}`: what is put in is encoded.
export const url = (texts, ...values) => String.raw({raw: texts}, ...values.map(value => encodeURIComponent(value)))

export async function call(path, options = {}) {
	const response = await fetch(path, options)
	if (response.ok) return response
	throw await problemOf(response)
}

async function problemOf(response) {
	const body = await response.json().catch(() => ({}))
	if (response.status === 401) tell("sign-in")
	return new Problem(response.status, body, Number(response.headers.get("Retry-After")) || 0)
}

// Ends requests when the connection is lost: without power or Wi-Fi nothing else does for minutes.
let line = new AbortController()
export const whileConnected = () => ({signal: line.signal})

hear("disconnected", () => {
	line.abort()
	line = new AbortController()
})

export const getJson = async (path, options) => (await call(path, options)).json()

export async function sendJson(method, path, body = {}, options = {}) {
	const headers = {"Content-Type": "application/json"}
	return (await call(path, {method, headers, body: JSON.stringify(body), ...options})).json()
}

export const post = (path, body, options) => sendJson("POST", path, body, options)
export const patch = (path, body) => sendJson("PATCH", path, body)
export const remove = (path, body) => sendJson("DELETE", path, body)

// One picture as a raw body; a daemon that is busy (503) is asked again when it says.
export async function sendPicture(path, picture, signal) {
	const headers = {"Content-Type": picture.type || "application/octet-stream"}
	const options = {method: "POST", body: picture, signal, headers}
	for (let turn = 1; ; turn++) {
		try {
			return await getJson(path, options)
		} catch (error) {
			if (error.status !== 503 || !error.retryAfter || turn === LONGEST_WAIT) throw error
			await pause(error.retryAfter * 1000)
		}
	}
}

// fetch can't tell how much of a body has left; an old request can.
export function upload(path, file, type, onshare) {
	return new Promise((resolve, reject) => {
		const request = new XMLHttpRequest()
		request.open("POST", path)
		request.setRequestHeader("Content-Type", type)
		request.responseType = "json"
		request.upload.onprogress = event => onshare(event.loaded / event.total)
		request.onerror = () => reject(new TypeError("network"))
		request.onload = () =>
			request.status < 400 ? resolve(request.response) : reject(new Problem(request.status, request.response || {}, 0))
		request.send(file)
	})
}

// Server-Sent Events by fetch: EventSource can't tell a 401 or a 503 from a lost connection.
export async function readEvents(path, onevent, onopen = () => {}) {
	const silence = new AbortController()
	let timer = 0
	const heard = answer => {
		clearTimeout(timer)
		timer = setTimeout(() => silence.abort(new TypeError("network")), LONGEST_SILENCE)
		return answer
	}
	heard()
	try {
		const {body} = await call(path, {signal: silence.signal})
		const reader = body.pipeThrough(new TextDecoderStream()).getReader()
		onopen()
		let text = ""
		for (let part = heard(await reader.read()); !part.done; part = heard(await reader.read())) {
			const blocks = (text + part.value).split("\n\n")
			text = blocks.pop()
			for (const block of blocks) readBlock(block, onevent)
		}
	} finally {
		clearTimeout(timer)
	}
}

function readBlock(block, onevent) {
	const fields = Object.fromEntries(
		block.split("\n").map(line => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)])
	)
	if (fields.event) onevent(fields.event, JSON.parse(fields.data))
}
