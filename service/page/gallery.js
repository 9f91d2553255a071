// Many pictures in a dialog: all of a class, page by page, newest first.
import {getJson, url} from "./api.js"
import {openDialog} from "./dialog.js"
import {make, pager, quiet, replace} from "./dom.js"
import {thumbnail} from "./example.js"
import {attempt} from "./messages.js"
import {count} from "./words.js"

const SIZE = 24

export function openGallery(name) {
	const {body} = openDialog(name, {class: "wide column"})
	let page = 0
	const turn = by => {
		page += by
		return attempt(show)
	}
	const show = async () => {
		const total = (await getJson(url`/v1/classes/${name}`)).examples
		const pages = Math.max(1, Math.ceil(total / SIZE))
		page = Math.min(page, pages - 1)
		const items = await newest(name, total, page, SIZE)
		const labels = items.map((example, index) =>
			thumbnail(example, `Picture ${total - page * SIZE - index} of ${name}`, () => turn(0))
		)
		replace(body, quiet(count(total, "picture")), make("div.thumbs.large-thumbs", ...labels), pager(page, pages, turn))
	}
	attempt(show)
}

// The daemon lists the oldest first; these pages count from the other end.
export async function newest(name, total, page, size) {
	const end = total - page * size
	const start = Math.max(0, end - size)
	const pages = [...new Set([Math.floor(start / size), Math.floor((end - 1) / size)])].filter(one => one >= 0)
	const lists = await Promise.all(pages.map(one => getJson(url`/v1/examples?class=${name}&size=${size}&page=${one}`)))
	const offset = pages[0] * size
	return lists
		.flatMap(list => list.items)
		.slice(start - offset, end - offset)
		.reverse()
}
