"use strict";
// Pictures come from a drop, the clipboard, a choice of files or the camera. Each is asked about by itself, a few at a
// time, so that one that can't be read fails alone, and the first answers are there at once.

const AT_ONCE = 4;
const MOST_SCORES = 5;
const THUMBNAIL = 320; // pixels of the longer side
const MOST_TRIES = 120; // while the server has too much to do

const place = document.getElementById("pictures");
if (place) start(place);

function start(section) {
  const model = encodeURIComponent(section.dataset.model);
  const [status, clear, list, template] = ["status", "clear", "answers", "answer"].map((id) => document.getElementById(id));
  let queue = []; // of cards that wait
  let running = 0;
  let cards = [];

  // From events to files

  function take(files) {
    const found = [...files];
    if (!found.length) {
      status.textContent = "There is no picture in that.";
      return;
    }
    const added = found.map(makeCard);
    list.prepend(...added.map((card) => card.element));
    cards = [...added, ...cards];
    queue.push(...added);
    clear.hidden = false;
    tell();
    work();
  }

  for (const id of ["files", "camera"]) {
    const input = document.getElementById(id);
    input.addEventListener("change", () => {
      take(input.files);
      input.value = ""; // the same file can be chosen again
    });
  }
  addEventListener("paste", (event) => {
    if (event.clipboardData) take(event.clipboardData.files);
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    section.classList.add("over");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) section.classList.remove("over");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    section.classList.remove("over");
    take(event.dataTransfer.files);
  });
  clear.addEventListener("click", () => {
    cards = [];
    queue = [];
    list.replaceChildren();
    clear.hidden = true;
    status.textContent = "";
    document.getElementById("files").focus();
  });

  // A picture and its answer

  function makeCard(file) {
    const element = template.content.firstElementChild.cloneNode(true);
    const card = { file, element, state: "waiting", label: "", labels: [] };
    find(card, ".path").textContent = file.name || "pasted picture";
    const picture = find(card, "canvas");
    picture.setAttribute("aria-label", file.name || "pasted picture");
    find(card, ".explain").addEventListener("click", () => explain(card));
    find(card, ".again").addEventListener("click", () => {
      find(card, ".again").hidden = true;
      card.state = "waiting";
      element.classList.remove("failed");
      find(card, ".is").textContent = "waiting ...";
      queue.push(card);
      work();
    });
    return card;
  }

  async function work() {
    if (running >= AT_ONCE || !queue.length) return;
    running += 1;
    const card = queue.shift();
    work();
    try {
      await classify(card);
    } finally {
      card.element.setAttribute("aria-busy", "false");
      running -= 1;
      tell();
      work();
    }
  }

  async function classify(card) {
    try {
      await card.file.slice(0, 1).arrayBuffer(); // fails for a folder, and for a file that is gone
    } catch {
      fail(card, "can't be read: is it a folder?");
      return;
    }
    await draw(card);
    const answer = await ask(`/predict/${model}`, card.file);
    if (answer.error) {
      fail(card, answer.error, answer.again);
      return;
    }
    const [prediction] = answer.predictions;
    card.state = "done";
    const scores = Object.entries(prediction.scores).sort((one, other) => other[1] - one[1]);
    const isUnknown = prediction.known < 0.5; // a model that tells pictures of no class says how known they are
    card.labels = prediction.labels || [prediction.label]; // where it can have several: those that it has
    card.label = isUnknown ? scores[0][0] : card.labels[0] ?? prediction.label; // what the heat map is for
    if (isUnknown || prediction.labels) find(card, ".explain").textContent = `What spoke for ${card.label}`;
    const given = card.labels.map((label) => (isUnknown ? label : `${label} ${percent(prediction.scores[label])}`));
    find(card, ".is").textContent = given.join(", ") || "no label";
    const shown = scores.slice(0, Math.max(MOST_SCORES, card.labels.length));
    find(card, ".scores").replaceChildren(...shown.map(([label, score]) => bar(label, score, prediction.thresholds?.[label])));
    find(card, ".explain").hidden = false;
  }

  function fail(card, why, again = false) {
    card.state = "failed";
    card.element.classList.add("failed");
    find(card, ".is").textContent = why;
    find(card, ".again").hidden = !again;
  }

  // What spoke for the label is asked for at the first click, and shown or hidden by the others.

  async function explain(card) {
    const [button, heat, note] = [".explain", ".heat", ".said .note"].map((name) => find(card, name));
    if (!heat.src) {
      button.disabled = true;
      const answer = await ask(`/explain/${model}?label=${encodeURIComponent(card.label)}`, card.file);
      button.disabled = false;
      note.textContent = answer.error || answer.sentence;
      note.hidden = false;
      if (answer.error) {
        button.hidden = !answer.again;
        return;
      }
      heat.src = `data:image/png;base64,${answer.heat_map}`;
      button.focus();
    }
    const shows = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(shows));
    heat.hidden = note.hidden = !shows;
  }

  // The server

  async function ask(url, file) {
    for (let tries = 1; ; tries += 1) {
      let response;
      try {
        response = await fetch(url, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
      } catch {
        return { error: "the server can't be reached", again: true };
      }
      const answer = await response.json().catch(() => ({ error: `the server answered with ${response.status}` }));
      if (response.status === 401) location.reload(); // the page asks for the token
      if (response.status !== 503) return answer;
      if (tries === MOST_TRIES) return { ...answer, again: true };
      await new Promise((done) => setTimeout(done, 1000 * (Number(response.headers.get("Retry-After")) || 1)));
    }
  }

  // What is shown

  async function draw(card) {
    const canvas = find(card, "canvas");
    try {
      const whole = await createImageBitmap(card.file);
      const scale = Math.min(1, THUMBNAIL / Math.max(whole.width, whole.height));
      [canvas.width, canvas.height] = [whole.width, whole.height].map((side) => Math.max(1, Math.round(side * scale)));
      canvas.getContext("2d").drawImage(whole, 0, 0, canvas.width, canvas.height);
      whole.close();
    } catch {
      canvas.setAttribute("aria-label", `${card.file.name}: this browser can't show it`);
    }
  }

  // A threshold is there where a picture can have several labels; those that it has get a tick.
  function bar(label, score, threshold) {
    const item = document.createElement("li");
    const isIn = score >= threshold;
    const texts = [isIn ? `\u2713\u00a0${label}` : label, percent(score)];
    if (threshold !== undefined) texts[1] += ` ${isIn ? "\u2265" : "<"} ${percent(threshold)}`;
    const [name, share] = texts.map((text) => {
      const part = document.createElement("span");
      part.textContent = text;
      return part;
    });
    const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [key, value] of [["viewBox", "0 0 100 1"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]]) drawing.setAttribute(key, value);
    drawing.append(rectangle({ width: 100 * score, height: 1 }));
    if (threshold !== undefined) drawing.append(rectangle({ class: "threshold", x: Math.min(99, 100 * threshold), width: 1, height: 1 }));
    item.append(name, share, drawing);
    return item;
  }

  function rectangle(attributes) {
    const found = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, String(value));
    return found;
  }

  function tell() {
    const done = cards.filter((card) => card.state !== "waiting");
    if (done.length < cards.length) {
      status.textContent = `${done.length} of ${counted(cards.length)}`;
      return;
    }
    if (!cards.length) return;
    const counts = new Map();
    for (const card of cards) {
      const names = card.state === "failed" ? ["without an answer"] : card.labels.length ? card.labels : ["without a label"];
      for (const name of names) counts.set(name, (counts.get(name) || 0) + 1);
    }
    const ranked = [...counts].sort((one, other) => other[1] - one[1]).slice(0, 10);
    status.textContent = `${counted(cards.length)}: ${ranked.map(([name, count]) => `${count} ${name}`).join(", ")}`;
  }

  function counted(count) {
    return `${count.toLocaleString("en")} picture${count === 1 ? "" : "s"}`;
  }

  function percent(share) {
    return `${(100 * share).toFixed(1)}%`;
  }

  function find(card, name) {
    return card.element.querySelector(name);
  }
}
