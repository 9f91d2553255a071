// What it sees: the decided class in large letters, the raw one, and a bar for each class.
import {sendPicture} from "./api.js"
import {mustBePicture, teachPictures} from "./uploads.js"
import {chooser} from "./chooser.js"
import {bar, button, byId, make, replace} from "./dom.js"
import {hue, known, place} from "./known.js"
import {attempt} from "./messages.js"
import {hear} from "./news.js"
import {isPinned, pin, showCrop, shownPicture, unpin} from "./picture.js"
import {percent} from "./words.js"

const MOST_BARS = 8
const SPEAK_EVERY = 2500
const UNKNOWN = "nothing I know"

const isLive = () => known.camera.state === "online" && known.extractor.state === "ready"

let bars = [] // names with a bar
const strength = new Map() // of each class, over the last answers

function showAnswer(answer, decided) {
	const names = decided === undefined ? answer.class : decided
	byId("answer").textContent = names === null ? (known.taught.length ? UNKNOWN : "–") : names
	byId("answer").className = names === null ? "unknown" : hue(names)
	const raw = answer.class === null ? "not sure" : answer.class
	byId("raw").textContent =
		decided !== undefined && answer.class !== decided ? `just now: ${raw}, ${percent(answer.score)}` : ""
	showBars(answer.predictions)
	showDetails(answer)
	say()
}

function say() {
	byId("caption").textContent = byId("answer").textContent
	speak(byId("answer").textContent)
}

function showDetails(answer) {
	const parts = [
		answer.fps ? `${answer.fps.toFixed(1)} frames a second` : "",
		`${Math.round(answer.timing_ms.total)} ms`,
		answer.device === "edgetpu" ? "Edge TPU" : answer.device.toUpperCase()
	]
	byId("details").textContent = parts.filter(Boolean).join(" · ")
}

// Of many classes those with the most have a bar; the order is that of the classes.
function showBars(predictions) {
	const scores = new Map(predictions.map(one => [one.class, one.score]))
	for (const name of new Set([...strength.keys(), ...scores.keys()])) {
		strength.set(name, 0.9 * (strength.get(name) || 0) + 0.1 * (scores.get(name) || 0))
	}
	const chosen = chooseBars(scores)
	if (chosen.join("\n") !== bars.join("\n")) {
		bars = chosen
		replace(byId("scores"), bars.map(makeBar))
	}
	;[...byId("scores").children].forEach((line, index) => updateBar(line, bars[index], scores.get(bars[index]) || 0))
}

// Classes that were renamed or deleted have no bar any more.
function forgetGone() {
	for (const name of strength.keys()) if (!known.classes.some(item => item.name === name)) strength.delete(name)
}

function chooseBars(scores) {
	const {unseen} = known.status ? known.status.model : {}
	const taught = known.taught
		.filter(item => item.examples && item.enabled !== false && !(unseen && unseen.classes.includes(item.name)))
		.map(item => item.name)
	if (taught.length && taught.length <= MOST_BARS && ![...scores.keys()].some(name => place(name) < 0)) return taught
	const strong = [...strength.entries()].sort((one, other) => other[1] - one[1]).map(([name]) => name)
	const kept = strong.slice(0, 2 * MOST_BARS).filter(name => bars.includes(name))
	const [best] = [...scores].sort((one, other) => other[1] - one[1])
	const names = [...(best || []).slice(0, 1), ...kept, ...strong.filter(name => scores.has(name))]
	return [...new Set(names)].slice(0, MOST_BARS).sort(byPlace)
}

const byPlace = (one, other) => place(one) - place(other) || (one < other ? -1 : 1)

function makeBar(name) {
	return make("li", {class: hue(name)}, make("span.bar-name", name), bar(0), make("span.bar-score"))
}

function updateBar(line, name, score) {
	line.className = hue(name) // it may have come before the list of classes
	line.querySelector(".bar-fill").style.width = `${score * 100}%`
	line.querySelector(".bar-score").textContent = percent(score)
}

// A screen reader hears changes only, and not too many.
let toSay = ""
let waiting = 0

function speak(text) {
	toSay = text
	if (waiting) return
	if (byId("spoken").textContent !== text) byId("spoken").textContent = text
	waiting = setTimeout(() => {
		waiting = 0
		if (byId("spoken").textContent !== toSay) speak(toSay)
	}, SPEAK_EVERY)
}

// ---- a picture that was chosen or dropped here

export async function classifyPicture(file) {
	mustBePicture(file)
	const answer = await sendPicture("/v1/classify", file)
	await pin(file)
	showAnswer(answer)
	showPinned(file)
}

function showPinned(file) {
	const place = byId("pinned")
	const teach = async name => {
		await teachPictures(name, [file])
		await attempt(() => classifyPicture(file))
	}
	const back = button(isLive() ? "Back to the camera" : "Close the picture", goBack, "small")
	replace(place, make("p.row", make("strong", "Your picture"), back), chooser("Teach it as", teach, {most: 4}))
	place.hidden = false
}

function letGo() {
	if (!isPinned()) return
	byId("pinned").hidden = true
	unpin()
	if (!isLive()) showNoAnswer()
}

function goBack() {
	letGo()
	byId("why").focus()
}

// An answer that none follows for long is not of now: the extractor may hang.
let silence = 0

function hearAnswer(answer) {
	if (!isLive() || isPinned()) return // an answer may come later than the loss
	showAnswer(answer, answer.decided)
	clearTimeout(silence)
	silence = setTimeout(showLoss, answer.fps ? Math.max(3000, 4000 / answer.fps) : 6000)
}

function showLoss() {
	if (!isPinned()) showNoAnswer()
}

// ---- the start

function toggleView(event) {
	const on = event.target.getAttribute("aria-pressed") !== "true"
	event.target.setAttribute("aria-pressed", String(on))
	showCrop(on)
}

function fillScreen() {
	if (document.fullscreenElement) document.exitFullscreen()
	else byId("live").requestFullscreen()
}

function showNoAnswer() {
	byId("answer").textContent = "–"
	byId("answer").className = "unknown"
	byId("raw").textContent = known.camera.state === "online" ? "No answers for now" : ""
	byId("details").textContent = ""
	replace(byId("scores"))
	bars = []
	say()
}

export function startLive() {
	byId("classify").onchange = event => {
		const file = event.target.files[0]
		event.target.value = ""
		if (file) attempt(() => classifyPicture(file))
	}
	byId("view").onclick = toggleView
	byId("fill").hidden = !document.fullscreenEnabled
	byId("fill").onclick = fillScreen
	hear("classification", hearAnswer)
	hear("recording", letGo)
	hear("shown", panel => panel === "teach" || letGo()) // elsewhere it would look live
	for (const kind of ["camera", "extractor"]) hear(kind, () => isLive() || showLoss())
	hear("classes", forgetGone)
	hear("picture", () => {
		byId("why").disabled = byId("view").disabled = !shownPicture()
	})
	byId("why").disabled = byId("view").disabled = true
}
