// What was done lately, in words; the newest step can be taken back.
import {getJson} from "./api.js"
import {working} from "./dialog.js"
import {isNews, make, quiet, replace} from "./dom.js"
import {undo, unavailable} from "./messages.js"
import {count, when} from "./words.js"

const SHOWN = 8
const MOST = 1000 // steps that are looked through, and that can be taken back at once
const OF_MODELS = ["activate", "delete_version"] // change nothing that is taught
// Older daemons didn't note the steps of an import.
const canUndo = ({action, details}) => action !== "undo" && (action !== "import" || "job" in details)

export async function journalCard(card) {
	try {
		const {items} = await getJson("/v1/journal?size=1")
		if (!isNews(card, items)) return
		const done = await gestures()
		const last = done.find(one => !OF_MODELS.includes(one.action))
		const lines = done.map(one =>
			make(
				"li",
				make("span", words(one)),
				make("span.quiet", when(one.created)),
				one === last && canUndo(one)
					? working(undoing(one), () => undo(one.steps), "small", {"aria-label": `${undoing(one)}: ${words(one)}`})
					: null
			)
		)
		replace(card, make("h3", "Lately"), lines.length ? make("ul.journal", ...lines) : quiet("Nothing was done yet."))
	} catch (error) {
		unavailable(card, error, "the journal")
	}
}

// The newest ones; the pictures of one recording came by many steps, and count and go as one.
async function gestures() {
	for (let size = 5 * SHOWN; ; size *= 5) {
		const {items, total} = await getJson(`/v1/journal?size=${size}`)
		const found = []
		for (const one of items) {
			const [before] = found.slice(-1)
			if (before && isSame(before, one)) {
				before.steps.push(one.step)
				before.pictures += pictures(one)
			} else found.push({...one, steps: [one.step], pictures: pictures(one)})
		}
		if (found.length > SHOWN || total === items.length || size >= MOST) return found.slice(0, SHOWN)
	}
}

const isSame = (one, other) =>
	["capture", "name"].every(part => one.details[part] && one.details[part] === other.details[part])

// How many pictures a step is about, NaN where it doesn't say.
const pictures = ({details: {examples = NaN}}) => (examples.length === undefined ? examples : examples.length)

const undoing = ({action}) => (action === "import" ? "Undo the whole import" : "Undo")

function words({action, details, pictures}) {
	const name = details.name || details.class || ""
	const many = isNaN(pictures) ? "pictures" : count(pictures, "picture")
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
