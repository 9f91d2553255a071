// The card of one class.
import {patch, remove, url} from "./api.js"
import {confirm, working} from "./dialog.js"
import {button, fileButton, make, quiet, replace} from "./dom.js"
import {dropped, takesDrops} from "./drops.js"
import {thumbnail} from "./example.js"
import {newest, openGallery} from "./gallery.js"
import {hue, refresh} from "./known.js"
import {attempt, done} from "./messages.js"
import {forgetNote, recordButton, showReadiness} from "./record.js"
import {teachPictures} from "./uploads.js"
import {count} from "./words.js"

const THUMBNAILS = 8
const TYPES = "image/jpeg,image/png,image/webp,image/bmp"

export function makeCard(name) {
	const state = make("div.card-state", {role: "status"})
	// at : the count of pictures, or "camera", that it is true of
	const tell = (text, at) => {
		replace(state, quiet(text))
		state.dataset.at = at
	}
	const card = make(
		"li.card.class",
		{"data-name": name},
		make("div.card-head", make("h3.title"), make("span.count")),
		recordButton(name, tell),
		make("div.thumbs"),
		state,
		footer(name, state)
	)
	showTitle(card, name)
	card.onkeydown = event => {
		if (event.key === "F2") {
			event.preventDefault()
			rename(card, name)
		}
	}
	takesDrops(card, async transfer =>
		teachPictures(
			name,
			(await dropped(transfer)).map(one => one.file),
			state
		)
	)
	return card
}

function footer(name, state) {
	const files = fileButton("Add files…", chosen => attempt(() => teachPictures(name, chosen, state)), {
		multiple: true,
		accept: TYPES,
		"aria-label": `Add pictures to ${name}`
	})
	const every = button("See all", () => openGallery(name), "small all", {"aria-label": `See all pictures of ${name}`})
	const drop = working("Delete", () => deleteClass(name), "small danger delete", {
		"aria-label": `Delete ${name}`
	})
	const enabled = make("input", {type: "checkbox", class: "enabled", "aria-label": `Use ${name}`})
	enabled.onchange = () => attempt(() => enable(name, enabled.checked))
	return make("div.row.card-foot", files, every, make("label.switch", {hidden: true}, enabled, "Use"), drop)
}

export function updateCard(card, item) {
	const {examples} = card.dataset
	card.dataset.examples = item.examples
	if (examples !== card.dataset.examples) forgetNote(card, examples)
	card.className = `card class ${hue(item.name)}${item.enabled === false ? " off" : ""}`
	card.querySelector(".count").textContent = count(item.examples, "picture")
	card.querySelector(".switch").hidden = item.enabled === undefined
	card.querySelector(".enabled").checked = item.enabled !== false
	card.querySelector(".all").hidden = !item.examples
	showReadiness(card.querySelector(".record"), item.name)
	return card
}

// The newest ones; asked for when the card comes into view or changes.
export async function showThumbnails(card, item) {
	const examples = await newest(item.name, item.examples, 0, THUMBNAILS)
	const here = new Map([...card.querySelectorAll(".thumb")].map(one => [one.dataset.id, one]))
	replace(
		card.querySelector(".thumbs"),
		examples.map((example, index) => {
			const one = here.get(example.id) || thumbnail(example, "", refresh)
			one.dataset.id = example.id
			one.title = `Picture ${item.examples - index} of ${item.name}`
			one.setAttribute("aria-label", one.title)
			return one
		})
	)
}

// ---- the name

function showTitle(card, name) {
	const title = button(name, () => rename(card, name), "name", {title: "Rename (F2)", "aria-label": `${name}, rename`})
	replace(card.querySelector(".title"), title)
}

function rename(card, name) {
	const input = make("input", {value: name, maxlength: 100, autocapitalize: "off", "aria-label": `New name of ${name}`, class: "rename"})
	let over = false
	const end = focus => {
		over = true
		showTitle(card, name)
		if (focus) card.querySelector(".name").focus()
	}
	const commit = async focus => {
		const wanted = input.value.trim()
		end(focus)
		if (wanted && wanted !== name) await attempt(() => renameClass(name, wanted, focus))
	}
	input.onkeydown = event => {
		event.stopPropagation()
		if (event.key === "Enter" && !event.isComposing) {
			event.preventDefault() // it would press the title, which has the focus then
			commit(true)
		}
		if (event.key === "Escape") end(true)
	}
	input.onblur = () => {
		if (!over) commit(false)
	}
	replace(card.querySelector(".title"), input)
	input.select()
}

// focus : whether it goes to the title afterwards
async function renameClass(name, wanted, focus) {
	let called = wanted
	const path = url`/v1/classes/${name}`
	try {
		done(`Renamed ${name} to ${wanted}.`, (await patch(path, {name: wanted})).step)
	} catch (error) {
		if (error.code !== "class_exists") throw error
		const text = `There is a class ${wanted} already. It would get all pictures of ${name}, and ${name} would be gone.`
		if (!(await confirm("Merge the two?", text, "Merge"))) called = name
		else done(`Merged ${name} into ${wanted}.`, (await patch(`${path}?merge=true`, {name: wanted})).step)
	}
	await refresh()
	const card = [...document.querySelectorAll("#classes > li")].find(one => one.dataset.name === called)
	if (focus && card) card.querySelector(".name").focus()
}

// ---- the whole class

async function enable(name, enabled) {
	const changed = await patch(url`/v1/classes/${name}`, {enabled}).finally(refresh)
	done(enabled ? `${name} is in use again.` : `${name} keeps its pictures, but is not answered.`, changed.step)
}

async function deleteClass(name) {
	const deleted = await remove(url`/v1/classes/${name}`)
	done(`Deleted ${name} with ${count(deleted.examples, "picture")}.`, deleted.step)
	await refresh()
	document.getElementById("name").focus()
}
