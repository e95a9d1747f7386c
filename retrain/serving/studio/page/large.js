// One picture, large, with what the model says of it.

import { isReadOnly, moveToChosen, remove } from "./actions.js";
import { $, el, named, percent, shown } from "./dom.js";
import { ask, picture } from "./server.js";
import { store } from "./store.js";

const dialog = $("large");
let [id, order] = [null, []];

export function openLarge(wanted, among) {
  [id, order] = [wanted, among];
  show();
  dialog.showModal();
}

async function show() {
  const one = store.pictures.get(id);
  if (!one) {
    dialog.close();
    return;
  }
  const image = $("large-picture");
  image.src = picture("preview", one);
  image.alt = shown(one.name);
  $("large-name").replaceChildren(named(one.name));
  $("large-path").textContent = "";
  const said = store.said.get(id);
  const rows = [["class", one.group === null ? "none yet" : named(one.group)]];
  if (said?.set) rows.push(["set", said.set]);
  if (said?.answer) rows.push(["the model says", el("span", { class: store.wrong(id) ? "wrong" : "right" }, named(said.answer), ` ${percent(said.score)}`)]);
  const skipped = store.figures?.skipped[id];
  if (skipped) rows.push(["left out", skipped]);
  $("large-said").replaceChildren(el("dl", { class: "about" }, ...rows.flatMap(([term, what]) => [el("dt", { text: term }), el("dd", {}, what)])));
  const at = order.indexOf(id);
  $("large-before").disabled = at <= 0;
  $("large-after").disabled = at < 0 || at >= order.length - 1;
  const about = await ask(`/about/${id}`).catch(() => null);
  if (about && id === one.id) $("large-path").textContent = about.path === one.name ? "" : about.path; // which may be its name
}

function go(step) {
  const next = order[order.indexOf(id) + step];
  if (next === undefined) return;
  id = next;
  show();
}

async function act(work) {
  const [current, next] = [id, order[order.indexOf(id) + 1]];
  if (!(await work([current]))) return;
  order = order.filter((other) => other !== current);
  if (next === undefined) dialog.close();
  else {
    id = next;
    show();
  }
}

$("large-before").addEventListener("click", () => go(-1));
$("large-after").addEventListener("click", () => go(1));
if (!isReadOnly) {
  $("large-move").addEventListener("click", () => act(moveToChosen));
  $("large-remove").addEventListener("click", () => act(remove));
}
dialog.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowLeft") go(-1);
  else if (event.key === "ArrowRight") go(1);
  else if (event.key.toLowerCase() === "m" && !isReadOnly) act(moveToChosen);
  else if (event.key === "Delete" && !isReadOnly) act(remove);
  else return;
  event.preventDefault();
});
