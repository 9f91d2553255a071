// The whole data set as one file, out and in.
import {upload} from "./api.js"
import {fileButton, make, quiet, replace, row} from "./dom.js"
import {endWords, follow} from "./jobs.js"
import {refresh} from "./known.js"
import {attempt, done} from "./messages.js"
import {count, percent} from "./words.js"

const TYPES = {
	zip: "application/zip",
	tar: "application/x-tar",
	gz: "application/gzip",
	tgz: "application/gzip",
	bz2: "application/x-bzip2",
	xz: "application/x-xz"
}

export function dataCard() {
	const state = make("div", {id: "import-state", role: "status"})
	const out = make("a.button.small", {href: "/v1/export", download: ""}, "Export everything")
	const into = fileButton("Import…", ([file]) => attempt(() => importFile(file, state)), {
		accept: ".zip,.tar,.gz,.tgz,.bz2,.xz",
		id: "import"
	})
	return make(
		"div.card",
		make("h3", "Data"),
		quiet(
			"All pictures with their classes as one file. Import takes such a file, or any zip or tar with a folder a class."
		),
		row(out, into),
		state
	)
}

async function importFile(file, state) {
	const progress = make("progress", {max: 1, value: 0, "aria-label": "import"})
	const words = quiet("sending")
	const show = (share, text) => {
		progress.value = share
		words.textContent = `${text}, ${percent(share)}`
	}
	replace(state, progress, words)
	try {
		const type = TYPES[file.name.split(".").pop().toLowerCase()] || "application/octet-stream"
		const job = await upload("/v1/import", file, type, share => show(share, "sending"))
		const ended = await follow(job, now => show(now.progress, "reading the pictures"))
		replace(state)
		if (ended.state !== "succeeded") throw new Error(endWords(ended))
		done(imported(ended.metrics))
	} catch (error) {
		replace(state)
		throw error
	} finally {
		await refresh()
	}
}

function imported({accepted = 0, classes = 0, duplicates = 0, rejected = 0, skipped = 0}) {
	const parts = [
		accepted ? `${count(accepted, "picture")} of ${count(classes, "class")}` : "nothing new",
		duplicates && `${duplicates} were there already`,
		rejected && `${rejected} could not be used`,
		skipped && `${count(skipped, "file")} passed over`
	]
	return `Imported ${parts.filter(Boolean).join(", ")}.`
}
