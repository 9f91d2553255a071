// What it knows: a card for each class, and the field that makes a new one.
import {post} from "./api.js"
import {makeCard, showThumbnails, updateCard} from "./card.js"
import {once} from "./dialog.js"
import {byId} from "./dom.js"
import {known, refresh} from "./known.js"
import {done} from "./messages.js"
import {hear} from "./news.js"
import {showReadiness} from "./record.js"
import {showTab} from "./tabs.js"

const seen = new IntersectionObserver(entries => {
	for (const entry of entries) if (entry.isIntersecting) freshen(entry.target)
})

const cards = () => [...byId("classes").children]
const itemOf = card => known.taught.find(item => item.name === card.dataset.name)

// Cards that stay are kept: somebody may be typing in one, or holding its button.
function show() {
	const here = new Map(cards().map(card => [card.dataset.name, card]))
	const wanted = known.taught.map(item => updateCard(here.get(item.name) || watched(makeCard(item.name)), item))
	for (const card of cards()) if (!wanted.includes(card)) card.remove()
	wanted.forEach((card, index) => {
		if (byId("classes").children[index] !== card)
			byId("classes").insertBefore(card, byId("classes").children[index] || null)
	})
	for (const card of wanted) if (card.dataset.inView) freshen(card)
	byId("welcome").hidden = known.taught.length > 0
	byId("more-classes").textContent = more()
}

function more() {
	const rest = known.total - known.taught.length
	if (!rest) return ""
	return known.classes.some(item => item.pretrained)
		? `and ${rest} classes that it came with`
		: `and ${rest} more classes`
}

function watched(card) {
	seen.observe(card)
	return card
}

function freshen(card) {
	card.dataset.inView = "yes"
	const item = itemOf(card)
	const now = item && String(item.examples)
	if (!item || card.dataset.shown === now) return
	card.dataset.shown = now
	showThumbnails(card, item).catch(() => {
		card.dataset.shown = ""
	})
}

async function add(event) {
	event.preventDefault()
	const name = byId("name").value.trim()
	if (!name) return
	await once(event.target.querySelector("button"), async () => {
		const made = await post("/v1/classes", {name})
		byId("name").value = ""
		await refresh()
		done(`Added ${made.name}.`, made.step)
		const card = cards().find(one => one.dataset.name === made.name)
		if (!card) return
		card.querySelector(known.camera.state === "online" ? ".record" : "input[type=file]").focus()
		card.scrollIntoView({block: "nearest"})
	})
}

export function startClasses() {
	byId("add").onsubmit = add
	hear("classes", show)
	hear("changed", refresh)
	hear("camera", () => cards().forEach(card => showReadiness(card.querySelector(".record"), card.dataset.name)))
	hear("signed-in", () => showTab("teach"))
}
