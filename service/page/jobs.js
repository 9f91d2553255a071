// Following a job to its end, by its events.
import {getJson, pause, readEvents, url, whileConnected} from "./api.js"

export const goesOn = job => job.state === "queued" || job.state === "running"

export async function follow(job, onnews) {
	let now = job
	onnews(now)
	while (goesOn(now)) {
		try {
			await readEvents(url`/v1/jobs/${job.id}/events`, (kind, data) => {
				now = data
				onnews(now)
			})
		} catch (error) {
			if (error.status === 404 || error.status === 401) throw error
			await pause(1000)
		}
		if (goesOn(now)) now = await getJson(url`/v1/jobs/${job.id}`, whileConnected()).catch(() => now)
	}
	onnews(now)
	return now
}

// The words for how a job ended without a result.
export function endWords(job) {
	if (job.error) return `It ${job.state === "interrupted" ? "was interrupted" : "failed"}: ${job.error.detail}`
	return (
		{
			cancelled: "Cancelled. Nothing was changed.",
			interrupted: "Interrupted when the daemon stopped. Start it again.",
			failed: "It failed."
		}[job.state] || ""
	)
}
