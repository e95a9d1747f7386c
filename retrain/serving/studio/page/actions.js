// What can be done to the folder. Everything is an edit of the server's, and can be undone.

import { askName, chooseClass } from "./dialogs.js";
import { $, counted } from "./dom.js";
import { post, upload } from "./server.js";
import { store } from "./store.js";

export const isReadOnly = document.body.hasAttribute("data-read-only");

const AGAIN = { undo: ["Took back: ", "There is nothing to take back."], redo: ["Did again: ", "There is nothing to do again."] };
const TOAST = 8000; // milliseconds
let timer = 0;
let said = null; // what the message's button takes back
const steps = []; // of this page, the last one last: { ids } of pictures that were passed, { ids: null } for an edit

/** Says something for a moment; if it stays, until something else is said. `undo` is what its button does. */
export function say(text, { isBad = false, undo = null, stays = false } = {}) {
  $("said").textContent = /^[a-z']+ /.test(text) ? text[0].toUpperCase() + text.slice(1) : text; // not what begins with a path
  $("said-undo").hidden = !undo || isReadOnly;
  said = undo || null;
  $("toast").classList.toggle("bad", isBad);
  $("toast").hidden = false;
  clearTimeout(timer);
  if (!stays) timer = setTimeout(() => ($("toast").hidden = true), isBad ? 2 * TOAST : TOAST);
}

/** Does something, and says why if it fails. Whether it went well. */
export async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    say(error.message, { isBad: true });
    return false;
  }
}

let turn = Promise.resolve();

/** Does work after all that was asked for before, however fast somebody types: an undo must not overtake a move. */
function inTurn(work) {
  const done = turn.then(work);
  turn = done.catch(() => {});
  return done;
}

function begin(ids) {
  const step = { ids };
  steps.push(step);
  return step;
}

function forget(step) {
  const at = steps.indexOf(step);
  if (at >= 0) steps.splice(at, 1);
}

async function edit(change, ids = []) {
  if (isReadOnly) return false;
  for (const id of ids) store.pending.add(id);
  store.tell("pending");
  const step = change.kind === "undo" ? null : begin(null);
  const went = await attempt(async () => {
    const answer = await inTurn(async () => {
      const number = change.number ?? store.edits[`${change.kind}able`]?.number; // of what this page shows, when its turn comes
      const answer = await post("/edits", change.kind in AGAIN ? { ...change, number } : change);
      store.set("edits", answer);
      return answer;
    });
    const { done, sequence } = answer;
    store.settle(ids, sequence);
    const [before, none] = AGAIN[change.kind] ?? ["", ""];
    say(done ? `${before}${done.text}.` : none, { undo: done && !before ? () => takeBack(done) : null });
  });
  if (!went) {
    store.settle(ids);
    forget(step);
  } else if (ids.length) {
    for (const id of ids) store.selected.delete(id);
    store.tell("selection");
  }
  return went;
}

export function move(ids, group) {
  const moving = ids.filter((id) => store.pictures.get(id)?.group !== group);
  if (!moving.length) {
    say("They are in that class already.");
    return Promise.resolve(false);
  }
  return edit({ kind: "move", pictures: moving, class: group }, moving);
}

/** Asks where to move pictures, and moves them. */
export async function moveToChosen(ids, options = {}) {
  if (!ids.length || isReadOnly) return false;
  const answers = ids.map((id) => store.wrong(id)?.answer).filter(Boolean);
  const groups = new Set(ids.map((id) => store.pictures.get(id)?.group));
  const first = [...new Set(answers)].map((label) => [...store.labels.values()].find((one) => one.label === label)?.folder ?? label);
  const name = await chooseClass(`Move ${counted(ids.length)} to`, { first, without: groups.size === 1 ? [...groups][0] : null, ...options });
  return name === null ? false : move(ids, name);
}

export const remove = (ids) => (ids.length ? edit({ kind: "remove", pictures: ids }, ids) : Promise.resolve(false));

/** Notes that pictures are right as they are. */
export async function pass(ids) {
  const step = begin(ids);
  const went = await notePassed(ids, true);
  if (went) say("Kept as it is.", { undo });
  else forget(step);
  return went;
}

/** The same, as a part of an edit, which is what undo takes back. */
export const notePassed = (pictures, isSo) => attempt(() => inTurn(() => post("/passed", { pictures, passed: isSo })));

/** Takes back an edit, if no other came after it. */
function takeBack({ number }) {
  if (steps.at(-1)?.ids === null) steps.pop();
  return edit({ kind: "undo", number });
}

/** Does what the message's button is for. */
export const undoSaid = () => said?.();

export async function undo() {
  const ids = steps.pop()?.ids;
  if (!ids) return edit({ kind: "undo" });
  const went = await notePassed(ids, false);
  if (went) say(`${counted(ids.length)} to look at again.`);
  return went;
}

export const redo = () => edit({ kind: "redo" });

export async function newClass() {
  const name = await askName("New class", "Name of the class, and of its folder", { done: "Make it" });
  if (name !== null) await edit({ kind: "new_class", class: name });
}

export async function renameClass(group) {
  const name = await askName(`Rename ${group}`, "New name", { value: group, done: "Rename" });
  if (name !== null && name !== group) await edit({ kind: "rename", class: group, to: name });
}

export async function mergeClass(group) {
  const into = await chooseClass(`Merge ${group} into`, { without: group });
  if (into !== null) await edit({ kind: "merge", classes: [group, into].filter((name) => store.classes.includes(name)), to: into });
}

export const removeClass = (group) => edit({ kind: "remove_class", class: group });

/** Adds files to a class; without one, asks for it. */
export async function add(files, group = null) {
  if (isReadOnly || !files.length) return;
  const name = group ?? (await chooseClass(`Add ${counted(files.length)} to`));
  if (name === null) return;
  say(`Adding ${counted(files.length)} ...`, { stays: true });
  await attempt(async () => {
    const answers = await inTurn(() => upload(name, files));
    const refused = answers.flatMap((answer) => answer.refused);
    const done = answers.map((answer) => answer.done.text).join("; ");
    const last = answers.at(-1).done;
    store.set("edits", answers.at(-1));
    const more = refused.length > 3 ? ` and ${refused.length - 3} more` : "";
    say(refused.length ? `${done}. Left out ${refused.slice(0, 3).join("; ")}${more}.` : `${done}.`, { undo: () => takeBack(last), isBad: refused.length > 0 });
  });
}

export async function save() {
  const name = await askName("Save model", "Folder for the model, below the one where the studio was started", { value: "model", done: "Save" });
  if (name === null) return;
  say("Saving the model with all its exports: this takes some seconds ...", { stays: true });
  await attempt(async () => {
    const { place } = await post("/save", { name });
    say(`Saved the model in ${place}.`);
  });
}

/** The files of a drop: those of folders, too. */
export async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) found.push(await new Promise((done, fail) => entry.file(done, fail)));
    else {
      const reader = entry.createReader();
      for (;;) {
        const part = await new Promise((done, fail) => reader.readEntries(done, fail));
        if (!part.length) break;
        for (const inner of part) if (!inner.name.startsWith(".")) await walk(inner);
      }
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}
