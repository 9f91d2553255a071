// Why this answer: what the model sees, and the stored pictures most like it.
import {sendPicture} from "./api.js"
import {openDialog} from "./dialog.js"
import {byId, make, quiet} from "./dom.js"
import {thumbnail} from "./example.js"
import {hue, known} from "./known.js"
import {attempt} from "./messages.js"
import {neighbours} from "./neighbours.js"
import {seenPart, shownPicture} from "./picture.js"
import {headName, percent, versionName} from "./words.js"

export function startWhy() {
	byId("why").onclick = () => attempt(explain)
}

async function explain() {
	const picture = shownPicture()
	if (!picture) return
	const answer = await sendPicture("/v1/classify?explain=true", picture)
	const view = openDialog("Why this answer?", {class: "wide", id: "why-dialog"})
	view.body.append(
		make("div.stack", await asSeen(picture), quiet(seenWords())),
		make(
			"div.stack",
			said(answer),
			make("h3", "Most like it, of what it was taught"),
			neighbours(answer.nearest || [], (one, words) => thumbnail({id: one.example}, words, view.close))
		)
	)
}

function said(answer) {
	const best = answer.predictions[0]
	const name = answer.class === null ? "nothing I know" : answer.class
	const nearly =
		answer.class === null && best
			? `Nearest would be ${best.class} with ${percent(best.score)}, which is not enough.`
			: `with a score of ${percent(answer.score)}, by the ${versionName(answer.model.version)} (${headName(answer.model.head)}).`
	return make("div", make("p", {class: `answer-small ${hue(answer.class)}`}, name), quiet(nearly))
}

function seenWords() {
	const input = known.status && known.status.extractor.input
	return input ? `This is all the model sees: the middle, at ${input.width} × ${input.height}.` : ""
}

// Cut and scaled as the daemon does it.
async function asSeen(picture) {
	const input = (known.status && known.status.extractor.input) || {width: 224, height: 224}
	const bitmap = await createImageBitmap(picture)
	const looks = {class: "large", role: "img", "aria-label": "what the model sees"}
	const canvas = make("canvas", {width: input.width, height: input.height, ...looks})
	const part = seenPart(bitmap.width, bitmap.height)
	canvas.getContext("2d").drawImage(bitmap, part.x, part.y, part.width, part.height, 0, 0, input.width, input.height)
	return canvas
}
