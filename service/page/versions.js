// Every model: which answers, how good it is; switch, compare, download.
import {call, getJson, remove, url} from "./api.js"
import {confirm, openDialog, working} from "./dialog.js"
import {bar, byId, isNews, make, quiet, replace, row, select, table} from "./dom.js"
import {hue, known} from "./known.js"
import {banner, unavailable} from "./messages.js"
import {hear} from "./news.js"
import {classAccuracy, getReport} from "./results.js"
import {activate} from "./switching.js"
import {isShown, whenShown} from "./tabs.js"
import {count, headName, measuredWords, percent, versionName, when} from "./words.js"

const LIVE_HEADS = ["imprinting", "lda", "knn"]

let compared = []
let liveHead = null // what is chosen for going back, null: as it is

export function startVersions() {
	whenShown("versions", show)
	hear("trained", show)
	hear("classes", show)
}

// The line in the header, and a banner for what the model has not seen.
export function startModelLine() {
	hear("status", ({model, counts}) => {
		const live = model.version === "live"
		const name = live
			? `live model (${headName(model.head)}), learns with every picture`
			: `version ${model.version} (${headName(model.head)}), trained and fixed`
		byId("model").textContent = live && !counts.examples ? "" : `Answers: ${name}`
		const unseen = unseenWords(model)
		const action = working("Use the live model", () => activate("live"), "small", {id: "use-live"})
		banner("unseen", unseen && `Version ${model.version} answers${unseen}.`, action)
	})
}

function unseenWords(model) {
	if (!model.unseen.examples) return ""
	const classes = model.unseen.classes.length ? `, nothing of ${model.unseen.classes.join(", ")}` : ""
	return `, but has not seen ${count(model.unseen.examples, "newer picture")}${classes}`
}

async function show() {
	if (!isShown("versions") || !known.status) return
	const view = byId("versions")
	try {
		const [{items}, before] = await Promise.all([getJson("/v1/models?size=1000"), versionBefore()])
		compared = compared.filter(version => items.some(one => String(one.version) === version))
		if (!isNews(view, [items, before, compared, known.status.model])) return
		const shown = [make("h2.unseen", "Model versions"), current(items, before), list(items)]
		replace(view, shown)
		if (compared.length === 2) view.append(await comparison(items))
	} catch (error) {
		unavailable(view, error, "model versions")
	}
}

// What answered before, by the journal.
async function versionBefore() {
	const {items} = await getJson("/v1/journal?size=100")
	const step = items.find(one => one.action === "activate")
	return step ? step.details.before : null
}

function current(items, before) {
	const {model} = known.status
	const live = model.version === "live"
	const kinds = LIVE_HEADS.map(one => [one, headName(one)])
	const head = select({id: "live-head", "aria-label": "Kind of live model"}, kinds, liveHead || items[0].head)
	head.onchange = () => {
		liveHead = head.value
	}
	const toLive = working(
		live ? "Use this kind" : "Back to the live model",
		() => activate("live", head.value),
		live ? "small" : "main",
		{id: "to-live"}
	)
	const there = before !== "live" && items.some(one => String(one.version) === String(before) && !one.active)
	const back = there
		? working(`Go back to ${versionName(before)}`, () => activate(before), "small", {id: "go-back"})
		: null
	return make(
		"div.card",
		make("h3", `${live ? "The live model" : `Version ${model.version}`} answers`),
		make(
			"p",
			live
				? `It learns with every picture (${headName(model.head)}).`
				: `It is trained and fixed (${headName(model.head)})${unseenWords(model)}.`
		),
		row(toLive, make("label.row", make("span.quiet", "as"), head), back)
	)
}

function list(items) {
	const lines = items.map(one => line(one, items[0].examples))
	return make(
		"div.card",
		table("Models", ["Compare", "Model", "Made", "Taught", "Right", ""], lines, {class: "versions"}),
		quiet(
			"Tick two to compare them. A version is measured on pictures set aside when it was made, ",
			"the live model on all, each answered as if it had not been taught."
		)
	)
}

function line(one, total) {
	const version = String(one.version)
	const tick = make("input", {
		type: "checkbox",
		checked: compared.includes(version),
		"aria-label": `Compare ${versionName(version)}`
	})
	tick.onchange = () => choose(version, tick.checked)
	const unseen = one.version !== "live" && total > one.examples
	const use = one.active
		? make("strong.active", "✓ answers now")
		: working("Let it answer", () => activate(one.version), "small use")
	return make(
		"tr",
		{"data-version": version},
		make("td", make("label.tick", tick)),
		make("th", {scope: "row"}, versionName(version), make("span.quiet.kind", headName(one.head))),
		make("td", one.created ? when(one.created) : "as you teach"),
		make(
			"td",
			unseen ? `${one.examples} of ${total} pictures` : count(one.examples, "picture"),
			make("span.quiet.kind", count(one.classes, "class"))
		),
		make("td", percent(one.accuracy, 1)),
		make(
			"td",
			row(
				use,
				working("Download", () => downloads(one), "small", {"aria-label": `Download ${versionName(version)}`}),
				one.active || one.version === "live"
					? null
					: working("Delete", () => discard(one), "small", {"aria-label": `Delete ${versionName(version)}`})
			)
		)
	)
}

async function discard({version}) {
	const text = "It will be gone for good, with its report. What was taught stays."
	if (!(await confirm(`Delete ${versionName(version)}?`, text, "Delete"))) return
	await remove(url`/v1/models/${version}`)
	await show()
}

function choose(version, on) {
	compared = compared.filter(one => one !== version)
	if (on) compared = [...compared, version].slice(-2)
	return show()
}

// ---- two side by side

async function comparison(items) {
	const pair = compared.map(version => items.find(one => String(one.version) === version))
	const reports = await Promise.all(pair.map(one => getReport(one.version).catch(() => null)))
	const shares = reports.map(
		report => new Map(report ? classAccuracy(report.figures).map(one => [one.name, one.share]) : [])
	)
	const names = [...new Set(shares.flatMap(map => [...map.keys()]))]
	const cells = values => values.map(value => make("td", row(bar(value || 0), percent(value))))
	const line = ([name, values]) => make("tr", make("th", {scope: "row", class: hue(name)}, name), ...cells(values))
	const accuracies = reports.map(report => report && report.figures.accuracy)
	const lines = names.map(name => [name, shares.map(map => map.get(name))])
	const titles = pair.map((one, index) => {
		const how = reports[index] && make("span.quiet.kind", measuredWords(reports[index]))
		return make("span", `${versionName(one.version)}, ${headName(one.head)}`, how)
	})
	const shown = table("Comparison", ["right", ...titles], [["all", accuracies], ...lines].map(line))
	const apart = compared.includes("live") && quiet("The two are measured differently: a small lead means nothing.")
	return make("div.card", {id: "comparison"}, make("h3", "Side by side"), shown, apart)
}

// ---- files

async function downloads(one) {
	const {body} = openDialog(`Download ${versionName(one.version)}`, {class: "narrow"})
	const base = url`/v1/models/${one.version}`
	const files = [
		["model.tflite", "The model", `${base}/model.tflite`],
		["model-int8.tflite", "The model as int8, a quarter of the size", `${base}/model.tflite?quantized=true`],
		["labels.txt", "The names of its classes", `${base}/labels.txt`],
		["report.json", "What was measured", `${base}/report`]
	]
	const lines = files.map(([name, words, path]) => {
		const get = working(words, () => save(path, `coral-learn-${one.version}-${name}`), "small")
		return make("li", get, " ", make("span.quiet", name))
	})
	body.append(make("ul.plain", ...lines))
}

// By fetch, so that a refusal is said in words instead of saved as a file.
async function save(path, name) {
	const blob = await (await call(path)).blob()
	const link = make("a", {href: URL.createObjectURL(blob), download: name})
	link.click()
	setTimeout(() => URL.revokeObjectURL(link.href), 60000)
}
