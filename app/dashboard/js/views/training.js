// Training: runs as they go, models side by side, and the way back.

import { events, get, id, post } from "../api.js";
import { curve, metricBars, metricName, whoName } from "../charts.js";
import { card, decimal, duration, empty, h, number, put, time, toast } from "../dom.js";

const POLL_MS = 4000;
const OPEN = new Set(["queued", "running"]);

export async function render(root, _parameters, signal) {
  const state = { watched: null, chosen: [], signal, models: [], runs: [] };
  const now = h("div", { class: "wide" });
  const models = h("div", { class: "wide" });
  const comparison = h("div", { class: "wide" });
  const history = h("div", { class: "wide" });
  root.append(h("div", { class: "grid" }, now, models, comparison, history));

  async function refresh() {
    const [runs, kept] = await Promise.all([get("training/runs", { limit: 20 }), get("models", { limit: 50 })]);
    state.runs = runs.items;
    state.models = kept.items;
    const open = state.runs.find((run) => OPEN.has(run.status));
    if (open && state.watched !== open.run_id) watch(open);
    else if (!open && !state.watched) drawNow(state.runs[0] ?? null);
    drawModels();
    drawHistory();
  }

  // --- the run of the moment

  let view = null;

  function drawNow(run) {
    const start = h("button", { type: "button", class: "primary", on: { click: begin } }, "Train a model now");
    if (!run) {
      view = null;
      put(now, card("Training", { aside: start }, empty("No run yet", "A run learns from all users, courses and interactions, judges itself on held-out ones, and is served if it beats most-popular.")));
      return;
    }
    const open = OPEN.has(run.status);
    const chart = curve({ label: "Mean loss of each epoch" });
    const line = h("div", { class: "progress", role: "progressbar", "aria-label": "Epochs done", "aria-valuemin": "0" }, h("span", {}));
    const said = h("p", { class: "quiet" });
    const badge = h("span", { class: "badge" });
    const tail = h("div", {});
    const cancel = h("button", { type: "button", class: "danger", on: { click: () => stop(run.run_id) } }, "Cancel this run");
    put(now, card(`Run ${run.run_id}`, { aside: h("div", { class: "row" }, badge, open ? cancel : start) }, h("div", { class: "stack" }, line, said, chart, tail)));
    view = {
      id: run.run_id,
      set(next) {
        const { progress } = next;
        badge.textContent = next.cancel_requested && OPEN.has(next.status) ? "stopping" : next.status;
        badge.className = `badge ${next.status}`;
        const running = OPEN.has(next.status);
        line.hidden = !running;
        if (progress) {
          line.setAttribute("aria-valuemax", String(progress.epochs));
          line.setAttribute("aria-valuenow", String(progress.epoch));
          line.firstChild.style.width = `${(100 * progress.epoch) / Math.max(progress.epochs, 1)}%`;
        }
        cancel.disabled = next.cancel_requested;
        said.textContent = describe(next);
        chart.set({ values: next.losses, total: running ? progress?.epochs ?? 0 : 0, second: next.validation ?? [], secondName: "NDCG@20" });
        put(tail, next.metrics ? metricBars(next.metrics) : null);
      },
    };
    view.set(run);
    if (!open && run.model_id) withValidation(run, view);
  }

  async function withValidation(run, own) {
    try {
      const { losses, validation } = await get("pictures/loss.json", { run_id: run.run_id });
      if (view === own && validation.length) own.set({ ...run, losses, validation });
    } catch {
      // the curve of the run is there already
    }
  }

  async function watch(run) {
    state.watched = run.run_id;
    drawNow(run);
    try {
      await events(`training/runs/${id(run.run_id)}/events`, (next) => { if (view?.id === next.run_id) view.set(next); }, signal);
    } catch (error) {
      if (error.name === "AbortError") return;
    }
    state.watched = null;
    if (signal.aborted) return;
    const ended = await get(`training/runs/${id(run.run_id)}`).catch(() => null);
    if (ended && !OPEN.has(ended.status)) {
      toast(`Run ${ended.run_id} ${ended.status}${ended.model_id ? `: model ${ended.model_id} is served` : ended.error ? `: ${ended.error.detail}` : ""}.`, ended.status === "failed" ? "bad" : "good");
    }
    await refresh().catch(() => {});
    if (ended && !OPEN.has(ended.status)) drawNow(ended);
  }

  async function begin() {
    try {
      const run = await post("training/runs");
      toast(`Run ${run.run_id} was asked for.`);
    } catch (error) {
      toast(error.message, error.type === "run_in_progress" ? "good" : "bad");
    }
    await refresh();
  }

  async function stop(runId) {
    try {
      await post(`training/runs/${id(runId)}/cancel`);
      toast("The run stops at its next step.");
    } catch (error) {
      toast(error.message, "bad");
    }
  }

  // --- models

  function drawModels() {
    if (!state.models.length) {
      put(models, card("Models", {}, h("p", { class: "quiet" }, "None has been published yet. Until then everybody gets popular courses.")));
      put(comparison);
      return;
    }
    state.chosen = state.chosen.filter((one) => state.models.some((model) => model.model_id === one));
    const focus = document.activeElement?.dataset?.keep;
    put(models, card("Models", { aside: h("span", { class: "quiet" }, "Choose two to compare") }, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Models" },
      h("table", {}, h("caption", { class: "visually-hidden" }, "Models that are kept, newest first"),
        h("thead", {}, h("tr", {}, ["Compare", "Model", "Trained", "NDCG@20", "Recall@20", "Interactions", "Run", ""].map((title, place) => h("th", { scope: "col", class: place > 2 && place < 6 ? "num" : "" }, title || h("span", { class: "visually-hidden" }, "Actions"))))),
        h("tbody", {}, state.models.map(modelRow))))));
    if (focus) models.querySelector(`[data-keep="${CSS.escape(focus)}"]`)?.focus();
    drawComparison();
  }

  function modelRow(model) {
    const own = model.metrics.model ?? {};
    return h("tr", {},
      h("td", {}, h("label", { class: "check" }, h("input", { type: "checkbox", "data-keep": `compare-${model.model_id}`, "aria-label": `Compare ${model.model_id}`, checked: state.chosen.includes(model.model_id), on: { change: () => choose(model.model_id) } }))),
      h("th", { scope: "row" }, model.model_id, " ", model.current ? h("span", { class: "badge current" }, "served") : null),
      h("td", {}, time(model.created_at)),
      h("td", { class: "num" }, decimal(own["ndcg@20"])), h("td", { class: "num" }, decimal(own["recall@20"])), h("td", { class: "num" }, number(model.counts.interactions)),
      h("td", {}, model.run_id ?? "–"),
      h("td", { class: "actions" }, model.current ? null : h("button", { type: "button", class: "small", "data-keep": `serve-${model.model_id}`, "aria-label": `Serve ${model.model_id}`, on: { click: () => activate(model.model_id) } }, "Serve this one")));
  }

  function choose(modelId) {
    state.chosen = state.chosen.includes(modelId) ? state.chosen.filter((one) => one !== modelId) : [...state.chosen, modelId].slice(-2);
    drawModels();
  }

  async function activate(modelId) {
    try {
      await post(`models/${id(modelId)}/activate`);
      toast(`Model ${modelId} is served from now on.`);
    } catch (error) {
      toast(error.message, "bad");
    }
    await refresh();
  }

  function drawComparison() {
    const pair = state.chosen.map((one) => state.models.find((model) => model.model_id === one));
    if (pair.length < 2) return put(comparison);
    const [a, b] = pair;
    const rows = [];
    for (const who of Object.keys({ ...a.metrics, ...b.metrics })) {
      for (const metric of Object.keys({ ...a.metrics[who], ...b.metrics[who] }).filter((name) => /@20$/.test(name))) {
        const values = pair.map((model) => model.metrics[who]?.[metric]);
        const best = who === "model" && values.every(Number.isFinite) && values[0] !== values[1] ? Math.max(...values) : null;
        rows.push([`${whoName(who)}, ${metricName(metric)}`, ...values.map((value) => h("span", { class: value === best ? "better" : "" }, decimal(value, 4)))]);
      }
    }
    for (const name of ["users", "courses", "interactions"]) rows.push([name, ...differing(pair.map((model) => number(model.counts[name])))]);
    for (const name of Object.keys({ ...a.config, ...b.config }).sort()) rows.push([name.replaceAll("_", " "), ...differing(pair.map((model) => String(model.config[name] ?? "–")))]);
    return put(comparison, card("Side by side", {}, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Two models compared" }, h("table", { class: "compare" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, ""), pair.map((model) => h("th", { scope: "col" }, model.model_id)))),
      h("tbody", {}, rows.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name), cells.map((cell) => h("td", {}, cell)))))))));
  }

  // --- history

  function drawHistory() {
    if (!state.runs.length) return put(history);
    return put(history, card("History of runs", {}, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Training runs" }, h("table", {}, h("caption", { class: "visually-hidden" }, "Training runs, newest first"),
      h("thead", {}, h("tr", {}, ["Run", "Status", "Asked for", "By", "Took", "Learned from", "Result"].map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, state.runs.map((run) => h("tr", {}, h("th", { scope: "row" }, run.run_id), h("td", {}, h("span", { class: `badge ${run.status}` }, run.status)), h("td", {}, time(run.requested_at)), h("td", {}, run.trigger),
        h("td", {}, took(run)), h("td", {}, run.counts ? `${number(run.counts.interactions)} interactions` : "–"), h("td", {}, run.model_id ?? run.error?.detail ?? "–"))))))));
  }

  await refresh();
  const timer = setInterval(() => { if (!document.hidden) refresh().catch(() => {}); }, POLL_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}

function differing(values) {
  return values.map((value) => h("span", { class: values[0] === values[1] ? "" : "differs" }, value));
}

function took(run) {
  return run.started_at && run.ended_at ? duration((Date.parse(run.ended_at) - Date.parse(run.started_at)) / 1000) : "–";
}

function describe(run) {
  if (run.status === "queued") return "Waiting for a worker to begin. If none does, no worker is running.";
  if (run.status === "running" && !run.progress) return "Reading the data.";
  if (run.status === "running") {
    const left = run.progress.seconds_left;
    const { epoch, epochs } = run.progress;
    const rest = epoch >= epochs ? ", judging and publishing" : left === null ? "" : `, about ${duration(left)} left`;
    return `Epoch ${number(epoch)} of at most ${number(epochs)}, loss ${decimal(run.progress.loss, 4)}${rest}`;
  }
  if (run.error) return run.error.detail;
  return `${run.losses.length} epochs in ${took(run)} on ${run.device ?? "unknown"}${run.model_id ? `, gave model ${run.model_id}` : ""}.`;
}
