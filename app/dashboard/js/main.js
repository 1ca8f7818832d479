// The frame round the views: navigation, theme, and whether the service is well.

import { h, icon, loading, problem, put } from "./dom.js";

const VIEWS = [
  ["overview", "Overview"],
  ["recommend", "Recommend"],
  ["map", "Map"],
  ["graph", "Graph"],
  ["training", "Training"],
  ["data", "Data"],
];
const HEALTH_MS = 10_000;

const main = document.getElementById("main");
let leave = null;
let shown = 0;

/** View and parameters of an address such as #/graph?user=ada. */
function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const known = VIEWS.find(([name]) => name === path) ?? VIEWS[0];
  return { name: known[0], title: known[1], parameters: new URLSearchParams(query) };
}

async function show() {
  const { name, title, parameters } = place();
  const turn = ++shown;
  leave?.abort();
  leave = new AbortController();
  document.title = `${title} · CourseGraph`;
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const root = h("div", { class: `view view-${name}` }, h("h1", { class: "visually-hidden" }, title), loading());
  put(main, root);
  main.setAttribute("aria-busy", "true");
  try {
    const view = await import(`./views/${name}.js`);
    if (turn !== shown) return;
    const body = h("div", { class: "view-body" });
    await view.render(body, parameters, leave.signal);
    if (turn !== shown) return;
    put(root, h("h1", { class: "visually-hidden" }, title), body);
    body.dispatchEvent(new CustomEvent("shown"));
  } catch (error) {
    if (error.name === "AbortError" || turn !== shown) return;
    if (!(error.status >= 0)) console.error(error);
    put(root, h("h1", { class: "visually-hidden" }, title), problem(error, show));
  } finally {
    if (turn === shown) main.removeAttribute("aria-busy");
  }
}

function drawNavigation() {
  put(document.getElementById("nav"), h("ul", {}, VIEWS.map(([name, title]) =>
    h("li", {}, h("a", { href: `#/${name}`, "data-view": name }, icon(name), h("span", {}, title))))));
}

function wireTheme() {
  const button = document.getElementById("theme");
  button.append(icon("theme"));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  button.addEventListener("click", () => {
    const wanted = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = wanted;
    try {
      localStorage.setItem("coursegraph-theme", wanted);
    } catch {
      // it holds until the page is left
    }
    dispatchEvent(new Event("themechange"));
  });
  dark.addEventListener("change", () => dispatchEvent(new Event("themechange")));
}

async function watchHealth() {
  const status = document.getElementById("status");
  const say = (kind, text) => {
    status.className = `status ${kind}`;
    if (status.textContent !== text) status.textContent = text;
  };
  if (!document.hidden) {
    try {
      const answer = await fetch("health/ready", { cache: "no-store" });
      const { status: word } = await answer.json();
      say(word === "ok" ? "good" : word === "degraded" ? "warn" : "bad", { ok: "In step", degraded: "Degraded", unavailable: "Database away" }[word] ?? word);
    } catch {
      say("bad", "No answer");
    }
  }
  setTimeout(watchHealth, HEALTH_MS);
}

drawNavigation();
wireTheme();
addEventListener("hashchange", async () => {
  await show();
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
});
show();
watchHealth();
