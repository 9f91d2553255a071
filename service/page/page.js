"use strict";
// The teaching page. No build step, nothing from elsewhere. All text from the daemon goes into the page as text.

const byId = (id) => document.getElementById(id);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const percent = (share) => `${Math.round(share * 100)} %`;
const THUMBNAILS = 8;
const SHOWN_CLASSES = 200;

let cameraOnline = false;
let pinnedUntil = 0; // while an uploaded picture's answer is shown, the live one waits

// ---- talking to the daemon

async function call(path, options = {}) {
  const response = await fetch(path, options); // the cookie of the session goes along by itself
  if (response.status === 401) throw askForToken();
  byId("sign-in").hidden = true;
  if (!response.ok) {
    const problem = await response.json().catch(() => ({ detail: `the daemon answered ${response.status}` }));
    throw new Error(problem.detail || problem.title);
  }
  return response;
}

// A daemon on the network wants a token; signing in is the way on, so nothing else is said.
function askForToken() {
  byId("sign-in").hidden = false;
  byId("sign-out").hidden = true;
  return Object.assign(new Error(""), { signIn: true });
}

// The token is sent once and kept nowhere; from then on a cookie that no script can read says who we are.
async function signIn() {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: byId("token").value.trim() }) };
  const response = await fetch("/v1/session", options);
  if (!response.ok) throw new Error((await response.json()).detail);
  byId("token").value = "";
  byId("sign-in").hidden = true;
  await Promise.all([showSession(), refresh()]);
}

async function signOut() {
  await call("/v1/session", { method: "DELETE" });
  location.reload();
}

async function showSession() {
  const session = await (await fetch("/v1/session")).json(); // answered signed in or not
  byId("sign-out").hidden = !session.needed || !session.scope;
}

const callJson = async (path, options) => (await call(path, options)).json();

function tell(text) {
  byId("message").textContent = text;
  byId("message").hidden = !text;
}

// Runs what a person asked for and shows what went wrong.
async function attempt(work) {
  try {
    tell("");
    await work();
  } catch (error) {
    if (!error.signIn) tell(said(error));
  }
}

const said = (error) => (error instanceof TypeError ? "The daemon can't be reached." : error.message);

// ---- what it sees

function showAnswer(answer) {
  byId("answer").textContent = answer.class === null ? "nothing I know" : answer.class;
  byId("scores").replaceChildren(...answer.predictions.map(scoreBar));
  byId("details").textContent = `${answer.timing_ms.total} ms on the ${answer.device}`;
}

function scoreBar(prediction) {
  const item = document.createElement("li");
  const name = document.createElement("span");
  const score = document.createElement("span");
  name.textContent = prediction.class;
  score.textContent = percent(prediction.score);
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  drawing.setAttribute("aria-hidden", "true");
  bar.setAttribute("width", `${prediction.score * 100}%`);
  bar.setAttribute("height", "100%");
  drawing.append(bar);
  item.append(drawing, name, score);
  return item;
}

let shown = null;

// What is taught is the picture that is shown, from the camera or chosen to be classified.
function remember(picture) {
  shown = picture;
  for (const button of document.querySelectorAll(".teach")) button.disabled = !shown;
}

function showPicture(blob) {
  remember(blob);
  const picture = byId("picture");
  const old = picture.src;
  picture.src = URL.createObjectURL(blob);
  picture.hidden = false;
  byId("no-picture").hidden = true;
  if (old) URL.revokeObjectURL(old);
}

async function keepPicture() {
  for (;;) {
    if (cameraOnline && Date.now() > pinnedUntil && !document.hidden) {
      const frame = await call("/v1/camera/snapshot.jpg").then((response) => response.blob()).catch(() => null);
      if (frame && Date.now() > pinnedUntil) showPicture(frame);
      if (!frame) await pause(2000);
    }
    await pause(150);
  }
}

function showCamera(camera) {
  cameraOnline = camera.state === "online";
  if (!cameraOnline) {
    byId("picture").hidden = true;
    remember(null);
    byId("no-picture").hidden = false;
    if (camera.state !== "none") byId("no-picture").textContent = `The camera is ${camera.state}: ${camera.reason}.`;
  }
}

const handlers = {
  classification: (data) => { if (Date.now() > pinnedUntil) showAnswer(data); },
  camera: showCamera,
  model: () => refresh(),
};

// Server-Sent Events by fetch, because EventSource can't tell a 401 from a lost connection.
async function watch() {
  for (;;) {
    try {
      const reader = (await call("/v1/stream")).body.pipeThrough(new TextDecoderStream()).getReader();
      byId("state").textContent = "connected";
      tell("");
      refresh();
      let text = "";
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        const blocks = (text + part.value).split("\n\n");
        text = blocks.pop();
        blocks.forEach(dispatch);
      }
    } catch (error) { /* said below, tried again */ }
    byId("state").textContent = "not connected, trying again…";
    await pause(1500);
  }
}

function dispatch(block) {
  const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
  if (fields.event in handlers) handlers[fields.event](JSON.parse(fields.data));
}

// ---- what it knows

let refreshing = false;
let again = false;

// One refresh at a time; what changed meanwhile is shown by one more.
async function refresh() {
  again = true;
  if (refreshing) return;
  refreshing = true;
  while (again) {
    again = false;
    await Promise.all([refreshClasses(), refreshModel()]).catch((error) => error.signIn || tell(said(error)));
  }
  refreshing = false;
}

async function refreshClasses() {
  const list = await callJson(`/v1/classes?size=${SHOWN_CLASSES}`);
  const taught = list.items.filter((item) => !item.pretrained);
  const pretrained = list.items.length - taught.length && list.total - taught.length;
  const more = pretrained ? `and ${pretrained} classes that it came with` : `and ${list.total - taught.length} more classes`;
  const cards = new Map([...byId("classes").children].map((card) => [card.dataset.name, card]));
  byId("classes").replaceChildren(...taught.map((item) => updateCard(cards.get(item.name) || makeCard(item.name), item)));
  byId("no-classes").hidden = taught.length > 0;
  byId("more-classes").textContent = list.total > taught.length ? more : "";
}

function makeCard(name) {
  const card = byId("class-card").content.cloneNode(true).querySelector("li");
  card.dataset.name = name;
  card.querySelector("h3").textContent = name;
  card.querySelector(".teach").setAttribute("aria-label", `Teach this picture as ${name}`);
  card.querySelector("input").setAttribute("aria-label", `Add pictures to ${name}`);
  card.querySelector(".delete").setAttribute("aria-label", `Delete ${name}`);
  card.querySelector(".teach").disabled = !shown;
  card.querySelector(".teach").onclick = () => attempt(() => teach(name, [shown]));
  card.querySelector("input").onchange = (event) => attempt(() => teach(name, [...event.target.files]));
  card.querySelector(".delete").onclick = () => attempt(() => deleteClass(name));
  card.ondragover = (event) => { event.preventDefault(); card.classList.add("drop"); };
  card.ondragleave = () => card.classList.remove("drop");
  card.ondrop = (event) => {
    event.preventDefault();
    card.classList.remove("drop");
    attempt(() => teach(name, [...event.dataTransfer.files]));
  };
  return card;
}

function updateCard(card, item) {
  card.querySelector(".count").textContent = count(item.examples, "picture");
  if (card.dataset.examples !== String(item.examples)) {
    card.dataset.examples = item.examples;
    showThumbnails(card, item).catch(() => { card.dataset.examples = ""; });
  }
  return card;
}

async function showThumbnails(card, item) {
  const last = Math.max(0, Math.ceil(item.examples / THUMBNAILS) - 1);
  const pages = last ? [last - 1, last] : [last];
  const lists = await Promise.all(pages.map((page) =>
    callJson(`/v1/examples?class=${encodeURIComponent(item.name)}&size=${THUMBNAILS}&page=${page}`)));
  const newest = lists.flatMap((list) => list.items).slice(-THUMBNAILS);
  const pictures = await Promise.all(newest.map(async (example) => {
    const picture = document.createElement("img");
    picture.alt = "";
    picture.src = URL.createObjectURL(await (await call(`/v1/examples/${example.id}/image`)).blob());
    picture.onload = picture.onerror = () => URL.revokeObjectURL(picture.src);
    return picture;
  }));
  card.querySelector(".thumbs").replaceChildren(...pictures);
}

// One picture a request: the raw body works on every Python, and one bad picture spoils nothing.
async function teach(name, files) {
  const refused = [];
  for (const file of files) {
    const options = { method: "POST", body: file, headers: { "Content-Type": file.type || "application/octet-stream" } };
    await call(`/v1/examples?class=${encodeURIComponent(name)}`, options).catch((error) => refused.push(`${file.name || "picture"}: ${error.message}`));
  }
  await refresh();
  if (refused.length) throw new Error(refused.join("; "));
}

async function deleteClass(name) {
  if (!window.confirm(`Delete the class “${name}” with all its pictures?`)) return;
  await call(`/v1/classes/${encodeURIComponent(name)}`, { method: "DELETE" });
  await refresh();
}

// ---- what it answers with

async function refreshModel() {
  const { model, counts } = await callJson("/v1/status");
  const live = model.version === "live";
  const unseen = model.unseen.examples ? `. It has not seen ${count(model.unseen.examples, "newer picture")}` +
    (model.unseen.classes.length ? `, nor anything of ${model.unseen.classes.join(", ")}` : "") +
    ": train again, or go back to the live model" : "";
  byId("model").textContent = live
    ? `the live model (${model.head}), which learns with every picture; ${counts.examples} so far`
    : `version ${model.version} (${model.head}), trained and fixed${unseen}`;
  byId("live").hidden = live;
}

const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

async function train() {
  const headers = { "Content-Type": "application/json" };
  let job = await callJson("/v1/train", { method: "POST", headers, body: JSON.stringify({ head: "softmax" }) });
  byId("progress").hidden = false;
  byId("train").disabled = true;
  try {
    while (job.state === "queued" || job.state === "running") {
      await pause(150);
      job = await callJson(`/v1/jobs/${job.id}`);
      byId("progress").value = job.progress;
      byId("job").textContent = typeof job.metrics.loss !== "number" ? job.state : `${job.state}, loss ${job.metrics.loss.toFixed(4)}`;
    }
  } finally {
    byId("progress").hidden = true;
    byId("train").disabled = false;
  }
  const made = job.model ? `version ${job.model.version}: ${job.model.reason}` : job.state;
  byId("job").textContent = job.error ? `${job.state}: ${job.error.detail}` : made;
  byId("use").hidden = !job.model || job.model.activated;
  byId("use").onclick = () => attempt(() => activate(job.model.version));
  await refresh();
}

async function activate(version) {
  const headers = { "Content-Type": "application/json" };
  await call(`/v1/models/${version}/activate`, { method: "POST", headers, body: "{}" });
  byId("job").textContent = "";
  byId("use").hidden = true;
  await refresh();
}

async function classifyFile(file) {
  const headers = { "Content-Type": file.type || "application/octet-stream" };
  const answer = await callJson("/v1/classify", { method: "POST", body: file, headers });
  pinnedUntil = Date.now() + 8000;
  showPicture(file);
  showAnswer(answer);
}

byId("add").onsubmit = (event) => {
  event.preventDefault();
  attempt(async () => {
    const body = JSON.stringify({ name: byId("name").value });
    await call("/v1/classes", { method: "POST", body, headers: { "Content-Type": "application/json" } });
    byId("name").value = "";
    await refresh();
  });
};
byId("sign-in").onsubmit = (event) => {
  event.preventDefault();
  byId("sign-in-state").textContent = "";
  signIn().catch((error) => { byId("sign-in-state").textContent = said(error); });
};
byId("sign-out").onclick = () => attempt(signOut);
byId("classify").onchange = (event) => {
  const file = event.target.files[0];
  event.target.value = "";
  if (file) attempt(() => classifyFile(file));
};
byId("train").onclick = () => attempt(train);
byId("live").onclick = () => attempt(() => activate("live"));

showSession().catch(() => { /* shown once signed in */ });
refresh();
watch();
keepPicture();
