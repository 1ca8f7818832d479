// Bars and curves, small and our own.

import { decimal, h, percent, s } from "./dom.js";

const METRIC = { "recall@10": "Recall@10", "recall@20": "Recall@20", "ndcg@10": "NDCG@10", "ndcg@20": "NDCG@20" };
const WHO = { model: "This model", popular: "Most popular", item_cosine: "Item cosine", gf_cf: "GF-CF", ease: "EASE" };

export const metricName = (name) => METRIC[name] ?? name;
export const whoName = (name) => WHO[name] ?? name.replaceAll("_", " ");

/** A bar with its number; share from 0 to 1 of the full width, below 0 a bar to the left in another colour. */
export function bar(share, label, kind = "") {
  return h("span", { class: `bar ${kind} ${share < 0 ? "negative" : ""}` },
    h("span", { class: "bar-track", "aria-hidden": "true" }, h("span", { class: "bar-fill", style: { width: `${Math.min(100, Math.abs(share) * 100).toFixed(2)}%` } })),
    h("span", { class: "bar-label" }, label));
}

/** A model's metrics beside the baselines'. */
export function metricBars(metrics, wanted = ["recall@20", "ndcg@20"]) {
  const names = Object.keys(metrics ?? {});
  if (!names.length) return h("p", { class: "quiet" }, "Too few interactions could be held out to judge this model.");
  const shown = wanted.filter((metric) => names.some((name) => metric in metrics[name]));
  return h("div", { class: "metrics" }, shown.map((metric) => {
    const most = Math.max(...names.map((name) => metrics[name][metric] ?? 0), 1e-9);
    return h("div", { class: "metric" }, h("h3", {}, metricName(metric)), h("dl", {}, names.map((name) => [
      h("dt", {}, whoName(name)),
      h("dd", {}, bar((metrics[name][metric] ?? 0) / most, decimal(metrics[name][metric]), name === "model" ? "own" : "other")),
    ])));
  }));
}

/** Percentages of a list as bars against the largest of them. */
export const shareBar = (value, most) => bar(value / Math.max(most, 1e-9), percent(value), "own");

/** A curve of values 1, 2, ... that can be set again as it grows; a second series has its own scale on the right. */
export function curve({ label, height = 240 }) {
  const left = 52, right = 52, top = 28, bottom = 32;
  let width = 640, shown = null;
  const root = s("svg", { class: "curve", role: "img", "aria-label": label });
  const box = h("div", { class: "curve-box" }, root);
  new ResizeObserver(() => {
    if (!box.clientWidth || box.clientWidth === width) return;
    width = box.clientWidth;
    if (shown) box.set(shown);
  }).observe(box);
  const x = (place, count) => left + (count > 1 ? (place - 1) / (count - 1) : 0.5) * (width - left - right);

  function scale(values) {
    let low = Math.min(...values), high = Math.max(...values);
    if (!(high > low)) { low -= 0.5; high += 0.5; }
    return { low, high, y: (value) => height - bottom - ((value - low) / (high - low)) * (height - top - bottom) };
  }

  box.set = (now) => {
    shown = now;
    const { values, total = 0, second = [], secondName = "" } = now;
    const parts = [];
    root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const count = Math.max(values.length, total, second.at(-1)?.[0] ?? 0, 2);
    if (values.length) {
      const first = scale(values);
      for (let step = 0; step <= 4; step++) {
        const value = first.low + ((first.high - first.low) * step) / 4, y = first.y(value);
        parts.push(s("line", { x1: left, x2: width - right, y1: y, y2: y, class: "grid" }), s("text", { x: left - 8, y: y + 4, class: "tick end" }, value.toPrecision(3)));
      }
      for (const epoch of [...new Set([1, Math.ceil(count / 2), count])]) parts.push(s("text", { x: x(epoch, count), y: height - 10, class: "tick middle" }, epoch === Math.ceil(count / 2) ? `epoch ${epoch}` : String(epoch)));
      const points = thin(values).map(([place, value]) => `${x(place, count).toFixed(1)},${first.y(value).toFixed(1)}`);
      parts.push(s("polyline", { points: points.join(" "), class: "line" }));
      const last = values.length;
      parts.push(s("circle", { cx: x(last, count), cy: first.y(values[last - 1]), r: 3.5, class: "dot" }));
      if (second.length) {
        const other = scale([...second.map(([, value]) => value), 0.8 * Math.max(...second.map(([, value]) => value))]); // so that small differences look small
        for (const value of [other.low, other.high]) parts.push(s("text", { x: width - right + 8, y: other.y(value) + 4, class: "tick second" }, value.toPrecision(3)));
        parts.push(s("text", { x: left + 30, y: 12, class: "tick" }, "loss"), s("line", { x1: left, x2: left + 24, y1: 8, y2: 8, class: "line" }),
          s("text", { x: width - right - 30, y: 12, class: "tick second end" }, `${secondName}, right scale`), s("line", { x1: width - right - 24, x2: width - right, y1: 8, y2: 8, class: "line second" }));
        parts.push(s("polyline", { points: second.map(([epoch, value]) => `${x(epoch, count).toFixed(1)},${other.y(value).toFixed(1)}`).join(" "), class: "line second" }));
      }
    } else parts.push(s("text", { x: width / 2, y: height / 2, class: "tick middle" }, "No epoch is over yet"));
    root.replaceChildren(...parts);
    root.setAttribute("aria-label", values.length ? `${label}: from ${values[0].toPrecision(4)} to ${values[values.length - 1].toPrecision(4)} in ${values.length} epochs${second.length ? `; ${secondName} ends at ${second[second.length - 1][1].toPrecision(3)}` : ""}` : `${label}: no epoch is over yet`);
  };
  return box;
}

/** At most about 600 of the values, with their places. */
function thin(values) {
  const every = Math.ceil(values.length / 600);
  return values.map((value, place) => [place + 1, value]).filter(([place]) => place % every === 0 || place === 1 || place === values.length);
}
