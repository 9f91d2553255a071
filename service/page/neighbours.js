// The stored examples most like a picture: the evidence for an answer.
import {make, quiet} from "./dom.js"
import {percent} from "./words.js"

// nearest : as /v1/classify?explain=true gives them; picture : makes the small picture of one
export function neighbours(nearest, picture) {
	if (!nearest.length) return quiet("There is nothing stored to compare with yet.")
	const items = nearest.map(one => {
		const words = `${one.class}, ${percent(one.similarity)} alike`
		return make(
			"li",
			picture(one, words),
			make("span", one.class),
			make("span.quiet", `${percent(one.similarity)} alike`)
		)
	})
	return make("ul.pictures", ...items)
}
