// What is asked of the server, and what it tells by itself.

const HEADER = { "X-Retrain-Studio": "1" };

/** The answer in JSON. Throws an Error whose message is for people. */
export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...HEADER, ...options.headers } });
  } catch {
    throw new Error("the studio does not answer: is it still running?");
  }
  const answer = await response.json().catch(() => ({ error: `the studio answered with ${response.status}` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

export function post(path, content) {
  return ask(path, { method: "POST", body: JSON.stringify(content), headers: { "Content-Type": "application/json" } });
}

const MOST_BYTES = 2 ** 27; // of the files of one request; what is more becomes several edits
const MOST_FILES = 10_000; // of one request

/** Adds files to a class: what was said about each request. */
export async function upload(className, files) {
  const answers = [];
  let form = new FormData();
  let [held, count] = [0, 0];
  const send = async () => {
    if (held) answers.push(await ask(`/pictures?class=${encodeURIComponent(JSON.stringify(className))}`, { method: "POST", body: form }));
    form = new FormData();
    [held, count] = [0, 0];
  };
  for (const file of files) {
    if (held + file.size > MOST_BYTES || count === MOST_FILES) await send();
    form.append("picture", file, file.name || "pasted.png");
    held += file.size + 1;
    count += 1;
  }
  await send();
  return answers;
}

const AGAIN = 1500; // milliseconds between tries
const HIDDEN = 10_000; // milliseconds until a page that nobody looks at hears nothing more

/** Calls handlers by the name of the event; `lost` gets why there is no connection, or null when it is back. */
export function listen(handlers) {
  // A browser has six connections to a server, for all pages together: a page that nobody looks at gives its own back.
  if (document.hidden) {
    document.addEventListener("visibilitychange", () => listen(handlers), { once: true });
    return;
  }
  const source = new EventSource("/events");
  let timer = 0;
  const leave = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => again(0), HIDDEN);
  };
  const again = (milliseconds) => {
    source.close();
    document.removeEventListener("visibilitychange", leave);
    setTimeout(() => listen(handlers), milliseconds);
  };
  document.addEventListener("visibilitychange", leave);
  for (const [kind, handler] of Object.entries(handlers)) {
    if (kind !== "lost") source.addEventListener(kind, (event) => handler(JSON.parse(event.data)));
  }
  source.addEventListener("hello", () => handlers.lost(null));
  source.addEventListener("error", async () => {
    const isOver = source.readyState === EventSource.CLOSED; // the browser does not try again
    const status = isOver ? await fetch("/events", { method: "HEAD" }).then((answer) => answer.status, () => 0) : 0;
    handlers.lost(
      status === 401
        ? "The studio was started again. Open the address that it printed; then this page goes on, too."
        : "The studio does not answer. This page goes on as soon as it is back.",
    );
    if (isOver) again(AGAIN);
  });
}

export const picture = (kind, one) => `/${kind}/${one.id}/${one.version}`;
