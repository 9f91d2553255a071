// Loss and accuracy by epoch, as small drawings with their figures in words.
import {draw, make, quiet} from "./dom.js"
import {percent} from "./words.js"

const [WIDTH, HEIGHT, PAD] = [320, 120, 6]

// rows : [{epoch, epochs, loss, accuracy, held_out_loss, held_out_accuracy}]
export function curves(rows) {
	if (!rows.length) return make("div")
	const last = rows[rows.length - 1]
	const top = Math.max(...rows.flatMap(one => [one.loss, one.held_out_loss || 0])) || 1
	const loss = chart(
		rows,
		["loss", "held_out_loss"],
		top,
		`Loss, ${rows[0].loss.toFixed(2)} at the start, ${last.loss.toFixed(3)} at epoch ${last.epoch}`
	)
	const accuracy = chart(
		rows,
		["accuracy", "held_out_accuracy"],
		1,
		`Accuracy on the pictures it learns from, ${percent(last.accuracy)} at epoch ${last.epoch}`
	)
	return make(
		"div.curves",
		figure("Loss", `now ${last.loss.toFixed(3)}`, loss),
		figure("Accuracy", `now ${percent(last.accuracy)} on the pictures it learns from`, accuracy),
		quiet(
			make("span.key", "trained on"),
			typeof last.held_out_loss === "number" ? make("span.key.key-2", "held out (dashed)") : null
		)
	)
}

function figure(title, words, drawing) {
	return make("figure", make("figcaption", make("h4", title), make("span.quiet", words)), drawing)
}

function chart(rows, fields, top, label) {
	const epochs = Math.max(rows[rows.length - 1].epochs, 2)
	const x = row => PAD + ((row.epoch - 1) / (epochs - 1)) * (WIDTH - 2 * PAD)
	const y = value => HEIGHT - PAD - (Math.min(value, top) / top) * (HEIGHT - 2 * PAD)
	const at = (row, value) => `${x(row).toFixed(1)},${y(value).toFixed(1)}`
	const lines = fields.map((field, index) => {
		const points = rows.filter(row => typeof row[field] === "number").map(row => at(row, row[field]))
		return points.length ? draw("polyline", {points: points.join(" "), class: `line line-${index + 1}`}) : null
	})
	const grid = [0, 0.5, 1].map(share => draw("path.grid", {d: `M0 ${PAD + share * (HEIGHT - 2 * PAD)}H${WIDTH}`}))
	const looks = {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, class: "chart"}
	return draw("svg", looks, ...grid, ...lines)
}
