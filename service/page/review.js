// Frames the model was unsure of: each gets a class or goes.
import {getJson, post, remove, url} from "./api.js"
import {chooser} from "./chooser.js"
import {confirm, working} from "./dialog.js"
import {byId, button, make, pager, quiet, replace, row} from "./dom.js"
import {classNames, refresh} from "./known.js"
import {attempt, done, unavailable} from "./messages.js"
import {hear} from "./news.js"
import {isShown, whenShown} from "./tabs.js"
import {bytes, count, percent, when} from "./words.js"

const SIZE = 12
const TWICE = 500 // milliseconds

let page = 0
let moved = 0 // when another frame came to the place of one
let offered = "" // the classes that have buttons

export function startReview() {
	whenShown("review", show)
	hear("changed", show)
	hear("status", ({counts}) => {
		byId("waiting").textContent = counts.review ? ` ${counts.review}` : ""
	})
	hear("classes", () => {
		if (offered !== classNames().join("/")) show()
	})
}

async function show() {
	if (!isShown("review")) return
	const view = byId("review")
	offered = classNames().join("/")
	const title = make("h2.unseen", "Review queue")
	try {
		const list = await getJson(url`/v1/review?page=${page}&size=${SIZE}`)
		if (!list.items.length && page) {
			page -= 1
			return await show()
		}
		const cards = make("ul.review", ...list.items.map(frame))
		replace(
			view,
			title,
			head(list),
			list.items.length ? cards : empty(),
			pager(page, Math.ceil(list.total / list.size), turn)
		)
	} catch (error) {
		unavailable(view, error, "the review queue")
	}
}

const empty = () =>
	make("p.empty", "Nothing to review. Frames that it is unsure of, or that look like nothing it knows, gather here.")

function head(list) {
	const meter = make("progress", {max: list.budget_bytes || 1, value: list.bytes, "aria-label": "space used"})
	const all = working(
		"Discard all",
		async () => {
			const loss = `${count(list.total, "frame")} will be gone for good.`
			if (!(await confirm("Discard all frames?", loss, "Discard all"))) return
			done(`Discarded ${count((await remove("/v1/review")).deleted, "frame")}.`)
			await show()
		},
		"small danger"
	)
	const words = `${count(list.total, "frame")}, ${bytes(list.bytes)} of ${bytes(list.budget_bytes)}`
	return make(
		"div.card",
		row(
			make("strong", words),
			meter,
			button("Look again", () => attempt(show), "small"),
			list.total ? all : null
		)
	)
}

function frame(item) {
	const first = item.predictions.map(one => one.class)
	const give = async name => {
		const taught = await post(url`/v1/review/${item.id}`, {class: name})
		done(`It is ${name} now.`, taught.step)
		await over()
	}
	const drop = () => remove(url`/v1/review/${item.id}`).then(over)
	const discard = working("Discard", () => meant(drop), "small danger")
	return make(
		"li.card",
		{"data-id": item.id},
		make("img", {src: url`/v1/review/${item.id}/image`, alt: `frame to review, ${reason(item)}`, loading: "lazy"}),
		make(
			"div.stack",
			make("strong", reason(item)),
			quiet(when(item.captured)),
			chooser("This is", name => meant(() => give(name)), {first, most: 5}),
			row(discard)
		)
	)
}

function reason(item) {
	const [best] = item.predictions
	if (item.reason === "novel") return "Looks like nothing it knows"
	return best ? `Not sure: ${best.class}, ${percent(best.score)}?` : "Not sure"
}

async function over() {
	await show()
	moved = Date.now()
	await refresh()
}

// The next frame comes to where one was: the second press of two was not meant for it.
const meant = work => (Date.now() - moved < TWICE ? null : work())

function turn(by) {
	page += by
	return show()
}
