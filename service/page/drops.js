// Files and folders that are dropped or chosen, and the class each belongs to.
import {byId} from "./dom.js"
import {attempt} from "./messages.js"
import {classifyPicture} from "./live.js"
import {isPicture, teachAll} from "./uploads.js"

// What was dropped, as [{file, folder}]; folder : the one a picture lies in, null outside of any.
export async function dropped(transfer) {
	const entries = [...transfer.items]
		.filter(item => item.kind === "file")
		.map(item => ({entry: item.webkitGetAsEntry && item.webkitGetAsEntry(), file: item.getAsFile()}))
	const found = []
	for (const {entry, file} of entries) {
		if (entry && entry.isDirectory) await walk(entry, found)
		else if (file) found.push({file, folder: null})
	}
	return found
}

async function walk(folder, found) {
	const reader = folder.createReader()
	for (let some = await list(reader); some.length; some = await list(reader)) {
		for (const entry of some) {
			if (entry.isDirectory) await walk(entry, found)
			else if (isPicture(entry)) found.push({file: await fileOf(entry), folder: folder.name})
		}
	}
}

const list = reader => new Promise((resolve, reject) => reader.readEntries(resolve, reject))
const fileOf = entry => new Promise((resolve, reject) => entry.file(resolve, reject))

function folderOf(file) {
	const parts = file.webkitRelativePath.split("/")
	return parts[parts.length - 2] || null
}

async function teachFolders(found) {
	const work = found.filter(one => one.folder && isPicture(one.file)).map(one => ({name: one.folder, file: one.file}))
	if (!work.length)
		throw new Error(
			"There are no pictures in folders here. A folder's name becomes a class; JPEG, PNG, WebP and BMP are pictures."
		)
	await teachAll(work, byId("folder-state"))
}

async function droppedOnPage(transfer) {
	const found = await dropped(transfer)
	if (found.some(one => one.folder)) return teachFolders(found)
	if (found.length === 1) return classifyPicture(found[0].file)
	throw new Error("Drop pictures on the class they belong to, or a folder that holds one folder for each class.")
}

const hasFiles = event => [...event.dataTransfer.types].includes("Files")

// Lets an element take files; marked while they hang over it.
export function takesDrops(element, ondrop) {
	element.addEventListener("dragover", event => {
		if (!hasFiles(event)) return
		event.preventDefault()
		event.stopPropagation()
		element.classList.add("drop")
	})
	element.addEventListener("dragleave", event => {
		if (!element.contains(event.relatedTarget)) element.classList.remove("drop")
	})
	element.addEventListener("drop", event => {
		event.preventDefault()
		event.stopPropagation()
		element.classList.remove("drop")
		attempt(() => ondrop(event.dataTransfer))
	})
}

export function startDrops() {
	takesDrops(document.body, droppedOnPage)
	takesDrops(byId("live"), droppedOnPage)
	byId("folders").onchange = event => {
		const found = [...event.target.files].map(file => ({file, folder: folderOf(file)}))
		event.target.value = ""
		if (found.length) attempt(() => teachFolders(found))
	}
}
