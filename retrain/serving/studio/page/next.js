// What to do next: pictures worth a look, one after the other. One key per class labels the one in view.

import { isReadOnly, move, moveToChosen, notePassed, pass, remove, say } from "./actions.js";
import { $, button, counted, el, isTyping, named, shown } from "./dom.js";
import { picture } from "./server.js";
import { store } from "./store.js";

const KEYS = "123456789abcdefghijklopqrstuvwxyz"; // without m and n, which have meanings
const KINDS = { suspect: "Labels that may be wrong", copies: "Copies in several sets", unlabelled: "Without a label" };
const pane = $("next");

let queue = []; // the first one is in view
let seen = null; // its key, once it was looked at
const skipped = new Set(); // keys of what somebody skipped in this page, the latest last: they come last in the queue
const gone = []; // keys of what was done
let undone = null; // key of what was done and undone: in view until somebody goes on, even if figures on their way lack it

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

/**
 * Takes up what is in the queue now. What somebody looks at stays in view, wherever a new order has put it; and what was
 * done and undone comes back into view.
 */
export function showQueue() {
  queue = currentQueue();
  const isThere = (key) => queue.some((item) => keyOf(item) === key);
  const last = gone.findLastIndex(isThere);
  if (last >= 0) [undone] = gone.splice(last, 1);
  const inView = isThere(undone) ? undone : seen;
  const place = queue.findIndex((item) => keyOf(item) === inView);
  if (place > 0) queue.unshift(...queue.splice(place, 1));
  const count = $("waiting");
  count.hidden = !queue.length;
  count.textContent = queue.length.toLocaleString("en");
  if (document.body.dataset.tab === "next") show();
}

/** Shows the item in view. */
function show() {
  const item = queue[0];
  const isNew = item && keyOf(item) !== seen;
  seen = item ? keyOf(item) : null;
  if (!item) {
    const isReady = store.figures?.looked || store.figures?.problem;
    const text = !isReady ? "The pictures are being looked at ..." : gone.length ? `All done: you have looked at ${counted(gone.length)}.` : "Nothing needs a look.";
    pane.replaceChildren(el("h2", { text: "What to do next" }), el("p", { text }));
    return;
  }
  const hadFocus = pane.contains(document.activeElement);
  pane.replaceChildren(
    el("h2", { text: "What to do next" }),
    el("p", { class: "note" }, `${KINDS[item.kind]} · ${queue.length.toLocaleString("en")} to look at`),
    el("div", { class: item.kind === "copies" ? "looked-at several" : "looked-at" }, ...item.ids.map(look)),
    el("p", { class: "why", id: "why", "aria-live": "polite", text: `${shown(item.why)[0].toUpperCase()}${shown(item.why).slice(1)}.` }),
    isReadOnly ? null : answers(item),
    el(
      "p",
      { class: "buttons" },
      button("Back", back, { keys: "←", disabled: !skipped.size }),
      button("Skip", skip, { keys: "→" }),
      isReadOnly || item.kind === "unlabelled" ? null : button(item.kind === "copies" ? "Keep all" : "It is right", confirm, { keys: "Enter" }),
      isReadOnly ? null : button("Remove", removeCurrent, { keys: "Del" }),
    ),
  );
  if (isNew) preload();
  if (hadFocus) pane.focus({ preventScroll: true });
}

function look(id) {
  const one = store.pictures.get(id);
  const said = store.said.get(id);
  const facts = [one.group === null ? "no label" : shown(one.group), said?.set].filter(Boolean).join(", ");
  const image = el("img", { src: picture("preview", one), alt: shown(one.name) });
  const isOne = queue[0].ids.length === 1;
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
    button("Another class ...", () => act(() => moveToChosen(item.ids)), { keys: "M" }),
  );
}

function choices(item) {
  if (store.classes.length <= KEYS.length) return store.classes;
  const suggested = [...store.labels.values()].find((one) => one.label === item.suggested)?.folder;
  return [...new Set([suggested, item.group].filter((name) => name && store.classes.includes(name)))];
}

function preload() {
  for (const item of queue.slice(1, 3)) for (const id of item.ids.slice(0, 2)) new Image().src = picture("preview", store.pictures.get(id));
}

// Acting on the item in view

/** Does something that takes the item out of the queue. */
async function act(work) {
  const key = seen;
  undone = null;
  if (await work()) {
    gone.push(key);
    showQueue();
  }
}

function label(group) {
  const { ids, kind } = queue[0];
  const others = ids.filter((id) => store.pictures.get(id).group !== group);
  if (!others.length) confirm();
  else if (kind === "copies") act(async () => (await move(others, group)) && notePassed(ids, true));
  else act(() => move(others, group));
}

function confirm() {
  const { ids, kind } = queue[0];
  if (kind !== "unlabelled") act(() => pass(ids));
}

function removeCurrent() {
  const { ids, kind } = queue[0];
  act(() => remove(kind === "copies" ? ids.slice(1) : ids));
}

/** Puts the item in view behind all others. */
function skip() {
  if (queue.every((item) => skipped.has(keyOf(item)) || keyOf(item) === seen)) {
    skipped.clear();
    say("That was the last one: here is the first again.");
  } else skipped.add(seen);
  seen = undone = null;
  showQueue();
}

/** Brings back what was skipped last. */
function back() {
  const last = [...skipped].at(-1);
  if (last === undefined) return;
  skipped.delete(last);
  undone = null;
  seen = last;
  showQueue();
}

addEventListener("keydown", (event) => {
  if (document.body.dataset.tab !== "next" || !queue.length || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = document.activeElement;
  if (isTyping(target) || document.querySelector("dialog[open]") || !(target === document.body || pane.contains(target) || target.closest(".tabs"))) return;
  const onButton = target.matches("button:not([role=tab])") && ["Enter", " "].includes(event.key);
  const place = KEYS.indexOf(event.key.toLowerCase());
  const group = event.key.length === 1 ? choices(queue[0])[place] : undefined;
  if (event.key === "ArrowRight" && !target.matches("[role=tab]")) skip();
  else if (event.key === "ArrowLeft" && !target.matches("[role=tab]")) back();
  else if (isReadOnly || onButton) return;
  else if (event.key === "Enter") confirm();
  else if (event.key === "Delete") removeCurrent();
  else if (event.key.toLowerCase() === "m") act(() => moveToChosen(queue[0].ids));
  else if (place >= 0 && group !== undefined) label(group);
  else return;
  event.preventDefault();
});

store.on("listing figures passed pending", showQueue);
