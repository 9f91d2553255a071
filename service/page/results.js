// How good a model is, by class, and which it mistakes for which.
import {getJson, pause, url} from "./api.js"
import {confusion} from "./confusion.js"
import {curves} from "./curve.js"
import {bar, byId, make, quiet, replace, select} from "./dom.js"
import {findings} from "./findings.js"
import {hue, known} from "./known.js"
import {attempt, unavailable} from "./messages.js"
import {hear} from "./news.js"
import {isShown, whenShown} from "./tabs.js"
import {choiceWords, count, headName, measuredWords, percent, versionName} from "./words.js"

const ASKED_AGAIN = 5 // times that a live model not yet measured is asked

let chosen = null // null: whatever answers now
let timer = 0
let waits = 0 // times in a row that a live model was not measured, or not looked through

export function startResults() {
	whenShown("train-view", show)
	hear("trained", () => {
		chosen = null
		show()
	})
	hear("status", () => {
		if (byId("results").dataset.of !== state()) show()
	})
	hear("classes", () => {
		if (!known.taught.length || byId("results").dataset.of !== state()) show()
	})
}

const state = () =>
	JSON.stringify([
		known.taught.map(item => [item.name, item.examples]),
		known.status && known.status.model.version,
		known.status && known.status.model.revision
	])

export async function getReport(version) {
	for (let turn = 1; ; turn++) {
		try {
			const report = await getJson(url`/v1/models/${version}/report`)
			return {...report, figures: report.held_out || report.left_out}
		} catch (error) {
			if (error.code !== "report_not_found" || turn === ASKED_AGAIN) throw error
			await pause(1000)
		}
	}
}

export const classAccuracy = figures =>
	figures.classes.map((name, row) => {
		const all = figures.confusion[row].reduce((sum, one) => sum + one, 0)
		return {name, all, share: figures.confusion[row][figures.answers.indexOf(name)] / all}
	})

async function show() {
	clearTimeout(timer)
	if (!isShown("train-view") || !known.status) return
	const view = byId("results")
	view.dataset.of = state()
	const version = chosen === null ? known.status.model.version : chosen
	if (version === "live" && known.taught.filter(item => item.examples).length < 2) return replace(view)
	try {
		const [report, models] = await Promise.all([getReport(version), getJson("/v1/models?size=1000")])
		replace(
			view,
			choice(models.items, version),
			summary(report, models.items.find(one => String(one.version) === String(version))),
			findings(report, show),
			confusionCard(report),
			historyCard(report)
		)
		const late = version === "live" && (report.findings === null || report.revision !== models.items[0].revision)
		waits = late ? waits + 1 : 0
		if (late && waits <= ASKED_AGAIN) timer = setTimeout(show, 1000)
	} catch (error) {
		unavailable(
			view,
			error.code === "report_not_found" ? new Error("The live model is being measured; come back in a moment.") : error,
			"results"
		)
	}
}

function choice(models, version) {
	const words = one => `${versionName(one.version)}, ${headName(one.head)}${one.active ? " (answers now)" : ""}`
	const choices = models.map(one => [one.version, words(one)])
	const field = select({id: "results-of", "aria-label": "Results of"}, choices, version)
	field.onchange = () => {
		chosen = field.value
		attempt(show)
	}
	return make("div.row", make("h3", "Results"), field)
}

// What has no figure, and why. model : as /v1/models lists it
function unmeasuredWords({figures, options, held_out: held}, model) {
	const why = "a second recording, as what is recorded together is measured together."
	const taught = known.taught.filter(item => item.examples && item.enabled !== false)
	if (!figures.examples) {
		if (options && options.held_out === 0) return "Nothing was measured, as nothing was set aside."
		const enough = taught.some(item => item.examples > (held ? 2 : 1))
		return `Nothing could be measured: ${enough ? `each class needs ${why}` : "show more pictures of each class."}`
	}
	const rest = held ? model.classes - figures.classes.length : figures.not_measured
	if (!(rest > 0)) return ""
	if (held) return `Not measured: ${rest} of ${count(model.classes, "class")}. Each needs three pictures, and ${why}`
	const names = taught.map(item => item.name).filter(name => !figures.classes.includes(name))
	const of = names.length ? ` of ${names.join(", ")}. Each class needs ${why}` : ", recorded with others."
	return `Not measured: ${count(rest, "picture")}${of}`
}

function summary(report, model) {
	const {figures, choice} = report
	const unmeasured = unmeasuredWords(report, model)
	if (!figures.examples) return make("div.card", quiet(unmeasured))
	const lines = classAccuracy(figures).map(({name, all, share}) =>
		make(
			"li",
			{class: hue(name)},
			make("span.bar-name", name),
			bar(share),
			make("span.bar-score", `${percent(share)} of ${all}`)
		)
	)
	return make(
		"div.card.summary",
		make("div", make("p.figure", percent(figures.accuracy, 1)), make("p", "right"), quiet(measuredWords(report))),
		make("ol.bars", {"aria-label": "Right by class"}, ...lines),
		unmeasured && quiet(unmeasured),
		choice && quiet(choiceWords(choice))
	)
}

function confusionCard(report) {
	if (!report.figures.examples) return null
	return make(
		"div.card",
		make("h3", "What is taken for what"),
		quiet("A row for each class, a column for each answer. Press a number to see the pictures."),
		confusion(report)
	)
}

function historyCard(report) {
	if (!report.history || !report.history.length) return null
	return make("div.card", make("h3", "How the training went"), curves(report.history))
}
