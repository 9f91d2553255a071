// One example in large: what it is, where it belongs, what is like it.
import {call, getJson, patch, remove, sendPicture, url} from "./api.js"
import {chooser} from "./chooser.js"
import {openDialog, working} from "./dialog.js"
import {button, make, quiet, replace, row} from "./dom.js"
import {refresh} from "./known.js"
import {attempt, done} from "./messages.js"
import {neighbours} from "./neighbours.js"
import {pictureOf} from "./thumbs.js"
import {bytes, when} from "./words.js"

// onchange : called when it was moved or deleted
export async function openExample(id, onchange = () => {}) {
	await attempt(async () => {
		const example = await getJson(url`/v1/examples/${id}`)
		const view = openDialog(example.class, {class: "wide"})
		const gone = () => {
			view.close()
			refresh()
			onchange()
		}
		view.body.append(
			large(example),
			make("div.stack", facts(example), moving(example, gone), actions(example, view, gone))
		)
	})
}

// A small picture that opens it; onchange as of openExample.
export function thumbnail(example, label, onchange) {
	return button("", () => openExample(example.id, onchange), "thumb", {"aria-label": label, title: label}).appendChild(
		pictureOf(example)
	).parentElement
}

function large(example) {
	const path = url`/v1/examples/${example.id}/image`
	const image = make("img", {src: path, alt: `an example of ${example.class}`, class: "large"})
	const toggle = button(
		"Show what the model sees",
		() => {
			const model = toggle.getAttribute("aria-pressed") !== "true"
			toggle.setAttribute("aria-pressed", String(model))
			image.src = model ? `${path}?view=model` : path
		},
		"small",
		{"aria-pressed": "false"}
	)
	return make("div.stack", image, row(toggle))
}

function facts(example) {
	const from = {camera: "from the camera", upload: "uploaded", import: "imported"}[example.source] || example.source
	return quiet(`${example.width} × ${example.height}, ${bytes(example.bytes)}, ${from}, ${when(example.created)}`)
}

function moving(example, gone) {
	return chooser("Move to", name => moveExample(example, name).then(gone), {without: example.class})
}

function actions(example, view, gone) {
	const near = make("div", {"aria-live": "polite"})
	const show = working(
		"What is most like it?",
		async () => {
			const picture = await (await call(url`/v1/examples/${example.id}/image`)).blob()
			const answer = await sendPicture("/v1/classify?explain=true", picture)
			replace(
				near,
				neighbours(
					(answer.nearest || []).filter(one => one.example !== example.id),
					(one, words) => thumbnail({id: one.example}, words)
				)
			)
		},
		"small"
	)
	const drop = working("Delete", () => deleteExample(example).then(gone), "small danger")
	return make("div.stack", row(show, drop), near)
}

export async function moveExample(example, name) {
	const moved = await patch(url`/v1/examples/${example.id}`, {class: name})
	done(`Moved a picture from ${example.class} to ${name}.`, moved.step)
}

export async function deleteExample(example) {
	const deleted = await remove(url`/v1/examples/${example.id}`)
	done(`Deleted a picture of ${example.class}.`, deleted.step)
}
