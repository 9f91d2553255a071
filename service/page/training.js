// One button that trains; how it goes; and what came of it, in words.
import {getJson, post, remove, url} from "./api.js"
import {curves} from "./curve.js"
import {bar, button, byId, make, quiet, replace, row} from "./dom.js"
import {endWords, follow, goesOn} from "./jobs.js"
import {known, refresh} from "./known.js"
import {attempt} from "./messages.js"
import {hear, tell} from "./news.js"
import {labelled, optionFields, readOptions} from "./options.js"
import {activate} from "./switching.js"
import {isShown} from "./tabs.js"
import {choiceWords, headName, percent} from "./words.js"

const LEAST_CLASSES = 2

const parts = {}
let following = false

export function startTraining() {
	parts.options = optionFields()
	parts.train = button("Train", () => attempt(train), "main big", {id: "train", "aria-describedby": "train-reason"})
	parts.reason = make("p.quiet", {id: "train-reason"})
	parts.progress = make("div", {id: "job-progress"})
	parts.curves = make("div", {id: "curves"})
	parts.result = make("div", {id: "job", role: "status"})
	byId("training").append(row(parts.train, parts.reason), parts.progress, parts.result, parts.curves, parts.options)
	hear("classes", showReason)
	hear("connected", () => attempt(resume))
	hear("signed-in", () => attempt(resume))
	hear("status", lookAgain)
}

function reason() {
	const ready = known.taught.filter(item => item.examples && item.enabled !== false)
	if (following) return "It trains."
	if (ready.length >= LEAST_CLASSES) return ""
	const first = ready.length ? ready[0].name : ""
	return first
		? `Teach one more class: there is only ${first}.`
		: `Teach ${LEAST_CLASSES} classes first: there is nothing to tell apart yet.`
}

function showReason() {
	const text = reason()
	parts.train.disabled = Boolean(text)
	const few = known.taught.filter(item => item.examples === 1).map(item => item.name)
	const thin = few.length
		? `Only one picture of ${few.slice(0, 3).join(", ")}: show more, so that it can be measured.`
		: ""
	parts.reason.textContent = text || thin || "Optional: it answers already. Training can make it surer."
}

async function train() {
	const job = await post("/v1/train", readOptions(parts.options)).catch(error => {
		throw labelled(error)
	})
	await show(job)
}

// A training that went on before the page was loaded.
async function resume() {
	if (following) return
	const jobs = await getJson("/v1/jobs?size=10")
	const job = jobs.items.find(one => one.kind === "train" && goesOn(one))
	if (job && !following) await show(job)
}

async function show(job) {
	following = true
	showReason()
	replace(parts.result)
	const rounds = []
	try {
		const ended = await follow(job, now => showProgress(now, rounds))
		await showResult(ended)
	} finally {
		following = false
		replace(parts.progress)
		showReason()
	}
	await refresh()
	tell("trained")
}

// What came of a training is told as long as it is true; the next may be begun elsewhere.
async function lookAgain({model}) {
	if (following || !isShown("train-view")) return
	if (parts.answers !== model.version) replace(parts.result)
	await resume().catch(() => {})
}

// It trains twice: to measure, then on everything. A lower epoch begins the second time.
function showProgress(job, rounds) {
	const {epoch, epochs, loss} = job.metrics
	const last = rounds[rounds.length - 1]
	if (typeof loss === "number" && (!last || epoch !== last.epoch)) {
		if (last && epoch < last.epoch) rounds.length = 0
		rounds.push(job.metrics)
		replace(parts.curves, curves(rounds))
	}
	if (!goesOn(job)) return replace(parts.progress)
	const words =
		job.state === "queued" ? job.waiting_for || "its turn comes now" : epoch ? `epoch ${epoch} of ${epochs}` : "reading the pictures"
	const cancel = button("Cancel", () => attempt(() => remove(url`/v1/jobs/${job.id}`)), "small")
	if (!parts.progress.firstChild)
		replace(
			parts.progress,
			make("progress", {max: 1, value: job.progress, "aria-label": "training"}),
			row(quiet(words), cancel)
		)
	parts.progress.querySelector("progress").value = job.progress
	parts.progress.querySelector("p").textContent = `${percent(job.progress)} · ${words}`
}

async function showResult(job) {
	const {version, activated, reason: why} = job.model || {}
	parts.answers = activated ? version : known.status.model.version
	if (!job.model) return replace(parts.result, make("p.bad", endWords(job)))
	const report = await getJson(url`/v1/models/${version}/report`).catch(() => null)
	const accuracy = report ? report.held_out.accuracy : null
	if (report) replace(parts.curves, curves(report.history || []))
	const title = activated ? `Version ${version} answers now` : `Version ${version} is kept, but does not answer`
	const use = activated
		? null
		: button("Let it answer all the same", () => attempt(() => activate(version)), "small", {id: "use"})
	replace(
		parts.result,
		make("h3", title),
		accuracy === null ? null : row(bar(accuracy, {class: "bar wide"}), make("strong", percent(accuracy))),
		make("p", report ? `${headName(report.head)}: ${why}.` : `${why}.`),
		report && report.choice && !activated && quiet(choiceWords(report.choice)),
		use
	)
}
