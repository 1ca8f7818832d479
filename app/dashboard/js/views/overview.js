// Overview: what there is, how good it is, and whether it is fresh.

import { currentModel, get, post } from "../api.js";
import { metricBars } from "../charts.js";
import { card, duration, empty, h, number, put, table, time, toast } from "../dom.js";

const REFRESH_MS = 5000;

export async function render(root, _parameters, signal) {
  const live = h("div", { class: "grid" });
  root.append(live);
  let before = "";

  async function refresh() {
    const [statistics, model, runs, health] = await Promise.all([
      get("statistics"), currentModel(), get("training/runs", { limit: 5 }), fetch("health/ready").then((answer) => answer.json()),
    ]);
    const now = JSON.stringify([statistics, model, runs, health, Math.floor(Date.now() / 60000)]).replace(/"change_stream_lag_seconds":[\d.]+/, "");
    if (now === before || live.contains(document.activeElement)) return updateLag(live, statistics);
    before = now;
    put(live, draw(statistics, model, runs.items, health, refresh));
  }

  await refresh();
  const timer = setInterval(() => {
    if (!document.hidden) refresh().catch(() => {});
  }, REFRESH_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}

function updateLag(root, statistics) {
  const place = root.querySelector("[data-lag]");
  if (place) place.textContent = lag(statistics);
}

const lag = (statistics) => (statistics.change_stream_lag_seconds < 2 ? "in step, less than 2 s behind" : `${duration(statistics.change_stream_lag_seconds)} behind`);

function draw(statistics, model, runs, health, refresh) {
  const { users, courses, interactions } = statistics;
  if (!users && !courses && !interactions) return [counts(statistics), welcome(), healthCard(statistics, health)];
  return [counts(statistics), model ? modelCard(model) : noModel(refresh), freshness(statistics, model), healthCard(statistics, health), runsCard(runs)];
}

function counts({ users, courses, interactions }) {
  const tile = (label, value, href, unit) => h("a", { class: "tile", href }, h("span", { class: "tile-value" }, number(value)), h("span", { class: "tile-label" }, label), h("span", { class: "visually-hidden" }, unit));
  return h("section", { class: "tiles", "aria-label": "What there is" },
    tile("users", users, "#/recommend", ": recommendations"), tile("courses", courses, "#/map", ": map"), tile("interactions", interactions, "#/data", ": data"));
}

function welcome() {
  return card("Nothing is here yet", { class: "wide" },
    h("p", {}, "CourseGraph recommends once it knows courses and who took them. Three ways to begin:"),
    h("ol", { class: "steps" },
      h("li", {}, h("a", { href: "#/data" }, "Drop a CSV or NDJSON file"), " with users, courses or interactions."),
      h("li", {}, "Send rows from your application: ", h("a", { href: "docs" }, "the API"), " takes JSON and NDJSON."),
      h("li", {}, "Look around first: ", h("code", {}, "scripts/demo"), " starts a service with a generated catalogue.")));
}

function noModel(refresh) {
  const ask = async () => {
    try {
      await post("training/runs");
      toast("A training run was asked for.");
      location.hash = "#/training";
    } catch (error) {
      if (error.type === "run_in_progress") location.hash = "#/training";
      else toast(error.message, "bad");
      refresh();
    }
  };
  return card("No model yet", { class: "wide" }, empty("Popular courses until then",
    "Everybody gets the most taken courses until a first model is trained. The worker begins by itself once enough has changed, or now:",
    h("button", { type: "button", class: "primary", on: { click: ask } }, "Train a model now")));
}

function modelCard(model) {
  const facts = [
    ["Trained", time(model.created_at)],
    ["On", `${number(model.counts.users)} users, ${number(model.counts.courses)} courses, ${number(model.counts.interactions)} interactions`],
    ["Vectors", `${model.embedding_size} numbers each, ${model.config.n_layers ?? "?"} layers, ${model.config.loss ?? ""} loss, on ${model.device ?? "unknown"}`],
    ["Served since", time(model.activated_at)],
  ];
  return card(`Model ${model.model_id}`, { class: "wide", aside: h("a", { href: "#/training" }, "All models") },
    h("div", { class: "split" },
      h("div", {}, Object.keys(model.metrics).length ? h("p", { class: "quiet" }, "On interactions that were held out, higher is better:") : null, metricBars(model.metrics)),
      h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]))));
}

function freshness(statistics, model) {
  const facts = [
    ["Last change", statistics.last_change_at ? time(statistics.last_change_at) : "none since this process began"],
    ["Other processes' writes", h("span", { "data-lag": true }, lag(statistics))],
    ["Served here", statistics.model_id ?? "popular courses"],
  ];
  if (model && statistics.model_id && model.model_id !== statistics.model_id) facts.push(["On its way", `${model.model_id} is being fetched`]);
  return card("Freshness", {}, h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    h("p", { class: "quiet" }, "A course taken a moment ago is out of the very next list, without any training."));
}

function healthCard(statistics, health) {
  const names = { database: "Database", change_stream: "Change stream", model: "Model" };
  return card("Health", {}, h("ul", { class: "checks" }, Object.entries(health.checks ?? {}).map(([name, word]) =>
    h("li", { class: word === "ok" ? "good" : "bad" }, h("span", { class: "mark", "aria-hidden": "true" }, word === "ok" ? "✓" : "!"), h("span", {}, names[name] ?? name), h("span", { class: "quiet" }, word)))));
}

function runsCard(runs) {
  const aside = h("a", { href: "#/training" }, "Training");
  if (!runs.length) return card("Last runs", { class: "wide", aside }, h("p", { class: "quiet" }, "No training run yet."));
  return card("Last runs", { class: "wide", aside }, table("Last training runs", [["Run"], ["Status"], ["Asked for"], ["Took"], ["Model"]], runs.map((run) => [
    run.run_id, h("span", { class: `badge ${run.status}` }, run.status), time(run.requested_at),
    run.ended_at && run.started_at ? duration((Date.parse(run.ended_at) - Date.parse(run.started_at)) / 1000) : "–", run.model_id ?? "–",
  ])));
}
