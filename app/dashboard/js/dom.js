// Making elements. Text is always text: nothing here reads markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children. `on` holds listeners, `style` properties, false and null leave out. */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function s(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (key === "style") for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
    else if (key in PROPERTIES) element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const PROPERTIES = { value: 1, checked: 1, indeterminate: 1, textContent: 1 };

/** Replace what an element holds. */
export function put(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const ICONS = {
  overview: "M4 13h6V4H4zM14 20h6v-9h-6zM4 20h6v-4H4zM14 8h6V4h-6z",
  recommend: "M12 3l2.6 5.6 6 .7-4.4 4.2 1.2 6L12 16.5 6.6 19.5l1.2-6L3.4 9.3l6-.7z",
  map: "M5 7h.01M12 5h.01M18 9h.01M8 13h.01M15 14h.01M6 19h.01M19 18h.01M12 19h.01",
  graph: "M6 6h4v4H6zM6 15h4v4H6zM10 8l6-1M10 9l6 8M10 17l6-9M18 9a2 2 0 100-4 2 2 0 000 4zM18 20a2 2 0 100-4 2 2 0 000 4z",
  training: "M4 5v14h16M7 8c3 7 6 8 12 8.5",
  data: "M12 4v10M8 10l4 4 4-4M4 16v4h16v-4",
  theme: "M12 3a9 9 0 100 18zM12 3a9 9 0 010 18",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  home: "M4 4v6h6M4.5 10a8 8 0 11-.3 5",
  close: "M6 6l12 12M18 6L6 18",
};

/** A small drawing that means nothing to a screen reader. */
export function icon(name) {
  const thick = name === "map" ? 3 : 1.8;
  return s("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" },
    s("path", { d: ICONS[name], fill: "none", stroke: "currentColor", "stroke-width": thick, "stroke-linecap": "round", "stroke-linejoin": "round" }));
}

/** A short message that goes away. kind: `good` or `bad`. */
export function toast(text, kind = "good") {
  const box = document.getElementById("toasts");
  const note = h("div", { class: `toast ${kind}` }, h("span", {}, text),
    h("button", { type: "button", class: "icon-button", "aria-label": "Close", on: { click: () => note.remove() } }, icon("close")));
  box.append(note);
  while (box.children.length > 3) box.firstChild.remove();
  setTimeout(() => note.remove(), kind === "bad" ? 12000 : 5000);
}

// --- numbers and times

const whole = new Intl.NumberFormat("en");
export const number = (value) => (value === null || value === undefined ? "–" : whole.format(value));
export const percent = (value) => (value >= 9.95 ? `${value.toFixed(0)} %` : value >= 0.095 ? `${value.toFixed(1)} %` : value > 0 ? "< 0.1 %" : "0 %");
export const decimal = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));

const STEPS = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600], [86400 * 30, "day", 86400], [86400 * 365, "month", 86400 * 30], [Infinity, "year", 86400 * 365]];

/** "3 minutes ago". */
export function ago(iso) {
  if (!iso) return "never";
  const seconds = Math.max(0, (Date.now() - Date.parse(iso)) / 1000);
  if (seconds < 3) return "just now";
  const [, unit, size] = STEPS.find(([limit]) => seconds < limit);
  const count = Math.floor(seconds / size);
  return `${count} ${unit}${count === 1 ? "" : "s"} ago`;
}

/** A time element with the exact time on hover. */
export function time(iso) {
  return iso ? h("time", { datetime: iso, title: new Date(iso).toLocaleString() }, ago(iso)) : h("span", {}, "–");
}

/** "1 m 20 s" */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} m`;
}

// --- blocks that every view uses

/** A titled block of the page. */
export function card(title, attributes, ...children) {
  const id = `card-${Math.random().toString(36).slice(2, 8)}`;
  const { class: more = "", aside = null, ...rest } = attributes ?? {};
  return h("section", { class: `card ${more}`, "aria-labelledby": id, ...rest },
    h("div", { class: "card-head" }, h("h2", { id }, title), aside), ...children);
}

/** What stands where nothing is yet. */
export function empty(title, text, ...actions) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), h("p", {}, text), actions.length ? h("div", { class: "row center" }, ...actions) : null);
}

/** What went wrong, in the service's own words. */
export function problem(error, again = null) {
  return h("div", { class: "empty problem-box", role: "alert" }, h("p", { class: "empty-title" }, error.title ?? "That did not work"), h("p", {}, error.message),
    again ? h("button", { type: "button", on: { click: again } }, "Try again") : null);
}

/** Grey bars until something is there. */
export function loading(lines = 4) {
  return h("div", { class: "loading", "aria-busy": "true" }, h("span", { class: "visually-hidden" }, "Loading"), ...Array.from({ length: lines }, () => h("span", { class: "bone" })));
}

/** A table; the first column heads each row. columns: [title, class?]. */
export function table(caption, columns, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "visually-hidden" }, caption),
      h("thead", {}, h("tr", {}, columns.map(([title, kind]) => h("th", { scope: "col", class: kind ?? "" }, title)))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell, place) => h(place ? "td" : "th", { class: columns[place][1] ?? "", scope: place ? null : "row" }, cell)))))));
}

/** Text in whatever direction it is written. */
export function text(value) {
  return h("bdi", {}, value);
}

/** Call `work` when nothing has happened for a moment. */
export function debounced(work, milliseconds = 180) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...args), milliseconds);
  };
}

export const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
