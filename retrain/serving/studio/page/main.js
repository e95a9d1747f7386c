// The studio's page: what is on it, put together.

import { add, attempt, isReadOnly, moveToChosen, newClass, redo, remove, save, say, undo, undoSaid } from "./actions.js";
import { arrange, showAll, view } from "./board.js";
import { $, isTyping, shown } from "./dom.js";
import { showFigures } from "./figures.js";
import { showQueue } from "./next.js";
import { lookAtSelected } from "./selecting.js";
import { ask, listen } from "./server.js";
import { store } from "./store.js";
import { take } from "./tryit.js";

// The server

let loading = null; // what is being read, so that nothing is read twice at once

async function loadListing() {
  loading ??= ask("/listing").finally(() => (loading = null));
  await attempt(async () => store.load(await loading));
}

async function loadFigures() {
  await attempt(async () => store.figuresAre(await ask("/figures")));
}

listen({
  async hello(known) {
    store.set("edits", known.edits);
    store.set("state", known.state);
    store.set("passed", new Set(known.passed));
    const isOther = known.instance !== store.instance;
    if (isOther || known.sequence !== store.sequence) await loadListing();
    if (known.figures && (isOther || known.figures !== store.figures?.version)) await loadFigures();
  },
  listing: (delta) => store.change(delta) || loadListing(),
  figures: loadFigures,
  edits(said) {
    store.set("edits", said);
  },
  state: (state) => store.set("state", state),
  passed: (ids) => store.set("passed", new Set(ids)),
  warning: (text) => say(shown(text)),
  lost(why) {
    $("lost").hidden = why === null;
    $("lost").textContent = why ?? "";
    if (why === null) return;
    $("state").dataset.stage = "lost"; // until the studio says how it is
    $("stage").textContent = "not connected";
    $("progress").hidden = true;
  },
});

// The state

const STAGES = { "pass one": "looking at new pictures", extraction: "looking at new pictures", training: "training", evaluation: "testing", export: "writing the model", watching: "watching the folder" };

store.on("state figures", () => {
  const { stage, done, total, problem } = store.state;
  const isResting = stage === "watching";
  const text = STAGES[stage] ?? stage;
  $("state").dataset.stage = isResting ? "resting" : "busy";
  $("stage").textContent = total ? `${text}: ${done.toLocaleString("en")} of ${total.toLocaleString("en")}` : text;
  const progress = $("progress");
  progress.hidden = isResting || !total;
  progress.max = Math.max(1, total);
  progress.value = done;
  $("save").disabled = !store.figures || Boolean(store.figures.problem);
  const trouble = problem ?? store.folderProblem;
  $("problem").hidden = !trouble;
  $("problem").textContent = trouble ? shown(trouble) : "";
});
store.on("listing", () => {
  $("show").querySelector('[value="unlabelled"]').hidden = !store.groups.get(null)?.length;
});
store.on("figures", showFigures);
store.on("edits", () => {
  if (isReadOnly) return;
  for (const name of ["undo", "redo"]) {
    const edit = store.edits[`${name}able`];
    $(name).disabled = edit === null;
    $(name).title = edit === null ? "" : `${name === "undo" ? "Undo" : "Redo"}: ${shown(edit.text)}`;
  }
});

// Buttons and fields

const click = (id, listener) => $(id)?.addEventListener("click", listener);
click("undo", undo);
click("redo", redo);
click("said-undo", undoSaid);
click("save", save);
click("help", () => $("keys").showModal());
click("new-class", newClass);
click("view-all", showAll);
click("look", lookAtSelected);
click("unselect", () => store.select([]));
click("move", () => moveToChosen([...store.selected]));
click("remove", () => remove([...store.selected]));
click("fold", () => {
  view.fold = $("fold").getAttribute("aria-pressed") !== "true";
  arrange();
});
$("find").addEventListener("input", () => {
  view.text = $("find").value.trim();
  arrange();
});
for (const name of ["show", "sort"]) {
  $(name).addEventListener("change", () => {
    view[name] = $(name).value;
    if (view.ids) showAll();
    else arrange();
  });
}

// Tabs

const tabs = [...document.querySelectorAll("[role=tab]")];

function openTab(name) {
  document.body.dataset.tab = name;
  for (const tab of tabs) {
    const isOpen = tab.dataset.tab === name;
    tab.setAttribute("aria-selected", String(isOpen));
    tab.tabIndex = isOpen ? 0 : -1;
  }
  if (name === "next") showQueue();
  if (name === "pictures") arrange();
}

for (const tab of tabs) {
  tab.addEventListener("click", (event) => {
    openTab(tab.dataset.tab);
    if (event.detail && tab.dataset.tab === "next") $("next").focus({ preventScroll: true }); // its keys are what comes next
  });
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const there = tabs.filter((one) => one.offsetParent !== null);
    const next = there[(there.indexOf(tab) + step + there.length) % there.length];
    openTab(next.dataset.tab);
    next.focus();
    event.preventDefault();
  });
}

// Keys that hold everywhere

addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || isTyping(event.target)) return;
  const control = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  if (control && key === "z") event.shiftKey ? redo() : undo();
  else if (control && key === "y") redo();
  else if (event.key === "Escape" && store.selected.size) store.select([]);
  else if (event.key === "/" && !control) $("find").focus();
  else if (!control && key === "m" && store.selected.size && event.target === document.body) moveToChosen([...store.selected]);
  else return;
  event.preventDefault();
});
addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  if (document.body.dataset.tab === "try") take(files[0]);
  else add(files);
});
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault()); // a file that misses does not replace the page
showFigures();
openTab(matchMedia("(max-width: 60rem)").matches ? "pictures" : "figures");
