// What was done lately, in words; the newest step can be taken back.
import {getJson} from "./api.js"
import {working} from "./dialog.js"
import {isNews, make, quiet, replace} from "./dom.js"
import {undo, unavailable} from "./messages.js"
import {count, when} from "./words.js"

const SHOWN = 8
const OF_MODELS = ["activate", "delete_version"] // change nothing that is taught
// An import is taken back whole; older daemons didn't note which of its steps belong together.
const canUndo = ({action, details}) => action !== "undo" && (action !== "import" || "job" in details)

export async function journalCard(card) {
	try {
		const {items} = await getJson(`/v1/journal?size=${SHOWN}`)
		if (!isNews(card, items)) return
		const last = items.find(one => !OF_MODELS.includes(one.action))
		const lines = items.map(one =>
			make(
				"li",
				make("span", words(one)),
				make("span.quiet", when(one.created)),
				one === last && canUndo(one)
					? working(undoing(one), () => undo([one.step]), "small", {"aria-label": `${undoing(one)}: ${words(one)}`})
					: null
			)
		)
		replace(card, make("h3", "Lately"), items.length ? make("ul.journal", ...lines) : quiet("Nothing was done yet."))
	} catch (error) {
		unavailable(card, error, "the journal")
	}
}

const undoing = ({action}) => (action === "import" ? "Undo the whole import" : "Undo")

function words({action, details}) {
	const name = details.name || details.class || ""
	const many = details.examples
		? count(details.examples.length === undefined ? details.examples : details.examples.length, "picture")
		: "pictures"
	const texts = {
		add_examples: `Taught ${name} ${many}`,
		import: `Imported ${name} ${many}`,
		add_class: `Added ${name}`,
		delete_class: `Deleted ${name}`,
		delete_examples: `Deleted ${many}`,
		delete_version: `Deleted version ${details.model}`,
		activate: details.model === "live" ? "Back to the live model" : `Version ${details.model} answers`
	}
	return texts[action] || `${action[0].toUpperCase()}${action.slice(1).replace(/_/g, " ")} ${name}`.trim()
}
