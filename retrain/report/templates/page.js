"use strict";
// The page shows everything without this script, which sorts tables, moves the threshold, shows the pictures of one cell
// at a time, and keeps heat maps on.

document.documentElement.classList.add("js");

// Tables: a click on a heading sorts by its column, a second click the other way round.

function figureOf(cell) {
  return cell.matches("th, .text") ? NaN : parseFloat(cell.textContent.replaceAll(",", ""));
}

function compareCells(first, second) {
  const [one, other] = [figureOf(first), figureOf(second)];
  if (!isNaN(one) && !isNaN(other)) return one - other;
  if (isNaN(one) && isNaN(other)) return first.textContent.localeCompare(second.textContent, undefined, { numeric: true });
  return isNaN(one) ? -1 : 1;
}

function sortBy(heading) {
  const table = heading.closest("table");
  const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  const column = heading.cellIndex;
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort((a, b) => sign * compareCells(a.cells[column], b.cells[column])));
}

for (const heading of document.querySelectorAll("table.sortable thead th:not(.drawn)")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = heading.textContent;
  button.addEventListener("click", () => sortBy(heading));
  heading.replaceChildren(button);
}

// The threshold: the slider chooses a row of the table of all thresholds.

function share(part, whole) {
  return whole ? `${((100 * part) / whole).toFixed(1)}%` : "-";
}

function startThresholds(slider) {
  const box = slider.closest(".threshold");
  const rows = [...document.querySelector("#thresholds tbody").rows];
  const figures = rows.map((row) => [...row.cells].map(figureOf));
  const perClass = [...document.querySelector("#class-thresholds tbody").rows].map((row) => ({
    cells: row.cells,
    answered: row.dataset.answered.split(" ").map(Number),
    right: row.dataset.right.split(" ").map(Number),
  }));
  const all = Math.max(...figures.map((row) => row[1]));
  const plot = box.querySelector("svg.plot");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("class", "chosen");
  plot?.append(line);

  function show(place, text) {
    for (const element of box.querySelectorAll(`[data-shows="${place}"]`)) element.textContent = text;
  }

  function move() {
    const number = Number(slider.value);
    const [threshold, answered, correct] = figures[number];
    const shown = threshold.toFixed(2);
    box.querySelector("output").textContent = shown;
    slider.setAttribute("aria-valuetext", shown);
    show("threshold", shown);
    show("answered", share(answered, all));
    show("answered-of", `${answered.toLocaleString("en")} of ${all.toLocaleString("en")}`);
    show("right", share(correct, answered));
    show("right-of", `${correct.toLocaleString("en")} of ${answered.toLocaleString("en")}`);
    rows.forEach((row, place) => row.classList.toggle("chosen", place === number));
    for (const row of perClass) {
      row.cells[2].textContent = row.answered[number].toLocaleString("en");
      row.cells[3].textContent = row.right[number].toLocaleString("en");
      row.cells[4].textContent = share(row.right[number], row.answered[number]);
    }
    if (plot) {
      const [left, right, top, bottom] = ["left", "right", "top", "bottom"].map((side) => Number(plot.dataset[side]));
      line.setAttribute("d", `M${left + threshold * (right - left)} ${top}V${bottom}`);
    }
  }

  for (const hidden of box.querySelectorAll("[hidden]")) hidden.hidden = false;
  slider.addEventListener("input", move);
  move();
}

const slider = document.getElementById("threshold");
if (slider) startThresholds(slider);

// The confusion matrix: the style sheet shows the pictures of the cell that the address names.

function markCell() {
  for (const link of document.querySelectorAll("a[aria-current]")) link.removeAttribute("aria-current");
  if (/^#cell-\d+-\d+$/.test(location.hash)) {
    document.querySelector(`a[href="${location.hash}"]`)?.setAttribute("aria-current", "true");
    document.querySelector(location.hash)?.focus();
  }
}

addEventListener("hashchange", markCell);
markCell();

// Heat maps: the style sheet shows them while a picture is pointed at; a click keeps them.

for (const button of document.querySelectorAll("button.heated")) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
  });
}

const all = document.getElementById("all-heat");
if (all) {
  all.closest("label").hidden = false;
  all.addEventListener("change", () => {
    for (const button of document.querySelectorAll("button.heated")) button.setAttribute("aria-pressed", String(all.checked));
  });
}
