// Selecting pictures, and the keyboard on them.

import { moveToChosen, remove } from "./actions.js";
import { columns, focusOn, layout, order, remember, sectionOf } from "./board.js";
import { $, isTyping } from "./dom.js";
import { openLarge } from "./large.js";
import { store } from "./store.js";

let anchor = null; // where a range begins

$("sheet").addEventListener("click", (event) => {
  const tile = event.target.closest(".tile");
  if (!tile) return;
  const id = Number(tile.dataset.id);
  if (event.shiftKey && anchor !== null) selectRange(anchor, id, event.ctrlKey || event.metaKey);
  else if (event.ctrlKey || event.metaKey) store.toggle(id);
  else store.select(store.selected.size === 1 && store.selected.has(id) ? [] : [id]);
  if (!event.shiftKey) anchor = id;
  focusOn(id);
});
$("sheet").addEventListener("dblclick", (event) => {
  const tile = event.target.closest(".tile");
  if (tile) openLarge(Number(tile.dataset.id), order);
});

$("sheet").addEventListener("focusin", (event) => {
  const tile = event.target.closest(".tile");
  if (tile) remember(Number(tile.dataset.id)); // also what Tab leads to: new figures must not move the keyboard elsewhere
});

function selectRange(from, to, adds) {
  const [first, last] = [order.indexOf(from), order.indexOf(to)].sort((one, other) => one - other);
  if (first >= 0) store.select(order.slice(first, last + 1), { adds });
}

$("board").addEventListener("keydown", (event) => {
  const tile = event.target.closest?.(".tile");
  if (!tile || isTyping(event.target)) return;
  const id = Number(tile.dataset.id);
  const control = event.ctrlKey || event.metaKey;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: "up", ArrowDown: "down", Home: "first", End: "last" };
  if (event.key in steps) {
    const next = neighbour(id, steps[event.key]);
    if (next === null) return;
    if (event.shiftKey) {
      anchor ??= id;
      selectRange(anchor, next, control);
    } else anchor = next;
    focusOn(next);
  } else if (event.key === " ") {
    store.toggle(id);
    anchor = id;
  } else if (event.key === "Enter") openLarge(id, order);
  else if (control && event.key.toLowerCase() === "a") store.select(sectionOf(id).ids, { adds: event.shiftKey });
  else if (!control && event.key.toLowerCase() === "m") moveToChosen(chosen(id));
  else if (event.key === "Delete" || event.key === "Backspace") removeChosen(id);
  else return;
  event.preventDefault();
});

async function removeChosen(id) {
  const ids = chosen(id);
  const next = order[order.indexOf(ids.at(-1)) + 1] ?? order[order.indexOf(ids[0]) - 1];
  if ((await remove(ids)) && next !== undefined) remember(next);
}

/** What an action at a picture is about: the selection, or the picture if nothing is selected. */
function chosen(id) {
  return store.selected.size ? [...store.selected] : [id];
}

function neighbour(id, step) {
  const section = sectionOf(id);
  const at = section.shows.indexOf(id);
  if (typeof step === "number") return order[order.indexOf(id) + step] ?? null;
  if (step === "first") return section.shows[0];
  if (step === "last") return section.shows.at(-1);
  const next = at + (step === "down" ? columns : -columns);
  if (next >= 0 && next < section.shows.length) return section.shows[next];
  const isLower = step === "down" && Math.floor(at / columns) < section.rows - 1;
  if (isLower) return section.shows.at(-1);
  const places = layout.filter((one) => one.shows.length);
  const other = places[places.indexOf(section) + (step === "down" ? 1 : -1)];
  if (!other) return null;
  const start = step === "down" ? 0 : (other.rows - 1) * columns;
  return other.shows[Math.min(start + (at % columns), other.shows.length - 1)];
}

/** Shows the selected pictures large, one after the other. */
export function lookAtSelected() {
  const ids = order.filter((id) => store.selected.has(id));
  if (ids.length) openLarge(ids[0], ids.length > 1 ? ids : order);
}
