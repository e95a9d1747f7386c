// Dragging: pictures to another class, and files from elsewhere onto one.

import { add, filesOf, isReadOnly, move, moveToChosen } from "./actions.js";
import { $, counted, el } from "./dom.js";
import { store } from "./store.js";

const DRAGGED = "application/x-retrain-pictures";

$("sheet").addEventListener("dragstart", (event) => {
  const tile = event.target.closest?.(".tile");
  if (!tile) return;
  const id = Number(tile.dataset.id);
  if (!store.selected.has(id)) store.select([id]);
  const ids = [...store.selected];
  event.dataTransfer.setData(DRAGGED, JSON.stringify(ids));
  event.dataTransfer.effectAllowed = "move";
  if (ids.length > 1) {
    const sign = el("div", { class: "drag-sign", text: counted(ids.length) });
    document.body.append(sign);
    event.dataTransfer.setDragImage(sign, 10, 10);
    setTimeout(() => sign.remove());
  }
  setTimeout(() => ($("drop-new").hidden = false)); // a change of the layout now would end the drag
});
addEventListener("dragend", endDrag);
addEventListener("drop", endDrag);

function endDrag() {
  $("drop-new").hidden = true;
  for (const over of document.querySelectorAll(".over")) over.classList.remove("over");
}

const isOurs = (transfer) => transfer.types.includes(DRAGGED);
const hasFiles = (transfer) => transfer.types.includes("Files");

/** Takes pictures and files that are dropped on an element. groupOf: gives the class, or asks for it. */
export function acceptDrops(element, groupOf) {
  element.addEventListener("dragover", (event) => {
    if (!isOurs(event.dataTransfer) && !hasFiles(event.dataTransfer)) return;
    event.preventDefault();
    event.stopPropagation();
    event.dataTransfer.dropEffect = isOurs(event.dataTransfer) ? "move" : "copy";
    for (const over of document.querySelectorAll(".over")) if (over !== element) over.classList.remove("over");
    element.classList.add("over");
  });
  element.addEventListener("dragleave", (event) => {
    if (!element.contains(event.relatedTarget)) element.classList.remove("over");
  });
  element.addEventListener("drop", async (event) => {
    const ours = event.dataTransfer.getData(DRAGGED);
    if (!ours && !hasFiles(event.dataTransfer)) return;
    event.preventDefault();
    event.stopPropagation();
    endDrag();
    const group = groupOf();
    if (!ours) await add(await filesOf(event.dataTransfer), group);
    else if (group === null) await moveToChosen(JSON.parse(ours), { isNew: true });
    else await move(JSON.parse(ours), group);
  });
}

if (!isReadOnly) for (const id of ["board", "drop-new"]) acceptDrops($(id), () => null);
