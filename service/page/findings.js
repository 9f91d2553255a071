// What the doctor found, with its remedy; what one press can do is a button. Everything here can be undone.
import {getJson, url} from "./api.js"
import {working} from "./dialog.js"
import {heading, make, quiet, row} from "./dom.js"
import {deleteExample, moveExample, thumbnail} from "./example.js"
import {refresh} from "./known.js"

const SIGNS = {error: ["!", "Error"], warning: ["!", "Warning"], advice: ["i", "Advice"]}
const MOST_SHOWN = 12

// onchange : called when something was mended
export function findings(report, onchange) {
	const found = report.findings || []
	const lines = found.map(one => finding(one, onchange))
	const none = quiet(report.findings ? "Nothing is wrong with the pictures." : "Looking through the pictures…")
	return make("div.card", heading(3, "What the doctor says"), lines.length ? make("ul.findings", ...lines) : none)
}

function finding(one, onchange) {
	const [sign, word] = SIGNS[one.severity] || SIGNS.advice
	const shown = one.examples.slice(0, MOST_SHOWN).map(id => pictureWithFixes(id, one, onchange))
	const rest = one.examples.length - shown.length
	return make(
		"li",
		{class: `finding ${one.severity}`, "data-code": one.code},
		make("p", make("span.sign", {role: "img", "aria-label": word}, sign), make("strong", sentence(one.text))),
		quiet(`${sentence(one.remedy)}.`),
		shown.length ? make("div.fixes", ...shown) : null,
		rest > 0 ? quiet(`and ${rest} more`) : null
	)
}

const sentence = text => (text ? text[0].toUpperCase() + text.slice(1) : "")

function pictureWithFixes(id, one, onchange) {
	const box = make("div.fix")
	const over = () => {
		box.replaceChildren(quiet("done"))
		refresh()
	}
	const fixes = []
	if (one.code === "wrong_label" && one.classes.length > 1) {
		const other = one.classes[1]
		fixes.push(
			working(
				`Move to ${other}`,
				async () => {
					await moveExample(await getExample(id), other)
					over()
				},
				"small move"
			)
		)
	}
	if (["wrong_label", "near_duplicates", "same_picture_two_classes"].includes(one.code)) {
		fixes.push(
			working(
				"Delete",
				async () => {
					await deleteExample(await getExample(id))
					over()
				},
				"small danger"
			)
		)
	}
	const picture = thumbnail({id}, "the picture it is about", onchange)
	picture.firstChild.onerror = () => box.replaceChildren(quiet("deleted since"))
	box.append(picture, row(...fixes))
	return box
}

const getExample = id => getJson(url`/v1/examples/${id}`)
