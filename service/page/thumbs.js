// Small pictures of examples. They load when they come into view.
import {url} from "./api.js"
import {button, make} from "./dom.js"
import {openExample} from "./example.js"

const LARGE = 300000 // bytes; of such a picture what the model sees is shown, which is small

export function pictureOf(example, alt = "") {
	const path = url`/v1/examples/${example.id}/image`
	return make("img", {
		src: example.bytes > LARGE ? `${path}?view=model` : path,
		alt,
		loading: "lazy",
		decoding: "async"
	})
}

// onchange : called when the example was moved or deleted
export function thumbnail(example, label, onchange) {
	return button("", () => openExample(example.id, onchange), {
		class: "thumb",
		"aria-label": label,
		title: label
	}).appendChild(pictureOf(example)).parentElement
}
