// All examples as dots: alike ones lie together. A class has a colour and a shape.
import {getJson, url} from "./api.js"
import {byId, button, draw, make, quiet, replace} from "./dom.js"
import {openExample} from "./example.js"
import {hue, known, place} from "./known.js"
import {unavailable} from "./messages.js"
import {hear} from "./news.js"
import {isShown, whenShown} from "./tabs.js"
import {count, percent} from "./words.js"

const [WIDTH, HEIGHT, PAD] = [640, 480, 18]
const SHAPES = [
	"M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z",
	"M-4.5-4.5h9v9h-9Z",
	"M0-6L6 5H-6Z",
	"M0-6.5L6.5 0L0 6.5L-6.5 0Z",
	"M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4Z",
	"M0 6L6-5H-6Z",
	"M0-6L1.8-2L6-1.5L3 1.5L4 6L0 3.8L-4 6L-3 1.5L-6-1.5L-1.8-2Z",
	"M-6-2.5h12v5h-12Z"
]
const ARROWS = {ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1]}

const hidden = new Set() // classes that were filtered out
let dots = [] // [{item, x, y}]
let here = null
let parts = {}
let asked = ""

export function startMap() {
	parts = {
		note: quiet(),
		legend: make("div.legend.row", {role: "group", "aria-label": "Classes on the map"}),
		svg: draw("svg", {
			viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
			tabindex: 0,
			role: "application",
			class: "plot",
			"aria-label": "Map of the pictures. Arrow keys move from one to the next, Enter opens it."
		}),
		peek: make("div.peek", {hidden: true}),
		said: make("p.unseen", {role: "status"}),
		view: make("div")
	}
	parts.frame = make("div.plot-frame", parts.svg, parts.peek)
	parts.svg.onkeydown = onKey
	parts.svg.onfocus = () => {
		if (!here && visible().length) point(visible()[0])
	}
	parts.svg.onblur = parts.svg.onpointerleave = () => {
		parts.peek.hidden = true
	}
	byId("map").append(parts.view)
	whenShown("map", load)
	hear("classes", () => {
		if (isShown("map") && asked !== state()) load()
	})
}

const state = () => JSON.stringify(known.taught.map(item => [item.name, item.examples]))

async function load() {
	asked = state()
	if (!known.taught.some(item => item.examples))
		return replace(parts.view, make("p.empty", "Nothing to draw yet: teach something first."))
	try {
		const map = await getJson("/v1/map?size=1000")
		dots = scaled(map.items)
		here = null
		const rest = map.total > map.shown ? `${map.shown} of ${count(map.total, "picture")} are drawn. ` : ""
		const share = (map.explained || []).reduce((sum, one) => sum + one, 0)
		parts.note.textContent = `${rest}Each sign is a picture; like ones lie together. One among another class may be wrong.${share ? ` The drawing holds ${percent(share)} of the differences.` : ""}`
		replace(parts.view, make("div.card", parts.legend, parts.frame, parts.note, parts.said))
		show()
	} catch (error) {
		unavailable(parts.view, error, "the map")
	}
}

function scaled(items) {
	const [x, y] = ["x", "y"].map(axis => items.map(item => item[axis]))
	const fit = (values, size) => {
		const [least, most] = [Math.min(...values), Math.max(...values)]
		return value => (most > least ? PAD + ((value - least) / (most - least)) * (size - 2 * PAD) : size / 2)
	}
	const [fitX, fitY] = [fit(x, WIDTH), fit(y, HEIGHT)]
	return items.map(item => ({item, x: fitX(item.x), y: HEIGHT - fitY(item.y)}))
}

const visible = () => dots.filter(dot => !hidden.has(dot.item.class))

// Where the colours begin again the shapes are shifted, so that 64 classes differ.
function shape(name) {
	const at = Math.max(0, place(name))
	return SHAPES[(at + Math.floor(at / SHAPES.length)) % SHAPES.length]
}

function show() {
	const names = [...new Set(dots.map(dot => dot.item.class))].sort((one, other) => place(one) - place(other))
	replace(parts.legend, names.map(legendButton))
	parts.svg.replaceChildren(...visible().map(sign), draw("circle", {r: 11, class: "ring", visibility: "hidden"}))
}

function legendButton(name) {
	const looks = {viewBox: "-8 -8 16 16", class: `sample ${hue(name)}`, "aria-hidden": "true"}
	const sample = draw("svg", looks, draw("path", {d: shape(name), class: "dot"}))
	const element = button(
		"",
		() => {
			if (!hidden.delete(name)) hidden.add(name)
			element.setAttribute("aria-pressed", String(!hidden.has(name)))
			show()
		},
		"small legend-item",
		{"aria-pressed": String(!hidden.has(name))}
	)
	element.append(sample, name)
	return element
}

function sign(dot) {
	const element = draw("path", {
		d: shape(dot.item.class),
		class: `dot ${hue(dot.item.class)}`,
		transform: `translate(${dot.x.toFixed(1)} ${dot.y.toFixed(1)})`
	})
	element.onpointerenter = () => point(dot)
	element.onclick = () => openExample(dot.item.id, load)
	return element
}

// Shows one dot: a ring, its picture, and words for a screen reader.
function point(dot) {
	here = dot
	const ring = parts.svg.querySelector(".ring")
	ring.setAttribute("visibility", "visible")
	ring.setAttribute("cx", dot.x)
	ring.setAttribute("cy", dot.y)
	replace(parts.peek, make("img", {src: url`/v1/examples/${dot.item.id}/image`, alt: ""}), make("span", dot.item.class))
	parts.peek.style.left = `${(dot.x / WIDTH) * 100}%`
	parts.peek.style.top = `${(dot.y / HEIGHT) * 100}%`
	const aside = [dot.x > WIDTH / 2, dot.y > HEIGHT / 2].map(beyond => (beyond ? "calc(-100% - 2rem)" : 0))
	parts.peek.style.transform = `translate(${aside})`
	parts.peek.hidden = false
	parts.said.textContent = `A picture of ${dot.item.class}`
}

function onKey(event) {
	if (event.key === "Enter" && here) return openExample(here.item.id, load)
	const direction = ARROWS[event.key]
	if (!direction || !here) return undefined
	event.preventDefault()
	const next = nearest(direction)
	return next && point(next)
}

// The nearest dot that way; what lies aside counts double.
function nearest([x, y]) {
	let [best, least] = [null, Infinity]
	for (const dot of visible()) {
		const along = (dot.x - here.x) * x + (dot.y - here.y) * y
		const aside = Math.abs((dot.x - here.x) * y) + Math.abs((dot.y - here.y) * x)
		if (dot !== here && along > 0.01 && along + 2 * aside < least) [best, least] = [dot, along + 2 * aside]
	}
	return best
}
