// What to do next: pictures worth a look, one after the other. One key per class labels the one in view.

import { attempt, isReadOnly, move, moveToChosen, remove, say } from "./actions.js";
import { $, button, counted, el, isTyping, named, shown } from "./dom.js";
import { picture, post } from "./server.js";
import { store } from "./store.js";

const KEYS = "123456789abcdefghijklopqrstuvwxyz"; // without m and n, which have meanings
const KINDS = { suspect: "Labels that may be wrong", copies: "Copies in several sets", unlabelled: "Without a label" };
const pane = $("next");

let queue = [];
let at = 0; // place of the one in view
let skipped = new Set(); // keys of what somebody skipped in this page, which come last
let done = 0;

const keyOf = (item) => `${item.kind} ${item.ids.join(" ")}`;

/** What is in the queue now: what was relabelled, removed or confirmed has left it, and undoing brings it back. */
function currentQueue() {
  const found = [];
  for (const item of store.figures?.queue ?? []) {
    const ids = item.ids.filter((id) => store.pictures.has(id) && !store.pending.has(id) && !store.passed.has(id));
    const isStill = item.kind === "copies" ? ids.length > 1 : ids.length === 1 && store.pictures.get(ids[0]).group === item.group;
    if (isStill) found.push({ ...item, ids });
  }
  for (const { id, why, answer } of unlabelled()) found.push({ kind: "unlabelled", ids: [id], why, suggested: answer, group: null });
  return [...found.filter((item) => !skipped.has(keyOf(item))), ...found.filter((item) => skipped.has(keyOf(item)))];
}

/** Pictures without a label: first those whose labels help most, and why; then the others, by name. */
function unlabelled() {
  const isThere = (id) => store.pictures.get(id)?.group === null && !store.pending.has(id) && !store.passed.has(id);
  const first = (store.figures?.unlabelled ?? []).map(([id, why, answer]) => ({ id, why, answer }));
  const known = new Set(first.map(({ id }) => id));
  const others = (store.groups.get(null) ?? []).filter((id) => !known.has(id)).map((id) => ({ id, why: "it has no label yet", answer: null }));
  return [...first, ...others].filter(({ id }) => isThere(id));
}

export function showQueue() {
  const before = queue[at] && keyOf(queue[at]);
  queue = currentQueue();
  const same = queue.findIndex((item) => keyOf(item) === before);
  if (same >= 0 && !skipped.has(before)) at = same;
  at = Math.max(0, Math.min(at, queue.length - 1));
  const count = $("waiting");
  count.hidden = !queue.length;
  count.textContent = queue.length.toLocaleString("en");
  if (document.body.dataset.tab === "next") show(before);
}

/** Shows the item in view; its element stays if it is the same as before, so that nothing flickers. */
function show(before) {
  const item = queue[at];
  if (!item) {
    const isReady = store.figures?.looked || store.figures?.problem;
    const text = !isReady ? "The pictures are being looked at ..." : done ? `All done: you have looked at ${counted(done)}.` : "Nothing needs a look.";
    pane.replaceChildren(el("h2", { text: "What to do next" }), el("p", { text }));
    return;
  }
  const hadFocus = pane.contains(document.activeElement);
  pane.replaceChildren(
    el("h2", { text: "What to do next" }),
    el("p", { class: "note" }, `${(at + 1).toLocaleString("en")} of ${queue.length.toLocaleString("en")} · ${KINDS[item.kind]}`),
    el("div", { class: item.kind === "copies" ? "looked-at several" : "looked-at" }, ...item.ids.map(look)),
    el("p", { class: "why", id: "why", "aria-live": "polite", text: `${shown(item.why)[0].toUpperCase()}${shown(item.why).slice(1)}.` }),
    isReadOnly ? null : answers(item),
    el(
      "p",
      { class: "buttons" },
      button("Before", () => go(-1), { keys: "←", disabled: at === 0 }),
      button("Skip", skip, { keys: "→" }),
      isReadOnly || item.kind === "unlabelled" ? null : button(item.kind === "copies" ? "Keep all" : "It is right", confirm, { keys: "Enter" }),
      isReadOnly ? null : button("Remove", removeCurrent, { keys: "Del" }),
    ),
  );
  if (hadFocus || before !== keyOf(item)) preload();
  if (hadFocus) pane.focus({ preventScroll: true });
}

function look(id) {
  const one = store.pictures.get(id);
  const said = store.said.get(id);
  const facts = [one.group === null ? "no label" : shown(one.group), said?.set].filter(Boolean).join(", ");
  const image = el("img", { src: picture("preview", one), alt: shown(one.name) });
  const isOne = queue[at].ids.length === 1;
  return el("figure", {}, image, el("figcaption", {}, named(one.name), el("span", { class: "note", text: ` ${facts}` }), isOne || isReadOnly ? null : button("Remove this one", () => act(() => remove([id])))));
}

/** A button and a key for each class; of very many, for the likeliest. */
function answers(item) {
  const groups = choices(item);
  return el(
    "div",
    { class: "answers-of", role: "group", "aria-label": "Label it" },
    ...groups.map((group, place) => {
      const isOwn = item.group === group;
      const isSuggested = item.suggested === store.label(group);
      return button(named(group), () => label(group), { keys: KEYS[place], class: `button small answer-of${isSuggested ? " suggested" : ""}`, "aria-pressed": isOwn ? "true" : null, "data-class": group });
    }),
    button("Another class ...", () => act(() => moveToChosen(queue[at].ids)), { keys: "M" }),
  );
}

function choices(item) {
  if (store.classes.length <= KEYS.length) return store.classes;
  const suggested = [...store.labels.values()].find((one) => one.label === item.suggested)?.folder;
  return [...new Set([suggested, item.group].filter((name) => name && store.classes.includes(name)))];
}

function preload() {
  for (const item of queue.slice(at + 1, at + 3)) for (const id of item.ids.slice(0, 2)) new Image().src = picture("preview", store.pictures.get(id));
}

// Acting on the item in view

/** Does something that takes the item out of the queue. */
async function act(work) {
  if (await work()) {
    done += 1;
    showQueue();
  }
}

function label(group) {
  const item = queue[at];
  const others = item.ids.filter((id) => store.pictures.get(id).group !== group);
  if (others.length) act(() => move(others, group));
  else confirm();
}

function confirm() {
  const item = queue[at];
  if (item.kind !== "unlabelled") act(() => attempt(() => post("/passed", { pictures: item.ids, passed: true })));
}

const removeCurrent = () => act(() => remove(queue[at].kind === "copies" ? queue[at].ids.slice(1) : queue[at].ids));

function skip() {
  const key = keyOf(queue[at]);
  skipped.add(key);
  if (at === queue.length - 1) {
    skipped = new Set();
    at = 0;
    say("That was the last one: here is the first again.");
  }
  const before = at;
  showQueue();
  at = Math.min(before, queue.length - 1);
  show(key);
}

function go(step) {
  at = Math.max(0, Math.min(at + step, queue.length - 1));
  show();
}

addEventListener("keydown", (event) => {
  if (document.body.dataset.tab !== "next" || !queue[at] || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = document.activeElement;
  if (isTyping(target) || document.querySelector("dialog[open]") || !(target === document.body || pane.contains(target) || target.closest(".tabs"))) return;
  const onButton = target.matches("button:not([role=tab])") && ["Enter", " "].includes(event.key);
  const place = KEYS.indexOf(event.key.toLowerCase());
  const group = event.key.length === 1 ? choices(queue[at])[place] : undefined;
  if (event.key === "ArrowRight" && !target.matches("[role=tab]")) skip();
  else if (event.key === "ArrowLeft" && !target.matches("[role=tab]")) go(-1);
  else if (isReadOnly || onButton) return;
  else if (event.key === "Enter") confirm();
  else if (event.key === "Delete") removeCurrent();
  else if (event.key.toLowerCase() === "m") act(() => moveToChosen(queue[at].ids));
  else if (place >= 0 && group !== undefined) label(group);
  else return;
  event.preventDefault();
});

store.on("listing figures passed pending", showQueue);
