// Groups of copies, to choose from. What was chosen is kept in Python; this file shows it and passes on what is pressed.

const KEEP_URLS = 600, KEEP_LARGE = 12, BATCH = 12, PATIENCE = 15000;
const MOST = 50000; // groups in the list at a time: a browser cannot scroll farther than some 17 million pixels
const SILENCE = "No answer from Python so far: the kernel is busy, or it was restarted (then run the cell again).";
const WORDS = { keeper: "keep", stays: "stays", goes: "goes" };

const count = (n) => n.toLocaleString("en-US");
const plural = (n, one, many = one + "s") => `${count(n)} ${n === 1 ? one : many}`;
const bytes = (b) => (b < 1e6 ? `${count(Math.max(Math.round(b / 1e3), b ? 1 : 0))} kB` : `${(b / 1e6).toFixed(1).replace(/\B(?=(\d{3})+\.)/g, ",")} MB`);

/** An element with properties, attributes (`role`, `aria-...`) and children; text is never read as HTML. */
function h(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) {
    if (k in e) e[k] = v;
    else e.setAttribute(k, v);
  }
  e.append(...children.filter((c) => c !== null));
  return e;
}

async function copyText(text, shown) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // not allowed here, as on a page without https
    getSelection().selectAllChildren(shown);
    document.execCommand("copy");
  }
}

/** Keeps the newest `limit` object URLs. */
class Pictures extends Map {
  constructor(limit) { super(); this.limit = limit; }
  add(key, buffer) {
    if (this.has(key)) URL.revokeObjectURL(this.get(key));
    this.delete(key);
    this.set(key, URL.createObjectURL(new Blob([buffer], { type: "image/jpeg" })));
    for (const [old, url] of this) {
      if (this.size <= this.limit) break;
      URL.revokeObjectURL(url);
      this.delete(old);
    }
  }
  forget() {
    for (const url of this.values()) URL.revokeObjectURL(url);
    this.clear();
  }
}

class View {
  constructor(model, el) {
    this.model = model;
    this.uid = `rv${Math.random().toString(36).slice(2)}`;
    this.version = 0;
    this.totals = { groups: 0, copies: 0, bytes: 0, skipped: 0, undo: 0 };
    this.rows = new Map(); // what is known of the groups
    this.cards = new Map(); // the elements of those near the viewport
    this.small = new Pictures(KEEP_URLS);
    this.large = new Pictures(KEEP_LARGE);
    this.asked = new Map(); // what is on its way, and since when
    this.seen = new Set(); // groups that were on the screen
    this.root = el.appendChild(h("div", { className: "rv-review", "data-lm-suppress-shortcuts": "true" }));
    for (const type of ["keydown", "keyup", "keypress"]) this.root.addEventListener(type, (e) => e.stopPropagation());
    this.build();
    this.onMessage = (message, buffers) => {
      clearTimeout(this.silence);
      if (this.wrong.textContent === SILENCE) this.wrong.textContent = "";
      this[`on_${message.kind}`]?.(message, buffers);
    };
    model.on("msg:custom", this.onMessage);
    this.resized = new ResizeObserver(() => this.measure());
    this.resized.observe(this.list);
    this.resized.observe(this.probe);
    this.send("ready");
  }

  destroy() {
    this.model.off("msg:custom", this.onMessage);
    this.resized.disconnect();
    clearTimeout(this.later);
    clearTimeout(this.silence);
    this.small.forget();
    this.large.forget();
  }

  send(what, more = {}) {
    this.model.send({ do: what, ...more });
    clearTimeout(this.silence);
    if (what !== "confirm") this.silence = setTimeout(() => (this.wrong.textContent = SILENCE), PATIENCE); // moving takes what it takes
  }
  choose(what, more) { this.send(what, { version: this.version, ...more }); }

  /** Ask once, and again only when an answer did not come. */
  ask(what, more) {
    const since = this.asked.get(what);
    if (since && Date.now() - since < PATIENCE) return;
    this.asked.set(what, Date.now());
    this.choose(what, more);
  }

  // The parts

  build() {
    const button = (text, onclick, className = "", title = "") => h("button", { type: "button", textContent: text, onclick, className, title });
    this.sum = h("div", { className: "rv-sum", role: "status" });
    this.undo = button("Undo", () => this.send("undo"), "", "Take the last choice back (U)");
    this.save = button("Save as CSV", () => this.send("save"), "", "A table of what is kept and what goes, in the current folder");
    this.move = button("Move copies to…", () => this.offer("move"));
    this.remove = button("Delete…", () => this.offer("delete"), "rv-danger");
    this.said = h("div", { className: "rv-said", role: "status" });
    this.wrong = h("div", { className: "rv-wrong", role: "alert" });
    this.inner = h("div", { className: "rv-inner" });
    this.probe = h("article", { className: "rv-group rv-probe", "aria-hidden": "true" });
    this.list = h("div", { className: "rv-list", role: "list", "aria-label": "Groups of copies" }, this.probe, this.inner);
    this.list.addEventListener("scroll", () => this.draw(), { passive: true });
    this.list.addEventListener("keydown", (e) => this.key(e));
    this.keys = h("p", { className: "rv-keys" });
    for (const [keys, what] of [["↑ ↓", "group"], ["1–9", "keep"], ["Shift 1–9", "keep too"], ["S", "skip"], ["C", "compare"], ["U", "undo"]])
      this.keys.append(h("span", {}, ...keys.split(" ").flatMap((k) => [h("kbd", { textContent: k }), " "]), what));
    this.code = h("code");
    const copy = button("Copy", async () => {
      await copyText(this.code.textContent, this.code);
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy"), 1500);
    });
    this.python = h("details", { className: "rv-python", ontoggle: () => this.python.open && this.send("code") },
      h("summary", { textContent: "The same in Python" }),
      h("div", { className: "rv-code" }, h("pre", {}, this.code), copy),
      h("p", {}, h("code", { textContent: "found" }), " is what ", h("code", { textContent: "review()" }), " was called on, as in ",
        h("code", { textContent: "found = rec.duplicates()" }), ". In the next cell, ", h("code", { textContent: ".decision" }), " of this interface is the same."));
    this.plan = h("dialog", { className: "rv-plan", "aria-label": "What would be done" });
    this.plan.addEventListener("cancel", (e) => this.busy && e.preventDefault());
    this.compare = h("dialog", { className: "rv-compare", "aria-label": "Two images side by side" });
    this.compare.addEventListener("keydown", (e) => this.compareKey(e));
    this.root.append(
      h("div", { className: "rv-bar" }, this.sum, h("div", { className: "rv-buttons" }, this.undo, this.save, this.move, this.remove)),
      this.wrong, this.said, this.list, this.keys, this.python, this.plan, this.compare);
  }

  showTotals() {
    const t = this.totals, none = !t.groups;
    this.sum.replaceChildren(...(none ? [h("b", { textContent: this.message || "" })] : [
      h("b", { textContent: t.copies === 1 ? "1 copy goes" : `${count(t.copies)} copies go` }), `, ${bytes(t.bytes)}`,
      h("span", { className: "rv-quiet", textContent: ` · ${plural(t.groups, "group")}${t.groups > MOST ? `, the first ${count(MOST)} shown` : ""}${t.skipped ? `, ${count(t.skipped)} skipped` : ""}` })]));
    this.undo.disabled = !t.undo;
    for (const b of [this.save, this.move, this.remove]) b.disabled = !t.copies;
    this.list.hidden = this.keys.hidden = this.python.hidden = none;
    if (this.python.open) this.send("code");
  }

  say(text) { this.said.textContent = text; this.wrong.textContent = ""; }

  // What Python tells

  on_all({ version, totals, message, folder, root }) {
    const fresh = version !== this.version;
    Object.assign(this, { version, totals, message, folder, place: root });
    if (fresh) {
      this.rows.clear();
      this.small.forget();
      this.large.forget();
      this.asked.clear();
      this.seen.clear();
      for (const card of this.cards.values()) card.root.remove();
      this.cards.clear();
      if (this.compare.open) this.compare.close();
    }
    this.showTotals();
    this.measure();
  }

  on_rows({ version, rows }) {
    this.asked.delete("rows");
    if (version !== this.version) return;
    for (const r of rows) this.rows.set(r.group, r);
    this.draw();
    if (this.compare.open) this.showCompare();
  }

  on_changed({ version, row, totals, undone }) {
    if (version !== this.version) return;
    this.totals = totals;
    this.rows.set(row.group, row);
    this.cards.get(row.group)?.fill(row);
    this.showTotals();
    this.wrong.textContent = "";
    if (undone && !this.compare.open) this.reveal(row.group);
    if (this.compare.open) this.showCompare();
  }

  on_pictures({ version, keys }, buffers) {
    this.asked.delete("pictures");
    if (version !== this.version) return;
    keys.forEach(([n, i], k) => {
      this.small.add(`${n}/${i}`, buffers[k]);
      this.cards.get(n)?.picture(i);
    });
    this.draw();
  }

  on_large({ version, group, image }, buffers) {
    this.asked.delete(`large ${group}/${image}`);
    if (version !== this.version) return;
    this.large.add(`${group}/${image}`, buffers[0]);
    if (this.compare.open) this.showCompare();
  }

  on_code({ text }) { this.code.textContent = text; }
  on_said({ text }) { this.say(text); }

  on_outcome({ text }) {
    this.busy = false;
    this.plan.close();
    this.say(text);
  }

  on_problem({ text, at, open, asked }) {
    this.busy = false;
    for (const [n, card] of this.cards) card.fill(this.rows.get(n)); // as it is in Python
    if (this.plan.open && (at === "offer" || at === "confirm")) {
      if (at === "offer" && this.outdated({ asked })) return;
      this.planWrong.textContent = text;
      if (!open) this.dropPlan();
      else if (this.confirm) Object.assign(this.confirm, { disabled: false, textContent: this.yes });
    } else this.wrong.textContent = text;
  }

  // The list: only the groups near the viewport are elements

  measure() {
    this.height = this.probe.offsetHeight || this.height || 280;
    this.inner.style.height = `${this.height * Math.min(this.totals.groups, MOST)}px`;
    for (const [n, card] of this.cards) card.root.style.top = `${n * this.height}px`;
    this.draw();
  }

  range(margin) {
    const top = this.list.scrollTop / this.height, bottom = (this.list.scrollTop + this.list.clientHeight) / this.height;
    return [Math.max(Math.floor(top) - margin, 0), Math.min(Math.ceil(bottom) + margin, this.totals.groups, MOST)];
  }

  draw() {
    if (!this.totals.groups || !this.height || !this.list.clientHeight) return;
    const [from, to] = this.range(2), missing = [], wanted = [], [first, last] = this.range(0);
    for (const [n, card] of this.cards) {
      if ((n < from || n >= to) && !card.root.contains(document.activeElement)) {
        card.root.remove();
        this.cards.delete(n);
      }
    }
    for (let n = from; n < to; n++) {
      if (!this.rows.has(n)) { missing.push(n); continue; }
      if (n >= first && n < last) this.seen.add(n);
      if (!this.cards.has(n)) {
        const card = new GroupCard(this, n), next = [...this.cards.keys()].filter((m) => m > n).sort((a, b) => a - b)[0];
        this.inner.insertBefore(card.root, next === undefined ? null : this.cards.get(next).root); // in reading order
        this.cards.set(n, card);
        card.fill(this.rows.get(n));
      }
      this.rows.get(n).images.forEach((_, i) => {
        if (!this.small.has(`${n}/${i}`) && this.cards.get(n).inSight(i)) wanted.push([n, i]);
      });
    }
    if (missing.length) this.ask("rows", { start: missing[0], stop: missing.at(-1) + 1 });
    const seen = ([n]) => (n >= first && n < last ? 0 : 1);
    if (wanted.length) this.ask("pictures", { want: wanted.sort((a, b) => seen(a) - seen(b)).slice(0, BATCH) });
    clearTimeout(this.later);
    if (missing.length || wanted.length) this.later = setTimeout(() => this.draw(), PATIENCE + 100);
  }

  reveal(n) {
    const top = n * this.height, bottom = top + this.height - this.list.clientHeight;
    if (this.list.scrollTop > top) this.list.scrollTop = top;
    else if (this.list.scrollTop < bottom) this.list.scrollTop = Math.min(bottom, top);
    this.draw();
  }

  focus(n) {
    if (n < 0 || n >= Math.min(this.totals.groups, MOST)) return;
    this.reveal(n);
    this.cards.get(n)?.root.focus();
  }

  key(e) {
    const card = e.target.closest(".rv-group"), key = e.key.toLowerCase();
    if ((e.ctrlKey || e.metaKey) && key === "z" || !(e.ctrlKey || e.metaKey || e.altKey) && key === "u") {
      e.preventDefault();
      return this.send("undo");
    }
    if (!card || e.ctrlKey || e.metaKey || e.altKey) return;
    const group = Number(card.dataset.group), row = this.rows.get(group), radio = e.target.type === "radio";
    const digit = /^Digit[1-9]$/.test(e.code) ? Number(e.code[5]) : /^[1-9]$/.test(e.key) ? Number(e.key) : 0;
    if (digit && digit <= row.images.length) {
      const image = digit - 1;
      if (e.shiftKey && !/^[1-9]$/.test(e.key)) this.choose("keep_too", { group, image, on: row.images[image].state === "goes" });
      else this.choose("keep", { group, image });
    } else if (key === "s") this.choose("skip", { group, on: !row.skip });
    else if (key === "c" || key === "enter" && e.target === card) this.openCompare(group);
    else if (key === "arrowdown" && !radio) this.focus(group + 1);
    else if (key === "arrowup" && !radio) this.focus(group - 1);
    else return;
    e.preventDefault();
  }

  // The plan, and the yes to it

  offer(action) {
    this.wrong.textContent = this.said.textContent = "";
    this.action = action;
    const cancel = h("button", { type: "button", textContent: "Cancel", onclick: () => this.plan.close() });
    this.planWrong = h("div", { className: "rv-wrong", role: "alert" });
    this.planText = h("div", { className: "rv-plan-text" });
    this.confirm = null;
    this.planFoot = h("div", { className: "rv-plan-foot" }, cancel);
    const head = h("h3", { textContent: action === "move" ? "Move the copies" : "Delete the copies" });
    const parts = [head];
    if (action === "move") {
      this.target = h("input", { type: "text", value: this.folder, spellcheck: false });
      this.target.addEventListener("input", () => {
        this.planWrong.textContent = "";
        this.dropPlan();
      });
      this.target.addEventListener("keydown", (e) => e.key === "Enter" && this.askPlan());
      parts.push(h("label", { className: "rv-field" }, "Folder for the copies, outside of the library", this.target));
    }
    this.plan.replaceChildren(...parts, this.planWrong, this.planText, this.planFoot);
    this.plan.showModal();
    this.askPlan();
  }

  /** Whether an answer is about another folder than the one that is named by now. */
  outdated({ asked }) { return this.action === "move" && asked !== this.target.value; }

  dropPlan() {
    this.planText.replaceChildren();
    this.confirm?.remove();
    this.again ??= h("button", { type: "button", textContent: "Show the plan", onclick: () => this.askPlan() });
    this.planFoot.append(this.again);
  }

  askPlan() {
    this.planWrong.textContent = "";
    this.waiting = true;
    this.model.send({ do: "seen", version: this.version, groups: [...this.seen] });
    this.send("offer", this.action === "move" ? { action: "move", folder: this.target.value } : { action: "delete" });
  }

  on_offer(o) {
    if (!this.waiting || !this.plan.open || this.outdated(o)) return;
    this.waiting = false;
    if (this.action === "move") this.folder = this.target.value;
    this.again?.remove();
    this.confirm?.remove();
    const text = [h("p", { className: "rv-plan-words", textContent: o.words })];
    if (o.unseen) text.push(h("p", { className: "rv-note", textContent: o.unseen }));
    if (o.left) text.push(h("p", { className: "rv-note", textContent: o.left }));
    if (o.names.length) {
      text.push(h("ul", {}, ...o.names.map((name) => h("li", { textContent: name })), o.more ? h("li", { className: "rv-quiet", textContent: `and ${count(o.more)} more` }) : null));
    }
    const code = h("code", { textContent: o.code });
    text.push(h("details", {}, h("summary", { textContent: "The same in Python" }), h("pre", {}, code)));
    this.yes = `${o.action === "move" ? "Move" : "Delete"} ${plural(o.count, "file")}`;
    this.confirm = h("button", { type: "button", className: o.action === "move" ? "rv-main" : "rv-danger rv-main", textContent: this.yes });
    const typed = h("input", { type: "text", autocomplete: "off", spellcheck: false, "aria-label": `Type ${o.count} or delete` });
    const fits = () => o.count > 0 && (o.action === "move" || ["delete", String(o.count)].includes(typed.value.trim().toLowerCase().replaceAll(",", "")));
    const yes = () => {
      if (this.busy || !fits()) return;
      this.busy = true;
      this.planWrong.textContent = "";
      this.confirm.disabled = true;
      this.confirm.textContent = o.action === "move" ? "Moving…" : "Deleting…";
      this.send("confirm", { token: o.token, typed: typed.value });
    };
    this.confirm.disabled = !fits();
    this.confirm.onclick = yes;
    if (o.action === "delete" && o.count) {
      typed.addEventListener("input", () => (this.confirm.disabled = !fits()));
      typed.addEventListener("keydown", (e) => e.key === "Enter" && yes());
      text.push(h("label", { className: "rv-field" }, "To confirm, type ", h("b", { textContent: String(o.count) }), ", the number of files, or the word ", h("b", { textContent: "delete" }), typed));
    }
    this.planText.replaceChildren(...text);
    this.planFoot.append(this.confirm);
    if (o.action === "delete") typed.focus();
  }

  // Two images side by side

  openCompare(group, image) {
    const row = this.rows.get(group);
    if (!row || row.images.length < 2) return;
    const keeper = row.images.findIndex((x) => x.state === "keeper");
    const other = image !== undefined && image !== keeper ? image : row.images.findIndex((_, i) => i !== keeper);
    this.pair = { group, left: keeper, right: other };
    if (!this.compare.open) {
      this.buildCompare();
      this.compare.showModal();
    }
    this.showCompare();
    this.compare.focus();
  }

  buildCompare() {
    const button = (text, onclick, title) => h("button", { type: "button", textContent: text, onclick, title });
    this.compareTitle = h("h3");
    this.zoomed = button("Zoom", () => this.zoom(), "Both at the same larger scale, moved together: drag them (Z, or click a picture)");
    this.zoomed.setAttribute("aria-pressed", "false");
    const side = (which) => {
      const img = h("img"), pane = h("div", { className: "rv-pane", tabIndex: 0 }, img), badge = h("span", { className: "rv-badge" });
      const keep = button("Keep this", () => this.choose("keep", { group: this.pair.group, image: this.pair[which] }), which === "left" ? "1" : "2");
      const too = button("Keep too", () => this.toggleToo(this.pair[which]), which === "left" ? "Shift 1" : "Shift 2");
      const name = h("b", { className: "rv-name" });
      pane.addEventListener("scroll", () => this.follow(which));
      pane.addEventListener("pointermove", (e) => e.buttons === 1 && (pane.scrollBy(-e.movementX, -e.movementY), (this.dragged = true)));
      pane.addEventListener("pointerdown", () => (this.dragged = false));
      pane.addEventListener("click", (e) => this.dragged || this.zoom(e));
      img.draggable = false;
      return { img, pane, badge, keep, too, name, root: h("figure", {}, h("div", { className: "rv-frame" }, pane, badge), h("figcaption", {}, name, h("span", {}, keep, too))) };
    };
    this.sides = { left: side("left"), right: side("right") };
    this.facts = h("div", { className: "rv-facts", role: "table", "aria-label": "What is known of the two" });
    this.compare.classList.remove("rv-zoomed");
    this.compare.tabIndex = -1;
    this.compare.replaceChildren(
      h("header", {}, this.compareTitle, h("div", { className: "rv-buttons" },
        button("‹ Image", () => this.step(-1), "Previous image on the right (←)"), button("Image ›", () => this.step(1), "Next image on the right (→)"),
        button("‹ Group", () => this.stepGroup(-1), "Previous group (↑)"), button("Group ›", () => this.stepGroup(1), "Next group (↓)"),
        this.zoomed, button("Close", () => this.compare.close(), "Esc"))),
      h("div", { className: "rv-pair" }, this.sides.left.root, this.sides.right.root), this.facts);
  }

  toggleToo(image) { // stays or goes
    const { group } = this.pair;
    this.choose("keep_too", { group, image, on: this.rows.get(group).images[image].state === "goes" });
  }

  showCompare() {
    const { group, left, right } = this.pair, row = this.rows.get(group);
    if (!row) return this.ask("rows", { start: group, stop: group + 1 });
    this.compareTitle.textContent = `Group ${count(group + 1)} of ${count(this.totals.groups)}: image ${left + 1} and ${right + 1} of ${row.images.length}`;
    const images = [row.images[left], row.images[right]];
    [["left", left], ["right", right]].forEach(([which, i], at) => {
      const s = this.sides[which], key = `${group}/${i}`, x = images[at];
      s.img.alt = x.name;
      s.name.textContent = s.name.title = x.name;
      s.badge.textContent = WORDS[x.state];
      s.root.dataset.state = x.state;
      s.keep.disabled = x.state === "keeper";
      s.too.disabled = x.state === "keeper" || row.skip;
      s.too.textContent = x.state === "stays" ? "Let it go" : "Keep too";
      const url = this.large.get(key) ?? this.small.get(key);
      if (url && s.img.src !== url) s.img.src = url;
      else if (!url) s.img.removeAttribute("src");
      if (!this.large.has(key)) this.askLarge(group, i);
    });
    const rows = [["folder", (x) => x.folder || "."], ["dimensions", (x) => `${x.width} × ${x.height}`, (x) => x.width * x.height],
      ["size", (x) => bytes(x.size), (x) => x.size], ["taken", (x) => x.taken || "not known"], ["changed", (x) => x.changed],
      ["found as", (x) => (x.state === "keeper" ? "keeper" : x.kind)], ["why", (x) => x.why]];
    this.facts.replaceChildren(...rows.map(([name, words, worth]) => h("div", { role: "row" }, h("span", { role: "rowheader", textContent: name }),
      ...images.map((x, at) => h("span", { role: "cell", textContent: words(x), className: worth && worth(x) > worth(images[1 - at]) ? "rv-more" : words(x) !== words(images[1 - at]) ? "" : "rv-same" })))));
  }

  askLarge(group, image) {
    const key = `large ${group}/${image}`, since = this.asked.get(key);
    if (since && Date.now() - since < PATIENCE) return;
    this.asked.set(key, Date.now());
    this.choose("large", { group, image });
  }

  step(by) {
    const { images } = this.rows.get(this.pair.group), n = images.length;
    do this.pair.right = (this.pair.right + by + n) % n; while (this.pair.right === this.pair.left);
    this.showCompare();
  }

  stepGroup(by) {
    const group = this.pair.group + by;
    if (group < 0 || group >= Math.min(this.totals.groups, MOST)) return;
    this.reveal(group);
    if (this.rows.has(group)) return this.openCompare(group);
    this.pair = { group, left: 0, right: 1 };
    this.showCompare();
  }

  /** In or out, around the point that was clicked; without one, around the middle. */
  zoom(e) {
    const pane = e?.currentTarget ?? this.sides.left.pane, box = pane.getBoundingClientRect();
    const [x, y] = e ? [(e.clientX - box.left) / box.width, (e.clientY - box.top) / box.height] : [.5, .5];
    const on = this.compare.classList.toggle("rv-zoomed");
    this.zoomed.setAttribute("aria-pressed", String(on));
    if (on) pane.scrollTo(x * pane.scrollWidth - pane.clientWidth / 2, y * pane.scrollHeight - pane.clientHeight / 2);
  }

  follow(which) {
    if (this.led && this.led !== which) return;
    this.led = which; // the other one follows, not the other way round
    clearTimeout(this.unled);
    this.unled = setTimeout(() => (this.led = null), 120);
    const from = this.sides[which].pane, to = this.sides[which === "left" ? "right" : "left"].pane;
    const share = (at, all, seen) => at / Math.max(all - seen, 1);
    to.scrollTop = share(from.scrollTop, from.scrollHeight, from.clientHeight) * (to.scrollHeight - to.clientHeight);
    to.scrollLeft = share(from.scrollLeft, from.scrollWidth, from.clientWidth) * (to.scrollWidth - to.clientWidth);
  }

  compareKey(e) {
    const key = e.key.toLowerCase(), zoomed = this.compare.classList.contains("rv-zoomed") && e.target.classList.contains("rv-pane");
    if ((e.ctrlKey || e.metaKey) && key === "z") { this.send("undo"); return e.preventDefault(); }
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const { group, left, right } = this.pair, image = /^Digit[12]$/.test(e.code) ? [left, right][Number(e.code[5]) - 1] : -1;
    if (image >= 0 && e.shiftKey) this.toggleToo(image);
    else if (image >= 0) this.choose("keep", { group, image });
    else if (key === "u") this.send("undo");
    else if (key === "z") this.zoom();
    else if (key === "s") this.choose("skip", { group, on: !this.rows.get(group).skip });
    else if (key === "arrowleft" && !zoomed) this.step(-1);
    else if (key === "arrowright" && !zoomed) this.step(1);
    else if (key === "arrowup" && !zoomed) this.stepGroup(-1);
    else if (key === "arrowdown" && !zoomed) this.stepGroup(1);
    else return;
    e.preventDefault();
  }
}

/** A group in the list. */
class GroupCard {
  constructor(view, n) {
    Object.assign(this, { view, n });
    const row = view.rows.get(n), group = n, label = `Group ${count(n + 1)}`;
    this.facts = h("span", { className: "rv-quiet" });
    this.skip = h("input", { type: "checkbox", onchange: () => view.choose("skip", { group, on: this.skip.checked }) });
    this.images = row.images.map((x, i) => {
      const img = h("img", { alt: x.name, draggable: false }), badge = h("span", { className: "rv-badge" });
      const radio = h("input", { type: "radio", name: `${view.uid}-${n}`, onchange: () => view.choose("keep", { group, image: i }), "aria-label": `keep ${x.name}` });
      const too = h("input", { type: "checkbox", onchange: () => view.choose("keep_too", { group, image: i, on: too.checked }), "aria-label": `keep ${x.name} too` });
      const why = h("div", { className: "rv-why" }), name = h("div", { className: "rv-name", textContent: x.name, title: x.folder ? `${x.folder}/${x.name}` : x.name });
      const place = h("div", { className: "rv-quiet rv-place", textContent: x.folder || "\u00a0", title: x.folder });
      const root = h("div", { className: "rv-card" },
        h("button", { type: "button", className: "rv-picture", title: "Compare (C)", "aria-label": `Enlarge ${x.name}`, onclick: () => view.openCompare(group, i) }, img, badge),
        name, place, h("div", { className: "rv-quiet", textContent: `${x.width} × ${x.height} · ${bytes(x.size)}` }), why,
        h("div", { className: "rv-choose" }, h("label", {}, radio, "keep"), h("label", {}, too, "keep too")));
      return { root, img, badge, radio, too, why };
    });
    this.strip = h("div", { className: "rv-images" }, ...this.images.map((x) => x.root));
    this.strip.addEventListener("scroll", () => view.draw(), { passive: true });
    this.root = h("article", { className: "rv-group", role: "listitem", tabIndex: 0, "aria-posinset": n + 1, "aria-setsize": view.totals.groups, "aria-label": label },
      h("header", {}, h("b", { textContent: label }), this.facts, h("span", { className: "rv-space" }),
        h("button", { type: "button", textContent: "Compare", onclick: () => view.openCompare(group) }), h("label", {}, this.skip, "skip: all stay")), this.strip);
    this.root.dataset.group = n;
    this.root.style.top = `${n * view.height}px`;
    row.images.forEach((_, i) => this.picture(i));
  }

  /** Whether an image is near what the strip shows. */
  inSight(i) {
    const { offsetLeft, offsetWidth } = this.images[i].root, { scrollLeft, clientWidth } = this.strip;
    return offsetLeft - this.strip.offsetLeft < scrollLeft + clientWidth + 2 * offsetWidth;
  }

  picture(i) {
    const url = this.view.small.get(`${this.n}/${i}`);
    if (url) this.images[i].img.src = url;
  }

  fill(row) {
    this.facts.textContent = row.skip ? `${plural(row.images.length, "image")}, all stay` : `${count(row.copies)} of ${plural(row.images.length, "image")} ${row.copies === 1 ? "goes" : "go"}, ${bytes(row.bytes)}`;
    this.skip.checked = row.skip;
    this.root.classList.toggle("rv-skipped", row.skip);
    row.images.forEach((x, i) => {
      const { root, badge, radio, too, why } = this.images[i], kind = h("b", { textContent: x.state === "keeper" ? "" : x.kind });
      root.dataset.state = x.state;
      badge.textContent = WORDS[x.state];
      radio.checked = x.state === "keeper";
      too.checked = x.state === "stays";
      too.disabled = x.state === "keeper" || row.skip;
      why.replaceChildren(kind, x.why && x.state !== "keeper" ? `: ${x.why}` : x.state === "keeper" ? x.why : "");
      why.title = x.why;
    });
  }
}

export default {
  render({ model, el }) {
    const view = new View(model, el);
    return () => view.destroy();
  },
};
