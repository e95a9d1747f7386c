// The classes, each with its pictures. Only what is in view is in the document, however many there are.

import { add, isReadOnly, mergeClass, moveToChosen, removeClass, renameClass } from "./actions.js";
import { openMenu } from "./dialogs.js";
import { $, counted, el, named, percent, points, shown } from "./dom.js";
import { acceptDrops } from "./dragging.js";
import { picture } from "./server.js";
import { store } from "./store.js";

const GAP = 6; // pixels
const HEAD = 52; // of a class
const FOOT = 18;
const EMPTY = 60; // of a class without pictures
const AHEAD = 400; // above and below what is in view
const SETTLED = 60; // milliseconds without scrolling, until pictures are asked for

const [board, sheet] = [$("board"), $("sheet")];

const MANY = 12; // classes; of more, each shows one row at first

export const view = { text: "", show: "all", sort: "name", fold: null, ids: null, title: "" }; // fold: null until somebody chooses
const folded = new Map(); // class -> whether it shows one row only, where somebody chose
export let layout = []; // of classes: { group, ids, shows (those of ids that are shown), rows, height, top, isShort (one row only) }
export let order = []; // ids as they are shown
let size = 104; // pixels of a picture's side
export let columns = 1;
let focused = null; // id that Tab leads to, in its class

// Which classes and pictures are shown

const SHOWS = {
  all: () => true,
  wrong: (id) => store.wrong(id) !== null,
  unlabelled: (id) => store.pictures.get(id).group === null,
  train: (id) => store.said.get(id)?.set === "training",
  validation: (id) => store.said.get(id)?.set === "validation",
  test: (id) => store.said.get(id)?.set === "test",
};

function sections() {
  const text = view.text.toLowerCase();
  const shows = view.ids ? (id) => view.ids.has(id) : SHOWS[view.show];
  const isAll = !view.ids && view.show === "all";
  const found = [];
  for (const group of sorted()) {
    let ids = store.groups.get(group) ?? [];
    const isNamed = text && group !== null && group.toLowerCase().includes(text);
    if (!isAll) ids = ids.filter(shows);
    if (view.sort === "worst" && group !== null) ids = worstFirst(ids);
    if (text && !isNamed) ids = ids.filter((id) => store.pictures.get(id).name.toLowerCase().includes(text));
    if (ids.length || (isAll && (!text || isNamed) && group !== null)) found.push({ group, ids });
  }
  return found;
}

function sorted() {
  const names = [...store.classes];
  const count = (group) => store.groups.get(group)?.length ?? 0;
  const recall = (group) => store.labels.get(group)?.recall ?? 2;
  if (view.sort === "most") names.sort((one, other) => count(other) - count(one));
  if (view.sort === "least") names.sort((one, other) => count(one) - count(other));
  if (view.sort === "worst") names.sort((one, other) => recall(one) - recall(other));
  if (!store.groups.get(null)?.length) return names;
  return view.sort === "name" ? [null, ...names] : [...names, null]; // who wants another order looks for classes
}

/** First the answers that are wrong, the surest first; then those that are right, the least sure first. */
function worstFirst(ids) {
  const badness = (id) => {
    const said = store.said.get(id);
    if (!said?.answer) return -2; // nothing is known of it
    return store.wrong(id) ? said.score : said.score === null ? -1 : -said.score;
  };
  return ids.map((id) => [id, badness(id)]).sort((one, other) => other[1] - one[1]).map(([id]) => id);
}

const areFolded = () => view.fold ?? store.classes.length > MANY;

function isFolded(group) {
  return folded.get(group ?? "") ?? areFolded();
}

/** Computes where everything is, and draws it. */
export function arrange() {
  const width = sheet.clientWidth || board.clientWidth;
  const wanted = width < 520 ? 84 : 104;
  columns = Math.max(1, Math.floor((width + GAP) / (wanted + GAP)));
  size = (width + GAP) / columns - GAP;
  let top = 0;
  layout = sections().map(({ group, ids }) => {
    const isShort = isFolded(group) && !view.ids;
    const shows = isShort ? ids.slice(0, columns) : ids;
    const rows = Math.ceil(shows.length / columns);
    const height = HEAD + FOOT + (rows ? rows * (size + GAP) : EMPTY);
    const section = { group, ids, shows, rows, height, top, isShort };
    top += height;
    return section;
  });
  $("fold").setAttribute("aria-pressed", String(areFolded()));
  order = layout.flatMap((section) => section.shows);
  sheet.style.height = `${top}px`;
  showEmpty();
  draw(true);
  showSelection();
}

function showEmpty() {
  const place = $("empty");
  place.hidden = layout.length > 0 || store.sequence < 0;
  if (place.hidden) return;
  const isFiltered = view.text || view.ids || view.show !== "all";
  place.replaceChildren(
    el("h2", { text: isFiltered ? "Nothing here" : "This folder has no classes yet" }),
    el("p", {
      text: isFiltered
        ? "No picture is like that. Look for something else, or show all pictures."
        : isReadOnly
          ? "There is nothing to show."
          : "Drop pictures here, or make a class: each is a folder of pictures. With two classes and some pictures in each, the first model is there at once.",
    }),
  );
}

// Drawing

const drawnSections = new Map(); // class -> { element, tiles: id -> element, ... }
let settle = 0;
let frame = 0;

board.addEventListener("scroll", () => {
  if (!frame) frame = requestAnimationFrame(() => ((frame = 0), draw()));
});
new ResizeObserver(() => arrange()).observe(board);

function draw(isNew = false) {
  const [from, to] = [board.scrollTop - AHEAD, board.scrollTop + board.clientHeight + AHEAD];
  const keep = new Set();
  for (let at = firstBelow(from); at < layout.length && layout[at].top < to; at += 1) {
    keep.add(layout[at].group);
    drawSection(layout[at], from, to, isNew);
  }
  for (const [group, one] of drawnSections) {
    if (keep.has(group)) continue;
    if (one.element.contains(document.activeElement)) board.focus({ preventScroll: true });
    one.tiles.forEach(forget);
    one.element.remove();
    drawnSections.delete(group);
  }
  clearTimeout(settle);
  settle = setTimeout(load, isNew ? 0 : SETTLED);
}

/** The place in the layout of the first class that ends below a height. */
function firstBelow(height) {
  let [low, high] = [0, layout.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (layout[middle].top + layout[middle].height < height) low = middle + 1;
    else high = middle;
  }
  return low;
}

function drawSection(section, from, to, isNew) {
  let one = drawnSections.get(section.group);
  if (!one) {
    one = makeSection(section.group);
    drawnSections.set(section.group, one);
    const after = [...drawnSections.values()].map((other) => other.element).find((other) => other.isConnected && Number(other.dataset.top) > section.top);
    sheet.insertBefore(one.element, after ?? null);
    isNew = true;
  }
  if (isNew) {
    one.element.dataset.top = section.top;
    one.element.style.transform = `translateY(${section.top}px)`;
    one.element.style.height = `${section.height}px`;
    fillHead(one, section);
  }
  const start = section.top + HEAD;
  const pitch = size + GAP;
  const first = Math.max(0, Math.floor((from - start) / pitch)) * columns;
  const last = Math.min(section.shows.length, Math.ceil((to - start) / pitch) * columns);
  const keep = new Set();
  let before = null;
  for (let at = first; at < last; at += 1) {
    const id = section.shows[at];
    keep.add(id);
    let tile = one.tiles.get(id);
    if (!tile) {
      tile = makeTile(id);
      one.tiles.set(id, tile);
      one.list.insertBefore(tile, before ? before.nextSibling : one.list.firstChild);
      fillTile(tile, id, at, section);
    } else if (isNew) {
      if (tile.previousSibling !== before) one.list.insertBefore(tile, before ? before.nextSibling : one.list.firstChild);
      fillTile(tile, id, at, section);
    }
    before = tile;
  }
  for (const [id, tile] of one.tiles) {
    if (keep.has(id)) continue;
    if (tile === document.activeElement) board.focus({ preventScroll: true });
    forget(tile);
    tile.remove();
    one.tiles.delete(id);
  }
}

function makeSection(group) {
  const title = el("h2", { class: "class-name" });
  const facts = el("p", { class: "facts" });
  const buttons = el("div", { class: "class-buttons" });
  const label = group === null ? "Pictures without a label" : `Pictures of ${shown(group)}`;
  const list = el("div", { class: "tiles-of", role: "listbox", "aria-multiselectable": "true", "aria-label": label });
  const nothing = el("p", { class: "nothing", text: isReadOnly ? "No pictures." : "No pictures yet: drop some here." });
  const element = el("section", { class: "class", "data-class": group === null ? false : group }, el("div", { class: "class-head" }, title, facts, buttons), nothing, list);
  if (!isReadOnly && group !== null) acceptDrops(element, () => group);
  const one = { element, title, facts, buttons, nothing, list, tiles: new Map() };
  if (group === null) return one;
  const more = el("button", { type: "button", class: "button small round", "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": `More for ${shown(group)}`, text: "⋯" });
  more.addEventListener("click", () => openMenu(more, menuOf(group)));
  one.more = more;
  return one;
}

function menuOf(group) {
  const selectAll = ["Select all pictures", () => store.select(sectionNamed(group)?.ids ?? [])]; // of those that are shown
  if (isReadOnly) return [selectAll];
  return [
    ["Add pictures ...", () => chooseFiles(group)],
    selectAll,
    ["Rename ...", () => renameClass(group)],
    ["Merge into another ...", () => mergeClass(group)],
    ["Split: selection to a new class ...", () => moveToChosen(selectedIn(group), { isNew: true })],
    ["Remove the class", () => removeClass(group)],
  ];
}

function selectedIn(group) {
  return [...store.selected].filter((id) => store.pictures.get(id)?.group === group);
}

/** Opens the browser's chooser, and adds what is chosen to a class. */
function chooseFiles(group) {
  const input = $("files");
  input.dataset.class = JSON.stringify(group);
  input.click();
}

function fillHead(one, section) {
  const { group, ids } = section;
  const total = store.groups.get(group)?.length ?? 0;
  const figures = store.labels.get(group);
  one.title.replaceChildren(group === null ? "Without a label" : named(group), el("span", { class: "count", text: total.toLocaleString("en") }));
  const facts = [];
  if (figures && figures.label !== group) facts.push(el("span", { text: `label ${shown(figures.label)}` }));
  if (figures?.recall !== null && figures?.recall !== undefined) {
    const change = store.figures.changes?.classes.find(([label]) => label === figures.label);
    facts.push(
      el("span", { title: `${figures.right} of ${counted(figures.tested, "tested picture")} right` }, el("strong", { text: percent(figures.recall) }), " right"),
      change ? el("span", { class: change[1] > 0 ? "right" : "wrong", text: `${points(change[1])} points` }) : null,
    );
  }
  if (figures && figures.train + figures.validation + figures.test) {
    facts.push(el("span", { class: "sets", text: ["train", "validation", "test"].map((set) => `${figures[set].toLocaleString("en")} ${set === "train" ? "training" : set}`).join(" · ") }));
  }
  if (ids.length !== total) facts.push(el("span", { text: `${counted(ids.length)} shown` }));
  one.facts.replaceChildren(...facts.filter(Boolean));
  const more = ids.length - columns;
  const fold = more > 0 && !view.ids
    ? el("button", { type: "button", class: "button small", "aria-expanded": String(!section.isShort), text: section.isShort ? `Show all ${ids.length.toLocaleString("en")}` : "One row", on: { click: () => toggleFold(section) } })
    : null;
  one.buttons.replaceChildren(...[fold, one.more].filter(Boolean));
  const isEmpty = !section.shows.length;
  one.nothing.hidden = !isEmpty;
  one.list.hidden = isEmpty;
}

function toggleFold(section) {
  folded.set(section.group ?? "", !section.isShort);
  arrange();
}

function makeTile(id) {
  return el("div", { class: "tile", role: "option", "data-id": id, draggable: String(!isReadOnly) }, el("img", { alt: "", draggable: "false", decoding: "async" }), el("span", { class: "tile-said" }));
}

function fillTile(tile, id, at, section) {
  const one = store.pictures.get(id);
  const wrong = store.wrong(id);
  const skipped = store.figures?.skipped[id];
  const [row, column] = [Math.floor(at / columns), at % columns];
  tile.style.transform = `translate(${column * (size + GAP)}px, ${row * (size + GAP)}px)`;
  tile.style.width = tile.style.height = `${size}px`;
  tile.dataset.version = one.version;
  const isFirst = focused === id || (!section.shows.includes(focused) && at === 0);
  tile.tabIndex = isFirst ? 0 : -1;
  tile.setAttribute("aria-selected", String(store.selected.has(id)));
  tile.setAttribute("aria-setsize", section.shows.length);
  tile.setAttribute("aria-posinset", at + 1);
  tile.setAttribute("aria-label", [shown(one.name), wrong ? `taken for ${shown(wrong.answer)}` : "", skipped ?? ""].filter(Boolean).join(", "));
  tile.title = `${shown(one.name)}${wrong ? `\ntaken for ${shown(wrong.answer)}, ${percent(wrong.score)}` : ""}${skipped ? `\n${skipped}` : ""}`;
  tile.classList.toggle("wrong-answer", Boolean(wrong));
  tile.classList.toggle("pending", store.pending.has(id));
  tile.lastChild.textContent = wrong ? shown(wrong.answer) : "";
}

/** Asks for the pictures in view. While somebody scrolls fast, none are asked for. */
function load() {
  for (const { tiles } of drawnSections.values()) {
    for (const [id, tile] of tiles) {
      const image = tile.firstChild;
      const source = picture("thumbnail", { id, version: tile.dataset.version });
      if (image.getAttribute("src") === source) continue;
      image.onerror = () => tile.classList.add("unreadable");
      image.onload = () => tile.classList.remove("unreadable");
      image.src = source;
    }
  }
}

/** Stops asking for a picture that has left the view. */
function forget(tile) {
  const image = tile.firstChild;
  image.onerror = image.onload = null;
  if (!image.complete) image.removeAttribute("src");
}

// Bringing into view

const sectionNamed = (group) => layout.find((section) => section.group === group);

/** The class of a picture in the layout. */
export const sectionOf = (id) => sectionNamed(store.pictures.get(id)?.group);

/** Brings a picture into view, and the keyboard to it. */
export function focusOn(id) {
  const section = sectionOf(id);
  if (!section) return;
  const row = Math.floor(section.shows.indexOf(id) / columns);
  const top = section.top + HEAD + row * (size + GAP);
  if (top - HEAD < board.scrollTop) board.scrollTop = top - HEAD;
  else if (top + size + GAP > board.scrollTop + board.clientHeight) board.scrollTop = top + size + GAP + FOOT - board.clientHeight;
  const before = drawnSections.get(section.group)?.list.querySelector('[tabindex="0"]');
  focused = id;
  draw();
  if (before) before.tabIndex = -1;
  const tile = drawnSections.get(section.group)?.tiles.get(id);
  if (!tile) return;
  tile.tabIndex = 0;
  tile.focus({ preventScroll: true });
}

/** Makes a picture the one that Tab leads to. */
export function remember(id) {
  focused = id;
}

/** Brings a class into view. */
export function scrollToClass(group) {
  const section = layout.find((one) => one.group === group);
  if (section) board.scrollTop = section.top;
}

function showSelection() {
  for (const { tiles } of drawnSections.values()) {
    for (const [id, tile] of tiles) tile.setAttribute("aria-selected", String(store.selected.has(id)));
  }
  $("selection").hidden = !store.selected.size;
  const inView = new Set(store.selected.size ? layout.flatMap(({ ids }) => ids) : []);
  const hidden = [...store.selected].filter((id) => !inView.has(id)).length;
  $("selected").textContent = `${counted(store.selected.size)} selected${hidden ? `, ${hidden.toLocaleString("en")} of them not shown` : ""}`;
}

function showPending() {
  for (const { tiles } of drawnSections.values()) {
    for (const [id, tile] of tiles) tile.classList.toggle("pending", store.pending.has(id));
  }
}

// The rest of the page

if (!isReadOnly) {
  $("files").addEventListener("change", (event) => {
    const { files, dataset } = event.target;
    const group = dataset.class ? JSON.parse(dataset.class) : null;
    delete dataset.class;
    add([...files], group);
    event.target.value = "";
  });
  $("files").addEventListener("cancel", (event) => delete event.target.dataset.class);
}

/** Shows only some pictures. */
export function showOnly(ids, title) {
  view.ids = new Set(ids);
  view.title = title;
  $("view").hidden = false;
  $("view-title").textContent = title;
  board.scrollTop = 0;
  arrange();
}

export function showAll() {
  view.ids = null;
  $("view").hidden = true;
  arrange();
}

store.on("listing figures", () => {
  const hadFocus = document.activeElement?.closest?.(".tile") || document.activeElement === board;
  arrange();
  if (hadFocus && focused !== null && store.pictures.has(focused)) focusOn(focused);
});
store.on("selection", showSelection);
store.on("pending", showPending);
