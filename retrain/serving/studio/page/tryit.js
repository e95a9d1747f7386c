// What the current model says of a picture that is not in the folder: a file, or what the camera sees.

import { add, isReadOnly } from "./actions.js";
import { $, button, el, named, percent } from "./dom.js";
import { ask } from "./server.js";

const EVERY = 400; // milliseconds between two looks of the camera
const SIDE = 640; // pixels of what the camera sees

const pane = $("try");
const image = el("img", { class: "tried", alt: "The picture", hidden: true, on: { error: () => (image.hidden = true) } });
const video = el("video", { class: "tried", autoplay: true, playsinline: true, muted: true, hidden: true, "aria-label": "Camera" });
const bars = el("ul", { class: "scores", "aria-label": "Scores" });
const status = el("p", { class: "note", role: "status" });
const input = el("input", { type: "file", accept: "image/*", id: "try-file", on: { change: () => take(input.files[0]) } });
const camera = button("Use the camera", () => (stream ? stop() : start()), { hidden: true });
const keep = button("Add it to a class ...", () => shownFile && add([shownFile]), { hidden: true });
const place = el("div", { class: "drop small-drop" }, el("p", { text: "Drop a picture here, or paste one." }), el("p", { class: "buttons" }, el("label", { class: "button small" }, "Choose a picture", input), camera));

let stream = null;
let shownFile = null;
let asked = 0;

pane.append(el("h2", { text: "Try it" }), place, image, video, bars, status, el("p", { class: "buttons" }, keep));

/** Asks what the model says of a picture, and shows it. */
export async function take(file) {
  if (!file) return;
  stop();
  input.value = "";
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(file);
  image.hidden = false;
  await classify(file);
}

async function classify(file) {
  const number = (asked += 1);
  try {
    const answer = await ask("/classify", { method: "POST", body: file });
    if (number !== asked) return;
    shownFile = file;
    status.textContent = stream ? "" : `It is ${answer.label}.`;
    bars.replaceChildren(...answer.scores.slice(0, 6).map(([name, score]) => bar(name, score)));
    keep.hidden = isReadOnly;
  } catch (error) {
    if (number !== asked) return;
    bars.replaceChildren();
    keep.hidden = true;
    status.textContent = error.message;
  }
}

function bar(name, score) {
  const rail = el("span", { class: "rail" }, el("span", { class: "filled" }));
  rail.firstChild.style.width = `${100 * score}%`;
  return el("li", {}, named(name), el("span", { text: percent(score) }), rail);
}

async function start() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    status.textContent = `The camera can't be used: ${error.message}`;
    return;
  }
  image.hidden = true;
  video.hidden = false;
  video.srcObject = stream;
  camera.textContent = "Stop the camera";
  watch();
}

async function watch() {
  const canvas = el("canvas");
  while (stream) {
    if (video.videoWidth && document.body.dataset.tab === "try" && !document.hidden) {
      const scale = Math.min(1, SIDE / Math.max(video.videoWidth, video.videoHeight));
      [canvas.width, canvas.height] = [video.videoWidth * scale, video.videoHeight * scale];
      canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
      const blob = await new Promise((made) => canvas.toBlob(made, "image/jpeg", 0.9));
      if (stream && blob) await classify(new File([blob], "camera.jpg", { type: "image/jpeg" }));
    }
    await new Promise((later) => setTimeout(later, EVERY));
  }
}

function stop() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  video.hidden = true;
  camera.textContent = "Use the camera";
}

navigator.mediaDevices?.enumerateDevices().then((found) => {
  camera.hidden = !found.some((device) => device.kind === "videoinput");
}, () => {});

pane.addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  place.classList.add("over");
});
pane.addEventListener("dragleave", () => place.classList.remove("over"));
pane.addEventListener("drop", (event) => {
  event.preventDefault();
  place.classList.remove("over");
  take(event.dataTransfer.files[0]);
});
