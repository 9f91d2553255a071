// The stored examples most like a picture: the evidence for an answer.
import {make, quiet} from "./dom.js"
import {thumbnail} from "./thumbs.js"
import {percent} from "./words.js"

// nearest : as /v1/classify?explain=true gives them
export function neighbours(nearest, onchange) {
	if (!nearest.length) return quiet("There is nothing stored to compare with yet.")
	const items = nearest.map(one => {
		const words = `${one.class}, ${percent(one.similarity)} alike`
		return make(
			"li",
			{},
			thumbnail({id: one.example}, words, onchange),
			make("span", {}, one.class),
			make("span", {class: "quiet"}, `${percent(one.similarity)} alike`)
		)
	})
	return make("ul", {class: "pictures"}, ...items)
}
