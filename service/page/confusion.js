// The confusion matrix; each cell opens the pictures behind it.
import {openDialog} from "./dialog.js"
import {button, make, quiet, replace, table} from "./dom.js"
import {thumbnail} from "./example.js"
import {hue} from "./known.js"
import {count} from "./words.js"

export function confusion(report) {
	const {classes, answers, confusion: rows} = report.figures
	const named = answer => (answer === null ? "nothing" : answer)
	const titles = answers.map(answer => make("span", named(answer)))
	const lines = rows.map((row, index) => {
		const sum = row.reduce((all, one) => all + one, 0)
		const cells = row.map((number, column) =>
			make("td", cell(report, classes[index], answers[column], number, number / sum))
		)
		return make("tr", make("th", {scope: "row", class: hue(classes[index])}, classes[index]), ...cells)
	})
	return table("Confusion matrix", ["", ...titles], lines, {class: "confusion"})
}

function cell(report, own, answer, number, share) {
	if (!number) return make("span.cell.none", {"aria-label": "0"}, "·")
	const label = `${count(number, "picture")} of ${own} answered as ${answer === null ? "nothing" : answer}`
	const element = button(
		String(number),
		() => open(report, own, answer, number),
		`cell ${own === answer ? "right" : "wrong"}`,
		{"aria-label": label, title: label}
	)
	element.style.setProperty("--share", `${Math.round(20 + 80 * share)}%`)
	return element
}

function open(report, own, answer, number) {
	const title =
		own === answer ? `${own}, answered right` : `${own}, answered as ${answer === null ? "nothing" : answer}`
	const {body} = openDialog(title, {class: "wide column", id: "cell"})
	const behind = (report.figures.pictures || []).filter(one => one.class === own && one.answer === answer)
	const here = behind.filter(one => !one.deleted).map(one => ({id: one.example}))
	const gone = behind.length - here.length
	const rest = number - behind.length
	const notes = [
		count(number, "picture"),
		gone ? `${gone} deleted since` : "",
		rest ? `${rest} not listed in the report` : ""
	]
	const thumbs = here.map(one => thumbnail(one, `a picture of ${own}`))
	replace(body, quiet(notes.filter(Boolean).join(", ")), make("div.thumbs.large-thumbs", ...thumbs))
}
