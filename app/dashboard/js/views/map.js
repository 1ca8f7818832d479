// Map: users and courses in the plane in which their vectors differ most.

import { Problem, currentModel, get, id, isMissing, titleOf } from "../api.js";
import { combobox } from "../combobox.js";
import { card, empty, h, icon, number, problem, put, text, toast } from "../dom.js";
import { Raster, pixel } from "../raster.js";

// Eight hues that also differ in lightness, and the rest.
const LIGHT = ["#1f5a96", "#c2660c", "#2f7d4f", "#a62f60", "#6b4fa0", "#00727f", "#7d6210", "#3d6b1f"];
const DARK = ["#7fb5ee", "#f0a04b", "#72c995", "#ef86b1", "#b79ef0", "#54c3cf", "#d9bb55", "#a5cf7c"];
const OTHER = { light: "#717d76", dark: "#8d9992" };
const USER = { light: "#b9cbdc", dark: "#3d5163" };
const LABELS = 26;
const LABEL_AREA = 18_000; // square pixels that a label has to itself
const HIT = 12; // pixels

export async function render(root, parameters, signal) {
  let data;
  try {
    if (!(await currentModel())) throw new Problem(404, { type: "no_model" });
    data = await get("pictures/embeddings.json", { model_id: parameters.get("model") });
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 404) throw error;
    root.append(card("Map", {}, error.type === "no_model"
      ? empty("No model yet", "The map shows the vectors of a model. Train one, and users and courses find their places.", h("a", { href: "#/training" }, "Training"))
      : empty("No map of this model", isMissing(error) ? "This service draws no pictures." : error.message)));
    return;
  }
  new MapView(root, data, signal).start(parameters.get("user"));
}

class MapView {
  constructor(root, data, signal) {
    Object.assign(this, { root, data, signal, hidden: new Set(), lit: null, view: { scale: 1, x: 0, y: 0 }, hover: null });
    this.users = columns(data.users);
    this.courses = columns(data.courses);
    this.titles = data.courses.titles.map((title, place) => title || data.courses.ids[place]);
    this.categories = rankCategories(data.courses.categories);
    this.of = Int32Array.from(data.courses.categories, (labels) => {
      const place = this.categories.indexOf(labels[0]);
      return place >= 0 && place < LIGHT.length ? place : LIGHT.length;
    });
    this.courseRow = new Map(data.courses.ids.map((one, place) => [one, place]));
    this.userRow = new Map(data.users.ids.map((one, place) => [one, place]));
  }

  start(user) {
    this.draw();
    const resize = new ResizeObserver(() => this.resize());
    resize.observe(this.plot);
    const recolour = () => { this.paint(); this.drawLegend(); this.later(); };
    addEventListener("themechange", recolour);
    this.signal.addEventListener("abort", () => { resize.disconnect(); removeEventListener("themechange", recolour); });
    if (user) this.light(user);
  }

  draw() {
    const { data } = this;
    const [first, second] = data.explained_variance;
    this.canvas = h("canvas", {
      tabindex: "0", role: "application",
      "aria-label": `Map of ${number(data.n_users)} users and ${number(data.n_courses)} courses. Arrow keys move, plus and minus zoom, 0 shows all. The search beside it finds courses.`,
    });
    this.labels = h("div", { "aria-hidden": "true" });
    this.tip = h("div", { class: "tip", hidden: true });
    this.said = h("p", { class: "visually-hidden", "aria-live": "polite" });
    const tool = (name, label, work) => h("button", { type: "button", "aria-label": label, title: label, on: { click: work } }, icon(name));
    this.plot = h("div", { class: "plot" }, this.canvas, this.labels, this.tip,
      h("span", { class: "plot-axis x" }, `first component, ${share(first)} of the variance →`),
      h("span", { class: "plot-axis y" }, `second component, ${share(second)} →`),
      h("div", { class: "plot-tools" }, tool("plus", "Zoom in", () => this.zoom(1.5)), tool("minus", "Zoom out", () => this.zoom(1 / 1.5)), tool("home", "Show all", () => this.reset())));
    this.raster = new Raster(this.canvas);
    this.legend = h("div", { class: "legend" });
    this.who = h("div", { class: "stack" });
    const find = combobox({
      label: "Find a course", placeholder: "Title or id",
      search: async (typed) => this.find(typed), pick: (option) => this.goTo(this.courseRow.get(option.value)),
    });
    const lightUp = combobox({
      label: "Light up a user", placeholder: "User id",
      search: async (typed) => (await get("search", { q: typed, limit: 8 })).users.map((userId) => ({ value: userId, label: userId })),
      pick: (option) => this.light(option.value), typed: (userId) => this.light(userId),
    });
    this.lightField = lightUp;
    put(this.root, h("div", { class: "stage" }, h("div", { class: "stack" }, this.plot, this.said),
      h("div", { class: "stack" }, card("Find", {}, h("div", { class: "stack" }, find, lightUp, this.who)),
        card("Categories", {}, this.legend),
        h("p", { class: "quiet small-text" }, `Principal components of the vectors of ${data.model_id ?? "the model"}. Near each other means alike.`,
          data.users.ids.length < data.n_users ? ` ${number(data.users.ids.length)} of ${number(data.n_users)} users are shown.` : ""))));
    this.drawLegend();
    this.wire();
  }

  // --- what is where

  resize() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const width = Math.round(this.plot.clientWidth * ratio), height = Math.round(this.plot.clientHeight * ratio);
    if (!width || !height) return;
    const first = this.ratio === undefined;
    this.ratio = ratio;
    this.raster.resize(width, height);
    this.paint();
    if (first) this.reset();
    else this.later();
  }

  reset() {
    const xs = [this.users.x, this.courses.x], ys = [this.users.y, this.courses.y];
    const [left, right] = extent(xs), [bottom, top] = extent(ys);
    const { width, height } = this.raster;
    const margin = 46 * this.ratio;
    const scale = Math.min((width - 2 * margin) / Math.max(right - left, 1e-9), (height - 2 * margin) / Math.max(top - bottom, 1e-9));
    this.least = scale / 3;
    this.most = scale * 400;
    this.view = { scale, x: width / 2 - ((left + right) / 2) * scale, y: height / 2 + ((bottom + top) / 2) * scale };
    this.later();
  }

  zoom(factor, x = this.raster.width / 2, y = this.raster.height / 2) {
    const { view } = this;
    const scale = Math.min(this.most, Math.max(this.least, view.scale * factor));
    const real = scale / view.scale;
    this.view = { scale, x: x - (x - view.x) * real, y: y - (y - view.y) * real };
    this.later();
  }

  pan(dx, dy) {
    this.view = { ...this.view, x: this.view.x + dx, y: this.view.y + dy };
    this.later();
  }

  goTo(row) {
    const scale = Math.max(this.view.scale, this.most / 120);
    this.view = { scale, x: this.raster.width / 2 - this.courses.x[row] * scale, y: this.raster.height / 2 + this.courses.y[row] * scale };
    this.found = row;
    this.later();
    const near = this.nearest(row).map((one) => this.titles[one]).join(", ");
    this.said.textContent = `${this.titles[row]}. Near it: ${near}.`;
    put(this.who, h("div", {}, h("h3", {}, text(this.titles[row])), h("p", { class: "quiet small-text" }, "Nearest on the map:"),
      h("ul", { class: "plain-list" }, this.nearest(row).map((one) => h("li", {}, h("button", { type: "button", class: "link", on: { click: () => this.goTo(one) } }, text(this.titles[one]))))),
      h("a", { href: `#/graph?course=${id(this.data.courses.ids[row])}` }, "Its graph")));
  }

  nearest(row, count = 5) {
    const { x, y } = this.courses;
    return [...x.keys()].filter((one) => one !== row).sort((a, b) => (x[a] - x[row]) ** 2 + (y[a] - y[row]) ** 2 - (x[b] - x[row]) ** 2 - (y[b] - y[row]) ** 2).slice(0, count);
  }

  find(typed) {
    const wanted = typed.toLowerCase();
    const found = [];
    for (let row = 0; row < this.titles.length && found.length < 8; row++) {
      if (this.titles[row].toLowerCase().includes(wanted) || this.data.courses.ids[row].toLowerCase().includes(wanted)) {
        found.push({ value: this.data.courses.ids[row], label: this.titles[row], detail: this.data.courses.categories[row][0] ?? "" });
      }
    }
    return found;
  }

  /** Show one user's place, what they took and what they are recommended, and dim the rest. */
  async light(userId) {
    try {
      const graph = await get("pictures/graph.json", { user_id: userId });
      const rows = (kind) => graph.edges.filter((edge) => edge.user_id === userId && edge.kind === kind).map((edge) => this.courseRow.get(edge.course_id)).filter((row) => row !== undefined);
      this.lit = { userId, user: this.userRow.get(userId), taken: rows("taken"), recommended: rows("recommended") };
    } catch (error) {
      return toast(error.message, "bad");
    }
    this.lightField.set(userId);
    history.replaceState(null, "", `#/map?user=${id(userId)}`);
    const list = (title, rows) => rows.length ? h("div", {}, h("h3", {}, title), h("ul", { class: "plain-list" }, rows.map((row) => h("li", {}, h("button", { type: "button", class: "link", on: { click: () => this.goTo(row) } }, text(this.titles[row])))))) : null;
    put(this.who, list("Recommended", this.lit.recommended), list("Taken", this.lit.taken), h("div", { class: "row" },
      h("button", { type: "button", class: "small", on: { click: () => this.dark() } }, "Show everybody again"), h("a", { href: `#/recommend?user=${id(userId)}` }, "Recommendations")));
    this.said.textContent = `${userId}: ${this.lit.taken.length} courses taken and ${this.lit.recommended.length} recommended are lit.`;
    this.paint();
    this.later();
    return undefined;
  }

  dark() {
    this.lit = null;
    this.lightField.set("");
    history.replaceState(null, "", "#/map");
    put(this.who);
    this.paint();
    this.later();
  }

  // --- drawing

  theme() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  }

  /** Colours of all points, made anew when something other than the view has changed. */
  paint() {
    const theme = this.theme();
    const palette = theme === "dark" ? DARK : LIGHT;
    this.ground = pixel(getComputedStyle(this.plot).getPropertyValue("--map").trim() || "#ffffff");
    this.edge = this.ground;
    const hues = [...palette, OTHER[theme]].map((hex) => pixel(hex));
    const dim = pixel(theme === "dark" ? "#2c3632" : "#dde3de");
    const user = this.lit ? pixel(theme === "dark" ? "#222c31" : "#e8edf2") : pixel(USER[theme]);
    this.userColours = new Uint32Array(this.users.x.length).fill(this.hidden.has("users") ? 0 : user);
    this.courseColours = Uint32Array.from(this.of, (category) => (this.hidden.has(category) ? 0 : this.lit ? dim : hues[category]));
    this.litColours = { taken: pixel(theme === "dark" ? "#6fd0ac" : "#17624b"), recommended: pixel(theme === "dark" ? "#f3bd6a" : "#d9822b"), user: pixel(theme === "dark" ? "#ffffff" : "#16211c") };
  }

  later() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => { this.frame = 0; this.render(); });
  }

  render() {
    if (!this.raster.pixels) return;
    const { raster, view, ratio } = this;
    const many = this.users.x.length > 3000;
    const closer = view.scale / (this.least * 3);
    raster.clear(this.ground);
    raster.squares(this.users.x, this.users.y, this.userColours, Math.round((many ? 2 : 5) * ratio * Math.min(2, Math.sqrt(closer) || 1)) || 1, view);
    const radius = Math.round((this.courses.x.length > 1500 ? 3 : 5) * ratio * Math.min(1.6, Math.max(0.8, closer ** 0.25)));
    raster.discs(this.courses.x, this.courses.y, this.courseColours, radius + 1, this.edge, view);
    if (this.lit) this.renderLit(radius);
    if (this.found !== undefined) this.ring(this.found, radius + 3 * ratio);
    raster.show();
    this.placeLabels(radius);
  }

  renderLit(radius) {
    const { raster, view, lit } = this;
    const draw = (rows, colour, size) => raster.discs(pickColumns(this.courses.x, rows), pickColumns(this.courses.y, rows), new Uint32Array(rows.length).fill(colour), size + 1, this.edge, view);
    draw(lit.taken, this.litColours.taken, radius + 1);
    draw(lit.recommended, this.litColours.recommended, radius + 2);
    if (lit.user !== undefined) raster.squares(this.users.x.subarray(lit.user, lit.user + 1), this.users.y.subarray(lit.user, lit.user + 1), Uint32Array.of(this.litColours.user), 2 * radius + 5, view);
  }

  ring(row, radius) {
    const { raster, view } = this;
    const x = this.courses.x.subarray(row, row + 1), y = this.courses.y.subarray(row, row + 1);
    raster.discs(x, y, Uint32Array.of(this.litColours.user), Math.round(radius), this.litColours.user, view);
    raster.discs(x, y, Uint32Array.of(this.courseColours[row] || this.litColours.taken), Math.round(radius - 2 * this.ratio), this.edge, view);
  }

  /** Titles where there is room: lit and found ones first, then whatever is inside and stands apart. */
  placeLabels(radius) {
    if (this.dragging) return put(this.labels);
    const { view, ratio } = this;
    const width = this.plot.clientWidth, height = this.plot.clientHeight;
    const first = [this.found, ...(this.lit?.recommended ?? []), ...(this.lit?.taken ?? [])].filter((row) => row !== undefined);
    const rest = this.lit ? [] : this.order ??= [...this.courses.x.keys()].sort((a, b) => spread(this.courses, b) - spread(this.courses, a));
    const boxes = [], labels = [], most = Math.min(LABELS, (width * height) / LABEL_AREA);
    for (const row of new Set([...first, ...rest])) {
      if (labels.length >= most) break;
      if (this.courseColours[row] === 0) continue;
      const x = (this.courses.x[row] * view.scale + view.x) / ratio, y = (view.y - this.courses.y[row] * view.scale) / ratio;
      if (x < 20 || y < 12 || x > width - 12 || y > height - 26) continue;
      const size = this.widthOf(row), gap = radius / ratio + 5;
      const left = x + gap + size > width - 4 ? x - gap - size : x + gap;
      const box = [left, y - 9, left + size, y + 9];
      if (left < 4 || (left + size > width - 56 && y < 150) || boxes.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) continue;
      boxes.push(box);
      labels.push(h("span", { class: "map-label", dir: "auto", style: { left: `${left}px`, top: `${y - 9}px` } }, this.titles[row]));
    }
    return put(this.labels, labels);
  }

  /** Width of a title in pixels, as far as it is written. */
  widthOf(row) {
    this.widths ??= new Map();
    if (!this.widths.has(row)) {
      this.ruler ??= document.createElement("canvas").getContext("2d");
      this.ruler.font = `550 12px ${getComputedStyle(this.plot).fontFamily}`;
      this.widths.set(row, Math.min(200, Math.ceil(this.ruler.measureText(this.titles[row]).width) + 2));
    }
    return this.widths.get(row);
  }

  drawLegend() {
    const theme = this.theme();
    const palette = [...(theme === "dark" ? DARK : LIGHT), OTHER[theme]];
    const count = new Array(palette.length).fill(0);
    for (const category of this.of) count[category]++;
    const entry = (key, colour, label, many, square = false) => h("button", {
      type: "button", "aria-pressed": String(!this.hidden.has(key)),
      on: { click: (event) => {
        if (!this.hidden.delete(key)) this.hidden.add(key);
        event.currentTarget.setAttribute("aria-pressed", String(!this.hidden.has(key)));
        this.paint();
        this.later();
      } },
    }, h("span", { class: `swatch ${square ? "square" : ""}`, style: { "background-color": colour } }), h("bdi", {}, label), h("span", { class: "quiet" }, number(many)));
    put(this.legend, entry("users", USER[theme], "Users", this.users.x.length, true),
      this.categories.slice(0, LIGHT.length).map((label, place) => entry(place, palette[place], label, count[place])),
      count[LIGHT.length] ? entry(LIGHT.length, palette[LIGHT.length], this.categories.length ? "Other courses" : "Courses", count[LIGHT.length]) : null);
  }

  // --- hands and keys

  wire() {
    const { canvas } = this;
    const pointers = new Map();
    let spread0 = 0;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) * this.ratio, (event.clientY - box.top) * this.ratio];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, at(event));
      spread0 = 0;
      this.tip.hidden = true;
    });
    canvas.addEventListener("pointermove", (event) => {
      const now = at(event);
      const before = pointers.get(event.pointerId);
      if (!before) return this.point(now);
      this.dragging = true;
      pointers.set(event.pointerId, now);
      if (pointers.size === 1) return this.pan(now[0] - before[0], now[1] - before[1]);
      const [a, b] = [...pointers.values()];
      const wide = Math.hypot(a[0] - b[0], a[1] - b[1]);
      if (spread0) this.zoom(wide / spread0, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
      spread0 = wide;
      return undefined;
    });
    const up = (event) => {
      const moved = this.dragging;
      pointers.delete(event.pointerId);
      if (!pointers.size) { this.dragging = false; this.later(); }
      if (!moved && event.type === "pointerup") {
        const hit = this.hit(at(event));
        if (hit?.course !== undefined) this.goTo(hit.course);
        else if (hit?.user !== undefined) this.light(this.data.users.ids[hit.user]);
      }
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), ...at(event));
    }, { passive: false });
    canvas.addEventListener("dblclick", (event) => this.zoom(2, ...at(event)));
    canvas.addEventListener("keydown", (event) => {
      const step = 60 * this.ratio;
      const work = {
        ArrowLeft: () => this.pan(step, 0), ArrowRight: () => this.pan(-step, 0), ArrowUp: () => this.pan(0, step), ArrowDown: () => this.pan(0, -step),
        "+": () => this.zoom(1.4), "=": () => this.zoom(1.4), "-": () => this.zoom(1 / 1.4), 0: () => this.reset(),
      }[event.key];
      if (!work || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      work();
    });
  }

  hit([x, y]) {
    const { view } = this;
    const near = (points, colours) => {
      let best, least = (HIT * this.ratio) ** 2;
      for (let i = 0; i < points.x.length; i++) {
        if (colours[i] === 0) continue;
        const dx = points.x[i] * view.scale + view.x - x, dy = view.y - points.y[i] * view.scale - y;
        const far = dx * dx + dy * dy;
        if (far < least) { least = far; best = i; }
      }
      return best;
    };
    const course = near(this.courses, this.courseColours);
    return course !== undefined ? { course } : { user: near(this.users, this.userColours) };
  }

  point([x, y]) {
    const { course, user } = this.hit([x, y]);
    if (course === undefined && user === undefined) {
      this.tip.hidden = true;
      return;
    }
    const categories = course === undefined ? [] : this.data.courses.categories[course];
    put(this.tip, course === undefined ? h("bdi", {}, this.data.users.ids[user]) : h("bdi", {}, this.titles[course]), h("span", {}, course === undefined ? "user" : categories.join(", ") || "course"));
    this.tip.hidden = false;
    const left = x / this.ratio, top = y / this.ratio, { offsetWidth: wide, offsetHeight: high } = this.tip;
    this.tip.style.left = `${left + 14 + wide > this.plot.clientWidth ? left - 14 - wide : left + 14}px`;
    this.tip.style.top = `${Math.min(top + 14, this.plot.clientHeight - high - 6)}px`;
  }
}

const columns = ({ x, y }) => ({ x: Float32Array.from(x), y: Float32Array.from(y) });
const pickColumns = (column, rows) => Float32Array.from(rows, (row) => column[row]);
const spread = ({ x, y }, row) => x[row] ** 2 + y[row] ** 2;
const share = (value) => `${(100 * value).toFixed(0)} %`;

function extent(all) {
  let low = Infinity, high = -Infinity;
  for (const column of all) for (const value of column) { if (value < low) low = value; if (value > high) high = value; }
  return low > high ? [-1, 1] : [low, high];
}

function rankCategories(all) {
  const count = new Map();
  for (const [label] of all) if (label !== undefined) count.set(label, (count.get(label) ?? 0) + 1);
  return [...count].sort((a, b) => b[1] - a[1]).map(([label]) => label);
}
