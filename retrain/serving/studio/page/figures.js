// How good the model is now, and what has changed since the last one.

import { scrollToClass, showOnly } from "./board.js";
import { $, button, counted, drawn, el, named, percent, points, shown } from "./dom.js";
import { store } from "./store.js";

const MOST_IN_MATRIX = 24; // classes; of more, the commonest confusions are listed
const MOST_LISTED = 30;
const NAMED = 3; // classes that the sentence on changes has itself
const pane = $("figures");

export function showFigures() {
  const figures = store.figures;
  if (!figures) {
    pane.replaceChildren(el("h2", { text: "The model" }), el("p", { class: "note", text: "The first model is on its way." }));
    return;
  }
  const parts = figures.problem ? [withoutModel(figures)] : [headline(figures), changes(figures), confusion(figures), history(figures), curve(figures)];
  pane.replaceChildren(...parts.flat().filter(Boolean), ...leftOut(figures));
}

function withoutModel(figures) {
  return [el("h2", { text: "No model yet" }), el("p", { class: "absent", text: `${figures.problem[0].toUpperCase()}${figures.problem.slice(1)}.`.replace(/\.\.$/, ".") })];
}

function headline({ headline: head, model, seconds, extracted }) {
  if (!head) return [el("h2", { text: `Model ${model}` }), el("p", { class: "absent", text: "There are no pictures to test it on yet. Add some." })];
  const [low, high] = head.interval;
  const place = (share) => (200 * share).toFixed(1);
  return [
    el("h2", { text: `Model ${model}` }),
    el("p", { class: "accuracy" }, el("strong", { text: percent(head.accuracy) }), " of answers are right"),
    drawn(
      "svg",
      { class: "interval", viewBox: "0 0 200 16", role: "img", "aria-label": `${percent(head.accuracy)}, 95% interval ${percent(low)} to ${percent(high)}` },
      drawn("rect", { class: "rail", x: 0, y: 6, width: 200, height: 4, rx: 2 }),
      drawn("rect", { class: "between", x: place(low), y: 4, width: Math.max(1, place(high) - place(low)).toFixed(1), height: 8, rx: 2 }),
      drawn("rect", { class: "point", x: Math.max(0, place(head.accuracy) - 1.5), y: 1, width: 3, height: 14 }),
    ),
    el("p", { class: "note", text: `95% interval ${percent(low)} to ${percent(high)}, of ${tested(head)}` }),
    seconds ? el("p", { class: "note", text: `made in ${seconds.toFixed(1)} s${extracted ? `, with ${counted(extracted, "new picture")}` : ""}` }) : null,
  ];
}

function tested({ pictures, how }) {
  return how === "test set" ? counted(pictures, "test picture") : `${counted(pictures)}, ${how}`;
}

function changes({ changes: found }) {
  if (!found) return [];
  const links = [
    found.now_right.length ? button(`Show the ${counted(found.now_right.length)} now right`, () => showOnly(found.now_right, "Now right, wrong before")) : null,
    found.now_wrong.length ? button(`Show the ${counted(found.now_wrong.length)} now wrong`, () => showOnly(found.now_wrong, "Now wrong, right before")) : null,
  ].filter(Boolean);
  const classes = (found.classes.length > NAMED ? found.classes.slice(0, 2 * NAMED) : []).map(([label, difference]) =>
    el("li", {}, named(label), el("span", { class: difference > 0 ? "right" : "wrong", text: ` ${points(difference)}` })),
  );
  return [
    el("h3", { text: "Since the last model" }),
    el("p", { text: sentence(found.sentence) }),
    classes.length ? el("ul", { class: "differences" }, ...classes) : null,
    links.length ? el("p", { class: "buttons" }, ...links) : null,
  ];
}

function sentence(text) {
  const shownText = shown(text);
  return `${shownText[0].toUpperCase()}${shownText.slice(1)}.`;
}

// Charts

function history({ history: models }) {
  if (models.length < 2) return [];
  const last = models.slice(-60);
  const lines = [{ kind: "train", name: "accuracy", points: last.map(([version, accuracy]) => [version, accuracy]) }];
  return chart("Accuracy of the models so far", lines, "model", 90);
}

function curve({ curve: steps }) {
  if (steps.length < 2) return [];
  const validation = steps.filter((one) => one[2] !== null);
  const lines = [{ kind: "train", name: "training", points: steps.map(([step, share]) => [step, share]) }];
  if (validation.length > 1) lines.push({ kind: "validation", name: "validation", points: validation.map(([step, , share]) => [step, share]) });
  return chart("Accuracy during training", lines, "step");
}

function chart(title, lines, unit, bottom = 140) {
  const [width, height, left, right, top] = [360, bottom + 30, 44, 350, 10];
  const xs = lines.flatMap((line) => line.points.map(([x]) => x));
  const ys = lines.flatMap((line) => line.points.map(([, y]) => y));
  const [least, most] = [Math.min(...xs), Math.max(...xs)];
  const floor = Math.max(0, Math.floor(10 * Math.min(...ys) - 0.5) / 10);
  const x = (value) => left + ((value - least) / Math.max(1e-9, most - least)) * (right - left);
  const y = (value) => bottom - ((value - floor) / (1 - floor)) * (bottom - top);
  const ticks = [floor, (floor + 1) / 2, 1];
  const ends = lines.map((line) => `${line.name} ${percent(line.points.at(-1)[1])}`).join(", ");
  const plot = drawn("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}, at the end: ${ends}` });
  for (const tick of ticks) {
    plot.append(drawn("path", { class: "grid", d: `M${left} ${y(tick)}H${right}` }), label(left - 6, y(tick) + 4, "end", `${Math.round(100 * tick)}%`));
  }
  plot.append(label(left, bottom + 18, "start", `${unit} ${least.toLocaleString("en")}`), label(right, bottom + 18, "end", most.toLocaleString("en")));
  for (const line of lines) {
    const path = line.points.map(([a, b], at) => `${at ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
    const [endX, endY] = line.points.at(-1);
    plot.append(drawn("g", { class: line.kind }, drawn("path", { d: path }), drawn("circle", { cx: x(endX), cy: y(endY), r: 3.5 })));
  }
  const legend = lines.length > 1
    ? el("ul", { class: "legend" }, ...lines.map((line) => el("li", {}, drawn("svg", { class: line.kind, viewBox: "0 0 24 8", "aria-hidden": "true" }, drawn("path", { d: "M0 4H24" })), line.name)))
    : null;
  return [el("figure", { class: "chart" }, el("figcaption", { text: title }), legend, plot)];
}

function label(x, y, anchor, text) {
  const element = drawn("text", { x, y, "text-anchor": anchor });
  element.textContent = text;
  return element;
}

// What is confused with what

function confusion(figures) {
  if (!figures.confusion.length) return [];
  const wrong = figures.confusion.filter(([row, column]) => row !== column).sort((one, other) => other[2] - one[2]);
  const title = el("h3", { text: "What is confused with what" });
  if (!wrong.length) return [title, el("p", { text: "Nothing: all tested pictures get their label." })];
  return figures.labels.length <= MOST_IN_MATRIX ? [title, matrix(figures)] : [title, pairs(figures, wrong)];
}

function matrix({ labels, classes, confusion: cells }) {
  const totals = labels.map(() => 0);
  for (const [row, , count] of cells) totals[row] += count;
  const at = new Map(cells.map((cell) => [`${cell[0]} ${cell[1]}`, cell]));
  const head = el("thead", {}, el("tr", {}, el("td"), ...labels.map((name) => el("th", { scope: "col" }, el("span", { title: shown(name) }, named(name))))));
  const rows = labels.map((name, row) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, el("span", { title: shown(name) }, named(name))),
      ...labels.map((answer, column) => cellOf(at.get(`${row} ${column}`), totals[row], [name, answer], classes[row])),
    ),
  );
  const kind = labels.length > 12 ? "matrix dense" : labels.length > 6 ? "matrix many" : "matrix";
  return el(
    "div",
    {},
    el("p", { class: "note", text: "Rows: the label. Columns: the answer. Click a cell to see its pictures." }),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Confusion matrix" }, el("table", { class: kind }, head, el("tbody", {}, ...rows))),
  );
}

function cellOf(cell, total, [name, answer], about) {
  if (!cell) return el("td");
  const [row, column, count, ids] = cell;
  const shade = Math.max(1, Math.ceil((10 * count) / total));
  const kind = `${row === column ? "hit" : "miss"} s${shade}`;
  if (row === column) return el("td", { class: kind }, el("button", { type: "button", class: "cell-button", title: `${shown(name)}: ${count} right`, text: count, on: { click: () => scrollToClass(about.folder) } }));
  const title = `${shown(name)} taken for ${shown(answer)}`;
  return el("td", { class: kind }, el("button", { type: "button", class: "cell-button", "aria-label": `${title}: ${count}`, title, text: count, on: { click: () => showOnly(ids, title) } }));
}

function pairs({ labels }, wrong) {
  const rows = wrong.slice(0, MOST_LISTED).map(([row, column, count, ids]) =>
    pair(`${shown(labels[row])} taken for ${shown(labels[column])}`, count, ids),
  );
  const more = wrong.length - rows.length;
  return el("div", {}, el("ul", { class: "pairs" }, ...rows), more > 0 ? el("p", { class: "note", text: `and ${more.toLocaleString("en")} more pairs` }) : null);
}

function pair(title, count, ids) {
  return el("li", {}, el("button", { type: "button", text: title, on: { click: () => showOnly(ids, title) } }), el("span", { class: "note", text: count.toLocaleString("en") }));
}

function leftOut(figures) {
  const skipped = Object.keys(figures.skipped).map(Number);
  const parts = [];
  if (skipped.length) parts.push(el("p", { class: "note" }, `${counted(skipped.length, "file")} can't be read. `, button("Show them", () => showOnly(skipped, "Files that can't be read"))));
  if (figures.waiting) parts.push(el("p", { class: "note", text: `${counted(figures.waiting, "file")} still being written.` }));
  if (figures.warnings.length) {
    parts.push(el("details", {}, el("summary", { text: counted(figures.warnings.length, "warning") }), el("ul", { class: "warnings" }, ...figures.warnings.map((text) => el("li", { text: shown(text) })))));
  }
  return parts;
}
