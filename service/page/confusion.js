// The confusion matrix; each cell opens the pictures behind it.
import { call, getJson, sendPicture, url } from "./api.js";
import { openDialog } from "./dialog.js";
import { button, make, quiet, replace } from "./dom.js";
import { hue } from "./known.js";
import { attempt } from "./messages.js";
import { thumbnail } from "./thumbs.js";
import { count } from "./words.js";

const MOST_ASKED = 60;

export function confusion(report, version) {
  const { classes, answers, confusion: rows } = report.figures;
  const named = (answer) => (answer === null ? "nothing" : answer);
  const head = make("tr", {}, make("td", {}), ...answers.map((answer) => make("th", { scope: "col" }, make("span", {}, named(answer)))));
  const lines = rows.map((row, index) => {
    const sum = row.reduce((all, one) => all + one, 0);
    const cells = row.map((number, column) => make("td", {}, cell(report, version, classes[index], answers[column], number, number / sum)));
    return make("tr", {}, make("th", { scope: "row", class: hue(classes[index]) }, classes[index]), ...cells);
  });
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Confusion matrix" },
    make("table", { class: "confusion" }, make("thead", {}, head), make("tbody", {}, ...lines)));
}

function cell(report, version, own, answer, number, share) {
  if (!number) return make("span", { class: "cell none", "aria-label": "0" }, "·");
  const label = `${count(number, "picture")} of ${own} answered as ${answer === null ? "nothing" : answer}`;
  const element = button(String(number), () => attempt(() => open(report, version, own, answer, number)),
    { class: `cell ${own === answer ? "right" : "wrong"}`, "aria-label": label, title: label });
  element.style.setProperty("--share", `${Math.round(20 + 80 * share)}%`);
  return element;
}

async function open(report, version, own, answer, number) {
  const title = own === answer ? `${own}, answered right` : `${own}, answered as ${answer === null ? "nothing" : answer}`;
  const { body, closed } = openDialog(title, { class: "wide column", id: "cell" });
  const stop = new AbortController();
  closed.then(() => stop.abort());
  const ids = behind(report, own, answer);
  if (ids) return replace(body, quiet(count(number, "picture")), pictures(ids, own));
  await guess(body, own, answer, stop.signal);
}

// The examples behind a cell, where the report tells: [{example, class, answer}].
function behind(report, own, answer) {
  const told = report.figures.pictures;
  return told ? told.filter((one) => one.class === own && one.answer === answer).map((one) => ({ id: one.example })) : null;
}

const pictures = (examples, own) => make("div", { class: "thumbs large-thumbs" }, ...examples.map((one) => thumbnail(one, `a picture of ${own}`)));

// A report that has counts only: the pictures of the class, those first that are most like what was answered.
async function guess(body, own, answer, signal) {
  const list = await getJson(url`/v1/examples?class=${own}&size=${MOST_ASKED}`, { signal });
  if (own === answer || answer === null) return replace(body, quiet(`The report has the number only. These are the pictures of ${own}.`), pictures(list.items, own));
  const progress = make("progress", { max: list.items.length, value: 0, "aria-label": "pictures compared" });
  replace(body, quiet(`Looking for the pictures of ${own} that are most like ${answer}…`), progress);
  const ranked = [];
  for (const example of list.items) {
    ranked.push({ example, likeness: await likeness(example, answer, signal) });
    progress.value += 1;
  }
  ranked.sort((one, other) => other.likeness - one.likeness);
  replace(body, quiet(`The report has the number only. Pictures of ${own}, most like ${answer} first:`), pictures(ranked.map((one) => one.example), own));
}

async function likeness(example, answer, signal) {
  const picture = await (await call(url`/v1/examples/${example.id}/image`, { signal })).blob();
  const found = await sendPicture("/v1/classify?explain=true&top_k=20", picture, signal);
  const others = (found.nearest || []).filter((one) => one.example !== example.id);
  const like = others.find((one) => one.class === answer);
  const score = found.predictions.find((one) => one.class === answer);
  return (like ? like.similarity : 0) + (score ? score.score : 0);
}
