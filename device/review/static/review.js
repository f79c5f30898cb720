// The review page: one question at a time, the next one loaded already. A tap is put into the
// outbox, the next picture shows at once, and the reply to the delivery brings a further question.

import { keysOf } from "./keyboard.js";
import * as outbox from "./outbox.js";
import { listen, pictureChanged } from "./touch.js";

const shared = JSON.parse(document.body.dataset.shared);
const NAME = /^[\p{L}\p{N}_][\p{L}\p{N}_ .+-]{0,63}$/u;
const POLL_MS = { asking: 15000, empty: 2000, trouble: 1000 };
const NEWS_MS = 5000;
const TIMEOUT_MS = 5000;

const byId = (id) => document.getElementById(id);
const newId = () => [...crypto.getRandomValues(new Uint8Array(16))]
  .map((byte) => byte.toString(16).padStart(2, "0")).join("");

const { operator, texts } = shared;

// One for each operator: what one has answered is not another's to undo, nor counts as shown to him.
const HOLDER = `millsight.holder.${operator}`;
const holder = sessionStorage.getItem(HOLDER) ?? newId();
sessionStorage.setItem(HOLDER, holder);
const RENEWED = "millsight.renewed";

let screen = "review";      // review, names, write
let condition = "loading";  // ok, loading, gone, locked, full, damaged, login
let questions = [];         // the one on the screen, then those loaded ahead
let known = { waiting: 0, undoable: 0, names: {}, model: true, alerts: [], budget_left: null };
let page = 0;               // of answers, choices or keys
let heat = false;
const board = { text: "", page: 0 };  // the keyboard
let news = null;            // { text, until }
let dark = false;
let undoId = null;          // kept until a reply: a repeated undo takes back nothing more
let shown = null;           // what the picture shows now
const held = new Set();     // ids of taps whose operator must log in before they are stored
const answered = new Map(); // patch -> question, for taking back what was not sent yet

// --- words ---------------------------------------------------------------------------------

function text(key, values = {}) {
  return texts[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function className(name) {
  return texts[`class-${name}`] ?? name.replaceAll("_", " ");
}

// What the recipe of the present question is judged by: its classes, those that pass, its new names.
function kind() {
  const recipe = questions[0]?.recipe;
  const { classes, passing } = shared.recipes[recipe] ?? { classes: [], passing: [] };
  return { classes, passing, names: known.names[recipe] ?? [] };
}

function tell(key, values) {
  news = { text: text(key, values), until: performance.now() + NEWS_MS };
  setTimeout(render, NEWS_MS + 50);
}

// --- talking to the server -----------------------------------------------------------------

let turn = Promise.resolve();
function inTurn(task) {
  turn = turn.then(task, task);
  return turn;
}

function have(except) {
  const patches = questions.map((question) => question.patch);
  for (const tap of outbox.all()) if (tap.holder === holder) patches.push(tap.patch);
  return [...new Set(patches)].filter((patch) => patch !== except).slice(0, 32);
}

// The reply, or null: the server is not there or cannot serve, and `condition` says why.
async function post(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": shared.token },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (response.status === 503 || response.status === 401) {
      condition = (await response.json()).state;
      return null;
    }
    if (response.ok || response.status === 409) {
      const reply = await response.json();
      condition = "ok";
      return reply;
    }
  } catch {
    condition = "gone";
    return null;
  }
  if (response.status === 403) reloadOnce();
  // 404: its picture went, for good; it must not hold up the taps behind it.
  if ([404, 422].includes(response.status)) return { refused: true };
  condition = "gone";
  return null;
}

function reloadOnce() {  // the session was renewed elsewhere: the page needs its token
  const last = Number(sessionStorage.getItem("millsight.reloaded") ?? 0);
  if (Date.now() - last < 10000) return;
  sessionStorage.setItem("millsight.reloaded", Date.now());
  location.reload();
}

// The server was restarted with other settings, or another edition of this page. What is being
// written, and taps that are on their way, come first.
function renew() {
  const stale = known.edition !== undefined && known.edition !== document.body.dataset.edition;
  if (!stale || screen !== "review" || pending().length) return;
  sessionStorage.setItem(RENEWED, "yes");
  reloadOnce();
}

function take(reply) {
  const mine = new Set(have());
  for (const question of reply.questions) {
    if (!mine.has(question.patch)) questions.push(load(question));
  }
  known = reply;
  // Last night's model has other classes, or a recipe came: the page is laid out for them anew.
  const same = JSON.stringify(reply.recipes) === JSON.stringify(shared.recipes);
  if (!same && !pending().length) reloadOnce();
}

// Taps that can be stored while this operator is logged in.
const pending = () => outbox.all().filter((tap) => !held.has(tap.id));

function logIn() {
  location.assign("/people");  // what is in the outbox is counted there
}

const waited = new Set();  // taps that could not be delivered at once

function deliver() {
  return inTurn(async () => {
    let kept = false;
    for (const tap of pending()) {
      const { key, ...body } = tap;
      if (!["ok", "loading"].includes(condition)) waited.add(tap.id);
      kept ||= waited.has(tap.id);
      outbox.markSent(tap);
      const reply = await post("/answers", { ...body, have: have(tap.patch) });
      if (reply === null && condition === "login" && tap.operator !== operator) {
        held.add(tap.id);
        condition = "ok";
        continue;
      }
      if (reply === null) {
        waited.add(tap.id);
        break;
      }
      outbox.remove(tap);
      waited.delete(tap.id);
      answered.delete(tap.patch);
      if (reply.refused) {
        tell("news-refused");
        continue;
      }
      if (reply.outcome === "late") tell("news-late");
      else if (kept && pending().length === 0) tell("news-delivered");
      take(reply);
    }
    render();
    plan();
  });
}

function poll() {
  return inTurn(async () => {
    const before = questions[0]?.patch;
    const away = condition === "gone";
    const reply = await post("/questions", { holder, have: have() });
    if (reply && !reply.refused) {
      if (away) tell("news-back");
      if (reply.operator !== operator) location.reload();  // another one has logged in
      const kept = new Set(reply.kept);
      questions = questions.filter((question) => kept.has(question.patch));
      if (before && questions[0]?.patch !== before && !dark) tell("news-moved");
      take(reply);
    }
    for (const question of questions) if (!isLoaded(question)) load(question);
    render();
    plan();
  });
}

let timer;
function plan() {
  clearTimeout(timer);
  if (condition === "login") {
    logIn();
    return;
  }
  renew();
  if (dark) return;  // nobody is here: the leases run out
  const wait = condition !== "ok" ? "trouble" : questions.length ? "asking" : "empty";
  timer = setTimeout(() => (pending().length ? deliver().then(poll) : poll()), POLL_MS[wait]);
}

// --- pictures ------------------------------------------------------------------------------

function load(question) {
  question.images = {};
  for (const kind of ["picture", "heat", "frame"]) {
    if (!question[kind]) continue;
    const image = new Image();
    image.onload = () => { if (question === questions[0]) render(); };
    image.src = question[kind];
    question.images[kind] = image;
  }
  return question;
}

const isLoaded = (question) => question.images.picture.naturalWidth > 0;

// --- what operators do ---------------------------------------------------------------------

function give(answer, name, patch) {
  const question = questions[0];
  if (!question || question.patch !== patch || !isLoaded(question)) return;
  questions.shift();
  outbox.add({ id: newId(), holder, patch, answer, name, operator });
  answered.set(patch, question);
  if (answer !== "skip") {
    known.waiting -= 1;
    known.undoable = Math.min(10, known.undoable + 1);
  }
  screen = "review";
  page = 0;
  render();
  deliver();
}

function takeBack() {
  const unsent = outbox.lastUnsent(holder);
  if (unsent && answered.has(unsent.patch)) {
    outbox.remove(unsent);
    questions.unshift(answered.get(unsent.patch));
    if (unsent.answer !== "skip") {
      known.waiting += 1;
      known.undoable -= 1;
    }
    render();
    return;
  }
  undoId ??= newId();
  inTurn(async () => {
    if (pending().some((tap) => tap.holder === holder)) {
      tell("news-undo-later");
      return;
    }
    const reply = await post("/undo", { id: undoId, holder, operator, have: have() });
    if (reply === null) tell("news-undo-later");
    else {
      undoId = null;
      if (reply.question) {
        questions = questions.filter((other) => other.patch !== reply.question.patch);
        questions.unshift(load(reply.question));
      } else if (!reply.refused) tell("news-no-undo");
      if (!reply.refused) take(reply);
    }
    page = 0;
    render();
    plan();
  });
}

function save(patch) {
  const name = board.text.trim();
  if (!NAME.test(name)) return;
  const same = kind().classes.find((other) => className(other) === className(name));
  if (same) give("class", same, patch);
  else give("something new", name, patch);
}

const actions = {
  "heat": () => { if (questions[0]?.images.heat) heat = !heat; },
  "answer": (button, patch) => {
    const name = cells()[button.dataset.cell];
    if (name) give("class", name, patch);
  },
  "cant-tell": (_, patch) => give("can't tell", null, patch),
  "skip": (_, patch) => give("skip", null, patch),
  "undo": takeBack,
  "more": () => { page += 1; },
  "menu": logIn,
  "something-new": () => { if (asking()) go(kind().names.length ? "names" : "write"); },
  "choice": (button, patch) => choices()[button.dataset.cell]?.act(patch),
  "leave": () => go("review"),
  "key": (button) => keys()[button.dataset.cell]?.act(),
  "save": (_, patch) => save(patch),
};

function go(where) {
  screen = where;
  page = 0;
  Object.assign(board, { text: "", page: 0 });
  pictureChanged();  // what lies under the finger is another button now
}

// --- what the screens hold -----------------------------------------------------------------

const asking = () => questions.length > 0 && isLoaded(questions[0]);

// Classes of the recipe with most: the panel has room for them.
const MOST = Math.max(...Object.values(shared.recipes).map(({ classes }) => classes.length));

// The answers of the present page by cell: guesses first, `No defect` always in the last cell, which
// is the same for every recipe.
function cells() {
  if (!asking() || !kind().classes.length) return [];
  const { classes, passing } = kind();
  const fixed = passing.length === 1 ? passing[0] : null;
  const guesses = questions[0].guesses;
  const others = classes.filter((name) => !guesses.includes(name));
  const ranked = [...guesses, ...others].filter((name) => name !== fixed);
  const room = Math.min(MOST, shared.room.answers) - (fixed === null ? 0 : 1);
  const pages = Math.ceil(ranked.length / room);
  page %= pages;
  const here = ranked.slice(page * room, (page + 1) * room);
  while (here.length < room) here.push(null);
  return fixed === null ? here : [...here, fixed];
}

function paged(items, room) {
  const pages = Math.ceil(items.length / room);
  page %= pages;
  const here = items.slice(page * room, (page + 1) * room);
  while (here.length < room) here.push(null);
  return here;
}

function choices() {
  const room = shared.room.choices;
  const back = { label: text("back"), act: () => go("review") };
  const items = [{ label: text("write-name"), act: () => go("write") }];
  for (const name of kind().names) {
    items.push({ label: className(name), act: (patch) => { board.text = name; save(patch); } });
  }
  if (1 + items.length <= room) return [back, ...items];
  const more = { label: text("next-page"), act: () => { page += 1; } };
  return [back, ...paged(items, room - 2), more];
}

function keys() {
  const words = { blank: text("blank"), erase: text("erase"), "next-page": text("next-page") };
  return keysOf(board, shared.room.keys, words);
}

// --- drawing -------------------------------------------------------------------------------

function label(button, words, small = "") {
  const shownLabel = button.querySelector(".label");
  if (shownLabel.textContent !== words) shownLabel.textContent = words;
  shownLabel.classList.toggle("long", words.length > (button.matches(".primary") ? 18 : 1));
  const note = button.querySelector(".small");
  if (note && note.textContent !== small) note.textContent = small;
}

function drawHeader() {
  const question = questions[0];
  const kept = pending().length;
  let words = "";
  let notice = false;
  const alert = known.alerts.find((name) => name !== "loop");
  if (news && performance.now() < news.until) [words, notice] = [news.text, true];
  else if (condition !== "ok" && condition !== "loading") {
    notice = true;
    words = text(`${condition}-title`);
    if (kept) words += `. ${text(kept === 1 ? "news-kept-one" : "news-kept", { count: kept })}`;
  } else if (asking()) {
    const guess = question.predicted ? className(question.predicted) : "";
    const good = question.reason === "uncertain" && kind().passing.includes(question.predicted);
    words = text(good ? "why-uncertain-good" : `why-${question.reason}`, { guess });
    if (Object.keys(shared.recipes).length > 1) words = `${question.recipe} · ${words}`;
  }
  byId("why").textContent = words;
  const counts = known.waiting > 0 && known.budget_left !== 0 && !notice;
  let count = counts ? text("waiting", { count: known.waiting }) : "";
  if (alert && !notice) count = `⚠ ${text(`alert-${alert}`)}`;
  byId("count").textContent = count;
  byId("count").classList.toggle("notice", Boolean(alert) && !notice);
  byId("header").classList.toggle("notice", notice);
}

function drawPicture() {
  const question = asking() ? questions[0] : null;
  byId("picture").hidden = question === null;
  byId("frame").hidden = true;
  if (question === null) {
    shown = null;
    return;
  }
  if (shown !== question.patch) {
    heat = false;
    shown = question.patch;
    if (screen === "review") pictureChanged();
  }
  const hot = heat && question.images.heat?.naturalWidth > 0;
  const image = hot ? question.images.heat : question.images.picture;
  image.alt = text(hot ? "heat-alt" : "picture-alt");
  const present = byId("picture").querySelector("img");
  if (present !== image) present.replaceWith(image);
  const hint = question.images.heat?.naturalWidth > 0 ? text(hot ? "hide-heat" : "show-heat") : "";
  byId("hint").textContent = hint;
  byId("alike").textContent = question.alike
    ? text(question.alike === 1 ? "alike-one" : "alike", { count: question.alike })
    : "";
  byId("picture").setAttribute("aria-pressed", String(hot));
  const whole = question.images.frame;
  if (whole && (shared.room.frame || hot)) {
    whole.alt = text("frame-alt");
    byId("frame").hidden = false;
    byId("frame").classList.toggle("inset", !shared.room.frame);
    byId("frame").replaceChildren(whole);
  }
}

function drawMessage() {
  byId("message").hidden = asking();
  if (asking()) return;
  let state = condition;
  if (condition === "ok") {
    if (questions.length) state = "loading";
    else if (known.budget_left === 0) state = "budget";
    else if (!known.model && known.waiting <= 0) state = "cold";
    else if (known.waiting > 0) state = "elsewhere";
    else state = known.alerts.find((name) => name !== "disk") ?? "empty";
  }
  const calm = ["empty", "elsewhere", "cold", "loading", "budget"].includes(state);
  byId("message").classList.toggle("trouble", !calm);
  byId("message-mark").textContent = calm ? { empty: "✓", budget: "✓", cold: "1", loading: "…" }[state] ?? "→" : "!";
  byId("message-title").textContent = text(`${state}-title`);
  byId("message-text").textContent = text(`${state}-text`);
}

function drawAnswers() {
  const here = cells();
  const { passing } = kind();
  for (const button of document.querySelectorAll("[data-tap=answer]")) {
    const name = here[button.dataset.cell];
    button.hidden = !name;
    if (!name) continue;
    const rank = questions[0].guesses.indexOf(name);
    const good = passing.includes(name);
    let words = className(name);
    if (good) words = text("no-defect") + (passing.length > 1 ? ` · ${words}` : "");
    label(button, words, rank < 0 ? "" : text(`guess-${rank + 1}`));
  }
  for (const name of ["undo", "skip", "cant-tell", "something-new", "more", "menu"]) {
    const button = byId(`tool-${name}`);
    if (!button) continue;
    if (name === "menu") label(button, operator, text("answering"));
    else label(button, text(name));
    let idle = !asking();
    if (name === "undo") idle = known.undoable === 0;
    else if (name === "more") idle ||= kind().classes.length <= shared.room.answers;
    else if (name === "menu") idle = condition === "gone";  // no page to go to
    button.setAttribute("aria-disabled", String(idle));
  }
}

function drawChoices() {
  const found = choices();
  byId("choose-title").textContent = text("new-which");
  for (const button of document.querySelectorAll("[data-tap=choice]")) {
    const cell = found[button.dataset.cell];
    button.hidden = !cell;
    if (cell) label(button, cell.label);
  }
}

function drawKeys() {
  const here = keys();
  for (const button of document.querySelectorAll("[data-tap=key]")) {
    const cell = here[button.dataset.cell];
    button.hidden = !cell;
    if (cell) label(button, cell.label);
  }
  byId("write-back").textContent = text("back");
  byId("entry").textContent = board.text;
  byId("entry").setAttribute("aria-label", text("name-entry"));
  label(byId("save"), text("save"));
  byId("save").setAttribute("aria-disabled", String(!NAME.test(board.text.trim())));
}

function render() {
  if (!asking() && (screen === "names" || screen === "write")) go("review");
  byId("review").hidden = screen !== "review";
  byId("choose").hidden = screen !== "names";
  byId("write").hidden = screen !== "write";
  byId("dim").hidden = !dark;
  drawPicture();
  if (screen === "review") {
    drawHeader();
    drawMessage();
    drawAnswers();
  } else if (screen === "write") drawKeys();
  else drawChoices();
}

// --- begin ---------------------------------------------------------------------------------

listen({
  dimAfter: shared.dim_after_s,
  patch: () => questions[0]?.patch,
  tap: (button, patch) => {
    if (button.getAttribute("aria-disabled") === "true") return;
    actions[button.dataset.tap](button, patch);
    render();
  },
  key: (name) => {
    if (screen !== "review") return;
    const patch = questions[0]?.patch;
    if (/^[1-9]$/.test(name)) {
      const answer = cells()[Number(name) - 1];
      if (answer) give("class", answer, patch);
    } else if (name === "u") give("can't tell", null, patch);
    else if (name === "z") takeBack();
    else if (name === "h") actions.heat();
    render();
  },
  dimmed: (yes) => {
    dark = yes;
    render();
    if (dark) clearTimeout(timer);
    else poll();
  },
});
if (sessionStorage.getItem(RENEWED)) tell("news-renewed");
sessionStorage.removeItem(RENEWED);
render();
deliver().then(poll);
