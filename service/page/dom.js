// Making and finding elements. Text only ever goes in as text: names of classes are a stranger's input.

export const byId = id => document.getElementById(id)

const SVG = "http://www.w3.org/2000/svg"

// make("button", {class: "small", onclick: f}, "text", child, ...)
export function make(tag, attributes = {}, ...children) {
	return fill(document.createElement(tag), attributes, children)
}

export function draw(tag, attributes = {}, ...children) {
	return fill(document.createElementNS(SVG, tag), attributes, children)
}

function fill(element, attributes, children) {
	for (const [name, value] of Object.entries(attributes)) set(element, name, value)
	element.append(...children.flat().filter(child => child !== null && child !== undefined && child !== ""))
	return element
}

function set(element, name, value) {
	if (value === null || value === undefined) return
	if (name.startsWith("on") || typeof value === "boolean" || name === "value") element[name] = value
	else element.setAttribute(name, value)
}

export const replace = (element, ...children) => element.replaceChildren(...children.flat().filter(Boolean))

export function button(text, onclick, attributes = {}) {
	return make("button", {type: "button", onclick, ...attributes}, text)
}

// A label that looks like a button and opens the choice of files.
export function fileButton(text, onfiles, attributes = {}) {
	const input = make("input", {type: "file", ...attributes})
	input.onchange = () => {
		const files = [...input.files]
		input.value = ""
		if (files.length) onfiles(files)
	}
	return make("label", {class: "button small"}, text, input)
}

export const heading = (level, text, attributes = {}) => make(`h${level}`, attributes, text)
export const quiet = (...children) => make("p", {class: "quiet"}, ...children)
export const row = (...children) => make("div", {class: "row"}, ...children)

// A table that may be wider than its place. titles : texts or elements, "" for none; lines : rows of cells
export function table(label, titles, lines, attributes = {}) {
	const top = titles.map(title => make(title ? "th" : "td", {scope: title ? "col" : null}, title))
	const inside = make("table", attributes, make("thead", {}, make("tr", {}, ...top)), make("tbody", {}, ...lines))
	return make("div", {class: "scroll", tabindex: 0, role: "region", "aria-label": label}, inside)
}

// A bar of a share, 0..1; the words beside it say the same.
export function bar(share, attributes = {}) {
	const inner = make("span", {class: "bar-fill"})
	inner.style.width = `${Math.round(share * 1000) / 10}%`
	return make("span", {class: "bar", "aria-hidden": "true", ...attributes}, inner)
}
