// What the page knows: the pictures and classes of the folder, and what the model says of them.

const SETTLED = 5000; // milliseconds after which a move is taken for done, whatever the listing says
const byName = new Intl.Collator("en", { numeric: true }).compare;

class Store extends EventTarget {
  instance = "";
  sequence = -1;
  classes = []; // names, sorted
  pictures = new Map(); // id -> { id, name, group, version }; group: the class, null for none
  groups = new Map(); // class or null -> ids, sorted by the names of the files
  said = new Map(); // id -> { set, answer, score }
  figures = null;
  passed = new Set();
  selected = new Set();
  pending = new Set(); // ids that are on the move
  edits = { undoable: null, redoable: null };
  state = { stage: "starting", done: 0, total: 0, problem: null };
  folderProblem = null;

  tell(kind) {
    this.dispatchEvent(new Event(kind));
  }

  on(kinds, listener) {
    for (const kind of kinds.split(" ")) this.addEventListener(kind, listener);
  }

  load(listing) {
    this.instance = listing.instance;
    this.pictures.clear();
    this.groups.clear();
    this.#take(listing);
    this.pending.clear();
    for (const id of this.selected) if (!this.pictures.has(id)) this.selected.delete(id);
    this.tell("listing");
  }

  /** Takes up a change; false if one before it was missed. */
  change(delta) {
    if (delta.sequence <= this.sequence) return true;
    if (delta.sequence !== this.sequence + 1) return false;
    const touched = new Set();
    for (const id of delta.gone) {
      touched.add(this.pictures.get(id)?.group);
      this.pictures.delete(id);
      this.selected.delete(id);
      this.pending.delete(id);
    }
    this.#take(delta, touched);
    const known = this.#settling.filter((one) => one.sequence <= this.sequence);
    this.#settling = this.#settling.filter((one) => one.sequence > this.sequence);
    for (const id of known.flatMap((one) => one.ids)) this.pending.delete(id);
    this.tell("listing");
    return true;
  }

  /** Pictures are where they were moved as soon as a change of the listing is known, or after a while. */
  settle(ids, sequence = 0) {
    if (sequence > this.sequence) {
      this.#settling.push({ ids, sequence });
      setTimeout(() => this.settle(ids), SETTLED);
      return;
    }
    const before = this.pending.size;
    for (const id of ids) this.pending.delete(id);
    if (this.pending.size < before) this.tell("pending");
  }

  #settling = []; // { ids, sequence } that is waited for

  #take({ sequence, classes, problem, pictures }, touched = null) {
    this.sequence = sequence;
    this.classes = classes;
    this.folderProblem = problem;
    const groups = touched ?? new Set();
    pictures.ids.forEach((id, at) => {
      const group = pictures.classes[at] < 0 ? null : classes[pictures.classes[at]];
      if (touched) touched.add(this.pictures.get(id)?.group);
      groups.add(group);
      this.pictures.set(id, { id, name: pictures.names[at], group, version: pictures.versions[at] });
      this.pending.delete(id);
    });
    this.#sort(groups);
    for (const group of this.groups.keys()) if (group !== null && !classes.includes(group)) this.groups.delete(group);
    for (const name of classes) if (!this.groups.has(name)) this.groups.set(name, []);
  }

  #sort(groups) {
    const found = new Map([...groups].map((group) => [group, []]));
    for (const one of this.pictures.values()) found.get(one.group)?.push(one);
    for (const [group, ones] of found) {
      if (group === undefined) continue;
      ones.sort((one, other) => byName(one.name, other.name));
      this.groups.set(group, ones.map((one) => one.id));
    }
  }

  figuresAre(figures) {
    this.figures = figures;
    this.said = new Map();
    const { ids, sets, answers, scores } = figures.pictures;
    const names = { t: "training", v: "validation", e: "test" };
    ids.forEach((id, at) => {
      const answer = answers[at] < 0 ? null : figures.labels[answers[at]];
      this.said.set(id, { set: names[sets[at]] ?? null, answer, score: scores[at] < 0 ? null : scores[at] / 100 });
    });
    this.labels = new Map(figures.classes.map((one) => [one.folder, one]));
    this.tell("figures");
  }

  labels = new Map(); // class -> its figures

  label(group) {
    return this.labels.get(group)?.label ?? group;
  }

  /** What the model says of a picture, if it is not the label that the picture has. */
  wrong(id) {
    const said = this.said.get(id);
    const group = this.pictures.get(id)?.group;
    return said?.answer && group !== null && said.answer !== this.label(group) ? said : null;
  }

  select(ids, { adds = false } = {}) {
    if (!adds) this.selected.clear();
    for (const id of ids) this.selected.add(id);
    this.tell("selection");
  }

  toggle(id) {
    if (!this.selected.delete(id)) this.selected.add(id);
    this.tell("selection");
  }

  set(name, value) {
    this[name] = value;
    this.tell(name);
  }
}

export const store = new Store();
