// Small pictures of examples. They load when they come into view.
import {url} from "./api.js"
import {make} from "./dom.js"

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
