// Pictures from files: three at a time, and one that is refused spoils nothing.
import {sendPicture, url} from "./api.js"
import {button, make, quiet, replace} from "./dom.js"
import {classNames, known, refresh} from "./known.js"
import {done} from "./messages.js"
import {tell} from "./news.js"
import {count, said, taughtWords} from "./words.js"

const AT_ONCE = 3
const MOST_TOLD = 6

// What the daemon takes, by type or name.
const TYPE = /^image\/(jpeg|png|webp|bmp)$/
const NAME = /\.(jpe?g|png|webp|bmp)$/i
export const isPicture = ({name, type}) => TYPE.test(type) || NAME.test(name)

export function mustBePicture(file) {
	if (!isPicture(file)) throw new Error(`“${file.name}” is no picture; JPEG, PNG, WebP and BMP are`)
}

// Teaches one class some files; place : where progress and refusals are shown.
export async function teachPictures(name, files, place = null) {
	const work = files.map(file => ({name, file}))
	return teachAll(work, place)
}

// work : [{name, file}]
export async function teachAll(work, place) {
	const counts = {sent: 0, kept: 0, same: 0, refused: [], steps: [], words: ""}
	const state = {...counts, there: classNames(), stop: new AbortController(), work, place}
	const queue = [...work]
	show(state)
	await Promise.all(Array.from({length: AT_ONCE}, () => sendSome(queue, state)))
	finish(state)
	tell("changed")
	await refresh()
}

async function sendSome(queue, state) {
	while (queue.length && !state.stop.signal.aborted) {
		const one = queue.shift()
		try {
			mustBePicture(one.file)
			const path = url`/v1/examples?class=${one.name}&create=${!state.there.includes(one.name)}`
			tally(state, await sendPicture(path, one.file, state.stop.signal))
		} catch (error) {
			if (error.name === "AbortError") return
			if (error.status === 401) return state.stop.abort()
			if (error.code === "class_not_found") state.stop.abort() // renamed or deleted: it is not made again
			const words = said(error)
			state.refused.push(words.startsWith("“") ? words : `${one.file.name || "picture"}: ${words}`)
		}
		state.sent += 1
		show(state)
	}
}

function tally(state, answer) {
	const [accepted] = answer.accepted
	state.words = taughtWords(answer, known.taught)
	state.count = Math.max(state.count || 0, answer.class_examples)
	state.steps.push(answer.step)
	if (accepted && accepted.duplicate) state.same += 1
	else state.kept += 1
}

function show(state) {
	if (!state.place) return
	state.place.dataset.at = ""
	const total = state.work.length
	if (total === 1) return replace(state.place, quiet("Adding…"))
	const progress = make("progress", {max: total, value: state.sent, "aria-label": "pictures added"})
	const stop = button("Stop", () => state.stop.abort(), "small")
	replace(state.place, progress, make("p.row.quiet", `${state.sent} of ${total}`, stop))
}

function finish(state) {
	const names = [...new Set(state.work.map(one => one.name))]
	const where = names.length === 1 ? names[0] : count(names.length, "class")
	const words = [`Taught ${where} ${count(state.kept, "picture")}`]
	if (state.same) words.push(`${state.same} were there already`)
	if (state.stop.signal.aborted) words.push("then stopped")
	if (state.kept || state.same) done(`${words.join(", ")}.`, ...state.steps)
	if (state.refused.length) refusals(state)
	else if (state.place) {
		replace(state.place, state.words ? quiet(state.words.trim()) : null)
		state.place.dataset.at = state.count
	}
}

function refusals(state) {
	const told = state.refused.slice(0, MOST_TOLD)
	const more = state.refused.length - told.length
	const text = `${count(state.refused.length, "picture")} could not be used:`
	const list = make(
		"ul.refused",
		...told.map(words => make("li", words)),
		more > 0 ? make("li", `and ${more} more`) : null
	)
	const close = button("Close", () => replace(state.place), "small")
	if (!state.place) throw new Error(`${text} ${told.join("; ")}`)
	replace(state.place, make("div.bad", {role: "alert"}, make("p", text), list, close))
}
