// Figures and errors in words.

export const percent = (share, digits = 0) => (typeof share === "number" ? `${(share * 100).toFixed(digits)} %` : "–")

export function count(number, noun) {
	const many = noun.endsWith("s") ? `${noun}es` : noun.endsWith("y") ? `${noun.slice(0, -1)}ies` : `${noun}s`
	return `${number} ${number === 1 ? noun : many}`
}

// As a sentence of its own, whatever the daemon sent.
export const sentence = text => (text ? `${text[0].toUpperCase()}${text.slice(1).replace(/[.]$/, "")}.` : "")

// As in the settings, a MB is 1024 kB.
export function bytes(number) {
	const kilo = number / 1024
	return kilo < 1024 ? `${Math.ceil(kilo)} kB` : `${Number((kilo / 1024).toFixed(1))} MB`
}

export const when = seconds =>
	new Date(seconds * 1000).toLocaleString([], {day: "numeric", month: "short", hour: "numeric", minute: "2-digit"})

const HEADS = {
	imprinting: "imprinting",
	softmax: "softmax regression",
	lda: "linear discriminant",
	knn: "nearest neighbours",
	auto: "the best of all"
}
export const headName = head => HEADS[head] || head
export const versionName = version => (version === "live" ? "live model" : `version ${version}`)

// How the figures of a report came about.
export const measuredWords = ({held_out: held, left_out: left}) =>
	held
		? `on ${count(held.examples, "picture")} set aside and not trained on`
		: `on ${count(left.examples, "picture")}, each answered as if it had not been taught`

// Why training took this kind of head: a report's `choice`.
export function choiceWords({kind, accuracy, examples, reason}) {
	const tried = Object.entries(accuracy).sort((one, other) => other[1] - one[1])
	if (!tried.length) return sentence(reason)
	const figures = tried.map(([head, share]) => `${headName(head)} ${percent(share, 1)}`).join(", ")
	const why = accuracy[kind] === tried[0][1] ? "none did better" : "chance alone may have put it behind"
	const where = `in a cross-validation on ${count(examples, "picture")}`
	return `Of all kinds ${headName(kind)} was taken, as ${why} ${where}: ${figures}.`
}

// What an answer to teaching says beside its counts: what is odd, and how good it is by now.
// The figure is the live model's, and means something once two classes have two pictures each.
export function taughtWords(answer, classes) {
	const odd = answer.accepted
		.flatMap(one => one.warnings)
		.slice(0, 1)
		.map(text => ` Look: ${text}.`)
	const measured = answer.accuracy.after !== null && classes.filter(item => item.examples > 1).length > 1
	const live = !answer.model || answer.model.version === "live" ? "" : " The live model is"
	const now = measured ? `${live} ${percent(answer.accuracy.after)} right by now.` : ""
	return odd.join("") + now
}

const ROOM = "Delete pictures that are not needed, or make room on the disk."
// What to do about a problem, where its own words don't say.
const REMEDIES = {
	scope_too_small: "Sign out and sign in with the manage token to change things.",
	too_many_streams: "Close the page somewhere else, or wait: it tries again by itself.",
	no_space: ROOM,
	store_full: ROOM,
	queue_full: "Wait for the training that runs, or cancel it.",
	head_not_writable: "Train a softmax, imprinting or discriminant head and download that.",
	step_passed: "Something else was changed since. The newest step is under Settings."
}

export function said(error) {
	if (error instanceof TypeError && /fetch|network|load/i.test(error.message))
		return "The board can't be reached. Is it on, and on this network?"
	const remedy = REMEDIES[error.code]
	const text = sentence((error.message || "something went wrong").replace(/ \(the first bytes are .*\)/, ""))
	return remedy ? `${text} ${remedy}` : text
}
