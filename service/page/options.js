// How to train, folded away. Only what was changed is sent.
import {make, quiet, select} from "./dom.js"

const HEADS = [
	["auto", "Best of all", "Tries every kind on your pictures and takes the one that does best."],
	["imprinting", "Imprinting", "One picture is enough; learns in an instant. Best with few pictures."],
	["softmax", "Softmax regression", "Trained in rounds. Best with many or very different pictures of a class."],
	["lda", "Linear discriminant", "Learns as pictures come, about as accurate as softmax."],
	["knn", "Nearest neighbours", "Compares with every stored picture. Easy to understand, slower with many."]
]
const ACTIVATE = [
	["if_better", "if it is not worse", "The new version answers when it is right at least as often."],
	["always", "always", "The new version answers, whatever it got right."],
	["never", "never", "It is kept under Versions, and what answers now goes on."]
]
const GENERAL = [["held_out", "Set aside", 0.2, "share of the pictures kept back to measure with, 0 to 0.5"]]
const SOFTMAX = [
	["search_seconds", "Search for better options", 0, "seconds to try others; 0 takes these as they are"],
	["epochs", "Epochs", 60, "rounds over all pictures"],
	["learning_rate", "Learning rate", 0.001, "how large a step is; lower it when the loss jumps"],
	["batch_size", "Batch", 32, "pictures a step"],
	["l2", "L2", 0.0005, "keeps the weights small; raise it when held-out accuracy lags behind"],
	["dropout", "Dropout", 0, "share of each embedding left out of a step, 0 to 0.9"],
	["patience", "Patience", 10, "epochs without progress before it stops; 0 never stops early"],
	["seed", "Seed", 0, "the same seed gives the same model"]
]

export function optionFields() {
	const head = described("head", "Kind of model", HEADS)
	const softmax = make(
		"fieldset",
		make("legend", "For softmax regression"),
		...SOFTMAX.map(number),
		described("optimizer", "Optimizer", [
			["adam", "adam", "finds its own step sizes"],
			["sgd", "sgd", "plain steps, as Coral's own"]
		]),
		make(
			"label.switch",
			make("input", {type: "checkbox", name: "balance", checked: true}),
			"Give small classes the same weight"
		)
	)
	const chosen = head.querySelector("select")
	chosen.addEventListener("change", () => {
		softmax.disabled = softmax.hidden = !["auto", "softmax"].includes(chosen.value)
	})
	return make(
		"details",
		{id: "train-options"},
		make("summary", "Options"),
		make("div.fields", head, described("activate", "Let it answer", ACTIVATE), ...GENERAL.map(number), softmax)
	)
}

function described(name, label, choices) {
	const note = quiet(choices[0][2])
	const element = select({name}, choices, choices[0][0])
	element.addEventListener("change", () => {
		note.textContent = choices.find(([value]) => value === element.value)[2]
	})
	return make("div.field", make("label", label, element), note)
}

function number([name, label, value, note]) {
	return make(
		"div.field",
		make("label", label, make("input", {type: "number", name, step: "any", min: 0, placeholder: value})),
		quiet(note)
	)
}

// The body of POST /v1/train.
export function readOptions(fields) {
	const body = {}
	for (const input of fields.querySelectorAll("select, input")) {
		if (input.closest("fieldset:disabled")) continue
		if (input.type === "checkbox") {
			if (!input.checked) body[input.name] = false
		} else if (input.name === "optimizer") {
			if (input.value !== "adam") body.optimizer = input.value
		} else if (input.type === "number") {
			if (input.value !== "") body[input.name] = Number(input.value)
		} else body[input.name] = input.value
	}
	return body
}

// A refusal, with the label of an option instead of its name.
export function labelled(error) {
	for (const [name, label] of [...GENERAL, ...SOFTMAX]) error.message = error.message.replace(RegExp(`^${name}\\b`), label)
	return error
}
