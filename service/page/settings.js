// What can be set; the data set as one file; what was done lately.
import {getJson, patch} from "./api.js"
import {dataCard} from "./archive.js"
import {byId, isNews, make, quiet, replace, row, select, table} from "./dom.js"
import {journalCard} from "./journal.js"
import {known} from "./known.js"
import {attempt, done, unavailable} from "./messages.js"
import {hear} from "./news.js"
import {isShown, whenShown} from "./tabs.js"
import {said} from "./words.js"

let parts = {}

export function startSettings() {
	parts = {
		form: make("div.card"),
		data: dataCard(),
		journal: make("div.card", {id: "journal"}),
		extractor: make("div.card")
	}
	byId("settings").append(parts.form, parts.journal, parts.data, parts.extractor)
	whenShown("settings", show)
	hear("status", () => {
		if (isShown("settings")) {
			showExtractor()
			journalCard(parts.journal)
		}
	})
}

async function show() {
	showExtractor()
	await Promise.all([journalCard(parts.journal), showSettings()])
}

async function showSettings() {
	try {
		const {items} = await getJson("/v1/settings")
		if (!isNews(parts.form, items)) return
		replace(
			parts.form,
			make("h3", "Settings"),
			changeable(items.filter(item => item.changeable)),
			fixed(items.filter(item => !item.changeable))
		)
	} catch (error) {
		unavailable(parts.form, error, "settings on the page")
	}
}

// ---- those that can be changed at once

function changeable(items) {
	const form = make(
		"form.fields",
		{id: "settings-form", noValidate: true},
		...items.map(field),
		row(make("button.main", "Save"))
	)
	form.onsubmit = event => {
		event.preventDefault()
		attempt(() => save(form, items))
	}
	return form
}

const TITLES = {
	camera_fps: "Most frames a second",
	camera_width: "Picture width",
	camera_height: "Picture height",
	camera_format: "Pixel format",
	camera_rotate: "Turn the picture",
	camera_mirror: "Mirror the picture",
	camera_roi: "Part of the picture",
	decide_threshold: "Least score",
	decide_frames: "Frames to decide",
	decide_smoothing: "Smoothing",
	review_mb: "Space for review, MB"
}
const titleOf = name => TITLES[name] || name[0].toUpperCase() + name.slice(1).replace(/_/g, " ")

function field(item) {
	const input = inputOf(item)
	const wrong = make("p.bad", {id: `wrong-${item.name}`})
	input.setAttribute("aria-describedby", wrong.id)
	const title = titleOf(item.name)
	const words = item.kind === "yes_or_no" ? make("label.switch", input, title) : make("label", title, input)
	const given = item.fixed_by ? quiet(`Given by ${item.fixed_by}; change it there.`) : null
	return make("div.field", {"data-field": item.name}, words, quiet(item.help), given, wrong)
}

const isNumber = item => item.kind === "number" || item.kind === "integer"

function inputOf(item) {
	const common = {name: item.name, disabled: Boolean(item.fixed_by)}
	if (item.kind === "yes_or_no") return make("input", {type: "checkbox", checked: Boolean(item.value), ...common})
	if (item.choices && item.choices.length)
		return select(common, item.choices.map(one => [one, one]), item.value)
	return make("input", {
		type: isNumber(item) ? "number" : "text",
		step: item.kind === "integer" ? "1" : "any",
		min: item.lowest,
		max: item.highest,
		value: String(item.value),
		placeholder: item.default,
		...common
	})
}

function valueOf(form, item) {
	const input = form.elements[item.name]
	if (item.kind === "yes_or_no") return input.checked
	return isNumber(item) && input.value ? Number(input.value) : input.value
}

async function save(form, items) {
	for (const wrong of form.querySelectorAll(".field .bad")) wrong.textContent = ""
	const changed = items.filter(item => !item.fixed_by && String(valueOf(form, item)) !== String(item.value))
	if (!changed.length) return done("Nothing was changed.")
	const empty = changed.filter(item => isNumber(item) && valueOf(form, item) === "")
	const wrong = item => ({field: item.name, detail: `It is empty; it takes a number, such as ${item.default}.`})
	if (empty.length) return showWrong(form, {errors: empty.map(wrong)})
	try {
		await patch("/v1/settings", Object.fromEntries(changed.map(item => [item.name, valueOf(form, item)])))
	} catch (error) {
		if (!error.errors || !error.errors.length) throw error
		return showWrong(form, error)
	}
	done(`Saved ${changed.map(item => titleOf(item.name)).join(", ")}.`)
	return showSettings()
}

function showWrong(form, error) {
	for (const {field: name, detail} of error.errors) {
		const place = form.querySelector(`[data-field="${CSS.escape(name)}"] .bad`)
		if (place) place.textContent = detail.replace(name, titleOf(name))
	}
	const first = form.elements[error.errors[0].field]
	if (first) first.focus()
	else throw new Error(said(error))
}

// ---- those that are fixed until the next start

function fixed(items) {
	const lines = items.map(item =>
		make(
			"tr",
			make("th", {scope: "row"}, titleOf(item.name)),
			make("td", String(item.value === "" ? "–" : item.value)),
			make("td", item.fixed_by ? `by ${item.fixed_by}` : "default"),
			make("td.quiet", item.help)
		)
	)
	const shown = table("Settings of the start", ["Setting", "Value", "Set", "What it does"], lines)
	return make("details", make("summary", "Set when it starts"), shown)
}

// ---- the extractor

function showExtractor() {
	if (!known.status) return
	const {extractor, device, device_reason: reason, temperature, version} = known.status
	const {instead_of: instead = null} = extractor
	const facts = [
		["Model", extractor.name],
		["Instead of", instead === null ? "" : `${instead || "the bundled model"}, which is set`],
		["Device", `${device || "none"} (${reason})`],
		["Run-time", extractor.runtime],
		["Input", extractor.input && `${extractor.input.width} × ${extractor.input.height} pixels`],
		["Embedding", extractor.embedding_size && `${extractor.embedding_size} numbers`],
		["Digest", extractor.digest && extractor.digest.slice(0, 12)],
		...Object.entries(temperature).map(([name, degrees]) => [name, `${degrees} °C`])
	]
	replace(
		parts.extractor,
		make("h3", "Extractor"),
		make(
			"dl.facts",
			...facts.filter(([, value]) => value).flatMap(([name, value]) => [make("dt", name), make("dd", String(value))])
		)
	)
	byId("about").textContent = `coral-learn ${version}`
}
