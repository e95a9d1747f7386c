// Elements, and how texts and figures are shown.

const OBEYED = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]/u;

export const $ = (id) => document.getElementById(id);

/** An element. Properties: class, text, on (event -> listener), hidden, disabled, and attributes. */
export function el(tag, { text, on = {}, ...rest } = {}, ...children) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  for (const [name, value] of Object.entries(rest)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** An element of SVG. */
export function drawn(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** A small button; keys: what does the same, which is shown on it. */
export function button(text, listener, { keys, ...rest } = {}) {
  return el("button", { type: "button", class: "button small", on: { click: listener }, "aria-keyshortcuts": keys, ...rest }, text, keys ? el("kbd", { text: keys }) : null);
}

/** A name as it is safe to show: what would be obeyed instead of shown, such as a change of direction, as \xNN. */
export function shown(text) {
  return [...text].map((letter) => (OBEYED.test(letter) ? `\\x${letter.codePointAt(0).toString(16).padStart(2, "0")}` : letter)).join("");
}

/** A name apart from the text around it, whatever its direction. */
export const named = (text) => el("bdi", { text: shown(text) });

export function counted(number, noun = "picture", plural = `${noun}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? noun : plural}`;
}

export const percent = (share) => `${(100 * share).toFixed(1)}%`;

export const points = (value) => `${value > 0 ? "+" : value < 0 ? "−" : "±"}${Math.abs(value).toFixed(1)}`;

/** Whether keys belong to what is typed into. */
export function isTyping(target) {
  return target instanceof HTMLElement && target.matches("input:not([type=checkbox],[type=file]), select, textarea");
}
