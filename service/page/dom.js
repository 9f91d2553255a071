// Making and finding elements. Text goes in as text only: names are a stranger's input.

export const byId = id => document.getElementById(id)

const SVG = "http://www.w3.org/2000/svg"

// make("button.small.danger", {onclick: f}, "text", child, ...), or without attributes: make("p.quiet", "text")
export const make = (kind, ...parts) => fill(kind, tag => document.createElement(tag), parts)
export const draw = (kind, ...parts) => fill(kind, tag => document.createElementNS(SVG, tag), parts)

function fill(kind, create, parts) {
	const [tag, ...classes] = kind.split(".")
	const element = create(tag)
	element.classList.add(...classes)
	const children = parts.flat()
	if (children[0] && children[0].constructor === Object)
		for (const [name, value] of Object.entries(children.shift())) set(element, name, value)
	element.append(...children.filter(child => child || child === 0))
	return element
}

function set(element, name, value) {
	if (value === null || value === undefined) return
	if (name.startsWith("on") || typeof value === "boolean" || name === "value") element[name] = value
	else element.setAttribute(name, value)
}

// Puts other children into an element. The focus stays about there, where another Enter does no harm.
export function replace(element, ...children) {
	const places = () => [...element.querySelectorAll("button, input, select, a, [tabindex='0']")]
	const place = places().indexOf(document.activeElement)
	element.replaceChildren(...children.flat().filter(Boolean))
	if (place < 0 || document.activeElement !== document.body) return
	const left = places()
		.slice(0, place + 1)
		.filter(one => !one.matches(":disabled, .danger, .move, .choice"))
	;(left.pop() || byId("work")).focus({preventScroll: true})
}

// Whether a view has to be drawn anew: else focus and what was typed stay.
export function isNews(view, facts) {
	const before = view.dataset.facts
	view.dataset.facts = JSON.stringify(facts)
	return view.dataset.facts !== before
}

// choices : [value, words] each
export const select = (attributes, choices, chosen) =>
	make(
		"select",
		attributes,
		...choices.map(([value, words]) => make("option", {value, selected: String(value) === String(chosen)}, words))
	)

export function button(text, onclick, classes = null, attributes = {}) {
	return make("button", {type: "button", class: classes, onclick, ...attributes}, text)
}

// A label that looks like a button and opens the choice of files.
export function fileButton(text, onfiles, attributes = {}) {
	const input = make("input", {type: "file", ...attributes})
	input.onchange = () => {
		const files = [...input.files]
		input.value = ""
		if (files.length) onfiles(files)
	}
	return make("label.button.small", text, input)
}

export const quiet = (...children) => make("p.quiet", ...children)
export const row = (...children) => make("div.row", ...children)

// Walks through pages, newest first; turn : gets how many to go on
export const pager = (page, pages, turn) =>
	pages > 1 &&
	row(
		button("Newer", () => turn(-1), "small", {disabled: page === 0}),
		quiet(`page ${page + 1} of ${pages}`),
		button("Older", () => turn(1), "small", {disabled: page >= pages - 1})
	)

// A table that may be wider than its place. titles : texts or elements, "" for none
export function table(label, titles, lines, attributes = {}) {
	const top = titles.map(title => make(title ? "th" : "td", {scope: title ? "col" : null}, title))
	const inside = make("table", attributes, make("thead", make("tr", ...top)), make("tbody", ...lines))
	return make("div.scroll", {tabindex: 0, role: "region", "aria-label": label}, inside)
}

// A bar of a share, 0..1; the words beside it say the same.
export function bar(share, attributes = {}) {
	const inner = make("span.bar-fill")
	inner.style.width = `${Math.round(share * 1000) / 10}%`
	return make("span.bar", {"aria-hidden": "true", ...attributes}, inner)
}
