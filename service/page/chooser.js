// Choosing a class: buttons for the likeliest, a field for any other or a new one.
import {once} from "./dialog.js"
import {button, make, row} from "./dom.js"
import {classNames, hue} from "./known.js"

// first : names to offer first; most : how many get a button; without : one that makes no sense
export function chooser(label, onchoose, {first = [], most = 6, without = null} = {}) {
	const names = [...new Set([...first.filter(name => classNames().includes(name)), ...classNames()])].filter(
		name => name !== without
	)
	const choose = name => once(group, () => onchoose(name)) // a second press would choose again
	const buttons = names.slice(0, most).map(name => button(name, () => choose(name), `small choice ${hue(name)}`))
	const input = make("input", {
		list: "class-names",
		maxlength: 100,
		placeholder: names.length ? "another or a new class" : "a new class",
		"aria-label": `${label}: another or a new class`,
		autocomplete: "off",
		autocapitalize: "off",
		required: true
	})
	const form = make("form.row.other", input, make("button.small", "OK"))
	form.onsubmit = event => {
		event.preventDefault()
		if (input.value.trim()) choose(input.value.trim())
	}
	const group = make(
		"div.chooser",
		{role: "group", "aria-label": label},
		make("span.chooser-label", label),
		row(...buttons),
		form
	)
	return group
}
