// Which model answers.
import {post, url} from "./api.js"
import {refresh} from "./known.js"
import {done} from "./messages.js"
import {tell} from "./news.js"

export async function activate(version, head = null) {
	await post(url`/v1/models/${version}/activate`, head ? {head} : {})
	done(`${version === "live" ? "The live model" : `Version ${version}`} answers now.`)
	await refresh()
	tell("trained")
}
