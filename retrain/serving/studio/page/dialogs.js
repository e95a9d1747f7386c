// Dialogs that ask for one thing: a class, a name; and the menu of a class.

import { $, el, named } from "./dom.js";
import { store } from "./store.js";

const MOST_SHOWN = 60; // classes in the list

for (const closer of document.querySelectorAll("[data-close]")) closer.addEventListener("click", () => closer.closest("dialog").close());
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // outside of it
}

/** Asks for a class, which may be new: its name, or null. */
export function chooseClass(title, { first = [], without = null, isNew = false } = {}) {
  const [dialog, text, list] = [$("choose"), $("choose-text"), $("choose-list")];
  $("choose-title").textContent = title;
  text.value = "";
  text.placeholder = isNew ? "Type a name" : "Type a class, or a new name";
  let options = [];
  let at = 0;

  return new Promise((resolve) => {
    let answer = null;
    const take = (name) => {
      answer = name;
      dialog.close();
    };
    function show() {
      const wanted = text.value.trim();
      const found = matching(wanted, first, without);
      options = found.map((name) => ({ name, isNew: false }));
      if (wanted && !store.classes.includes(wanted)) options.push({ name: wanted, isNew: true });
      at = Math.min(at, Math.max(0, options.length - 1));
      list.replaceChildren(
        ...options.map((one, place) =>
          el(
            "li",
            { role: "option", id: `choose-${place}`, "aria-selected": String(place === at), on: { click: () => take(one.name) } },
            el("span", {}, one.isNew ? "New class: " : null, named(one.name)),
            one.isNew ? null : el("span", { class: "note", text: (store.groups.get(one.name)?.length ?? 0).toLocaleString("en") }),
          ),
        ),
      );
      if (!options.length) list.append(el("li", { class: "note", role: "option", "aria-disabled": "true", text: "Type a name for a new class." }));
      text.setAttribute("aria-activedescendant", options.length ? `choose-${at}` : "");
      $(`choose-${at}`)?.scrollIntoView({ block: "nearest" });
    }
    text.oninput = () => {
      at = 0;
      show();
    };
    text.onkeydown = (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) {
        at = (at + step + options.length) % Math.max(1, options.length);
        show();
      } else if (event.key === "Enter") {
        if (options[at]) take(options[at].name);
      } else return;
      event.preventDefault();
    };
    dialog.onclose = () => resolve(answer);
    show();
    dialog.showModal();
    text.focus();
  });
}

function matching(wanted, first, without) {
  const text = wanted.toLowerCase();
  const names = [...new Set([...first.filter((name) => store.classes.includes(name)), ...store.classes])];
  const found = names.filter((name) => name !== without && name.toLowerCase().includes(text));
  const begins = (name) => Number(name.toLowerCase().startsWith(text));
  return (text ? found.sort((one, other) => begins(other) - begins(one)) : found).slice(0, MOST_SHOWN);
}

/** Asks for a name: it, or null. */
export function askName(title, label, { value = "", done = "OK" } = {}) {
  const [dialog, text] = [$("name"), $("name-text")];
  $("name-title").textContent = title;
  $("name-label").textContent = label;
  $("name-done").textContent = done;
  text.value = value;
  return new Promise((resolve) => {
    let answer = null;
    dialog.querySelector("form").onsubmit = () => {
      answer = text.value.trim() || null;
    };
    dialog.onclose = () => resolve(answer);
    dialog.showModal();
    text.select();
  });
}

/** A menu beside a button: rows of [text, what to do]. */
export function openMenu(opener, rows) {
  const menu = $("menu");
  const items = rows.map(([text, act]) =>
    el("button", { type: "button", role: "menuitem", text, on: { click: () => (menu.hidePopover(), act()) } }),
  );
  menu.replaceChildren(...items);
  menu.onkeydown = (event) => {
    const at = items.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    items[(at + step + items.length) % items.length].focus();
  };
  menu.ontoggle = (event) => {
    opener.setAttribute("aria-expanded", String(event.newState === "open"));
    if (event.newState === "closed" && document.activeElement === document.body) opener.focus();
  };
  menu.showPopover();
  const place = opener.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(place.right - menu.offsetWidth, innerWidth - menu.offsetWidth - 8))}px`;
  menu.style.top = `${place.bottom + menu.offsetHeight + 8 > innerHeight ? place.top - menu.offsetHeight - 4 : place.bottom + 4}px`;
  items[0].focus();
}
