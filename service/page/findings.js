// What the doctor found, with its remedy; what one press can do is a button.
import {remove} from "./api.js"
import {working} from "./dialog.js"
import {make, quiet, row} from "./dom.js"
import {deleteExample, moveExample, thumbnail} from "./example.js"
import {refresh} from "./known.js"
import {done} from "./messages.js"
import {count, sentence} from "./words.js"

const SIGNS = {error: ["!", "Error"], warning: ["!", "Warning"], advice: ["i", "Advice"]}
const BALANCE = "“Give small classes the same weight”" // what the page calls it
const MOST_SHOWN = 12
const MOST_DELETED = 1000 // at once, as the daemon has it
// What a press can mend, and whether it is by now. present : the class each picture is in, null where it is gone
const MENDED = {
	wrong_label: ({classes, present}) => present[0] !== classes[0],
	same_picture_two_classes: ({present: [one, other]}) => !one || !other || one === other,
	near_duplicates: ({present}) => !present.some(Boolean)
}

// onchange : called when something was mended
export function findings(report, onchange) {
	const mended = async () => {
		await refresh()
		await onchange()
	}
	const lines = (report.findings || []).map(one => finding(one, mended))
	const none = quiet(report.findings ? "Nothing is wrong with the pictures." : "Looking through the pictures…")
	return make("div.card", make("h3", "What the doctor says"), lines.length ? make("ul.findings", ...lines) : none)
}

function finding(one, mended) {
	const [sign, word] = SIGNS[one.severity] || SIGNS.advice
	const isMended = MENDED[one.code] && MENDED[one.code](one)
	return make(
		`li.finding.${one.severity}`,
		{"data-code": one.code},
		make("p", make("span.sign", {role: "img", "aria-label": word}, sign), make("strong", sentence(one.text))),
		isMended ? quiet("✓ Done.") : [quiet(sentence(one.remedy).replace("`balance`", BALANCE)), ...pictures(one, mended)]
	)
}

function pictures(one, mended) {
	const there = one.examples.map((id, index) => ({id, class: one.present[index]})).filter(example => example.class)
	const shown = there.slice(0, MOST_SHOWN).map(example => pictureWithFixes(example, one, mended))
	const rest = there.length - shown.length
	return [
		shown.length ? make("div.fixes", ...shown) : null,
		rest > 0 ? quiet(`and ${rest} more`) : null,
		one.code === "near_duplicates" && there.length > 1 ? row(deleteAll(there, mended)) : null
	]
}

function pictureWithFixes(example, {code, classes}, mended) {
	const fix = (text, work, looks) => working(text, () => work().then(mended), looks)
	return make(
		"div.fix",
		thumbnail(example, `in ${example.class}`, mended),
		row(
			code === "wrong_label" && fix(`Move to ${classes[1]}`, () => moveExample(example, classes[1]), "small move"),
			MENDED[code] && fix(`Delete from ${example.class}`, () => deleteExample(example), "small danger")
		)
	)
}

function deleteAll(there, mended) {
	const some = there.slice(0, MOST_DELETED)
	return working(
		some.length < there.length ? `Delete the first ${some.length}` : `Delete all ${some.length}`,
		async () => {
			const {step} = await remove("/v1/examples", {examples: some.map(({id}) => id)})
			done(`Deleted ${count(some.length, "picture")}. What each is like stays.`, step)
			await mended()
		},
		"small danger"
	)
}
