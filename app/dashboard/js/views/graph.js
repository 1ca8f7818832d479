// Graph: the neighbourhood of a user or a course, to walk through.

import { Problem, currentModel, get, id, isMissing, isUser, titleOf } from "../api.js";
import { combobox } from "../combobox.js";
import { card, empty, h, number, problem, put, s } from "../dom.js";
import { searchCourses } from "./recommend.js";

const ROW = 38, TOP = 34;
const DESK = { WIDTH: 860, LEFT: 200, RIGHT: 520, user: 20, course: 40 }; // pixels, and characters of names
const PHONE = { WIDTH: 400, LEFT: 104, RIGHT: 190, user: 9, course: 21 };

export async function render(root, parameters) {
  const box = h("div", { class: "stack" });
  const head = h("div", {});
  const about = h("p", { class: "quiet about" });
  const user = parameters.get("user"), course = parameters.get("course");
  put(head, h("div", { class: "filters wide-fields" },
    combobox({
      label: "A user", placeholder: "User id", value: user ?? "",
      search: async (typed) => (await get("search", { q: typed, limit: 8 })).users.map((userId) => ({ value: userId, label: userId })),
      pick: (option) => go("user", option.value), typed: (userId) => go("user", userId),
    }),
    combobox({ label: "A course", placeholder: "Title or id", search: searchCourses, pick: (option) => go("course", option.value) })));
  root.classList.add("stack");
  root.append(card("Graph", { aside: h("span", { class: "quiet" }, "Users on the left, courses on the right") }, head, about), box);
  try {
    if (!(await currentModel())) throw new Problem(404, { type: "no_model" });
    if (user && !(await isUser(user))) throw new Problem(404, { type: "unknown_user", title: "Unknown user", detail: `There is no user “${user}”.` });
    const graph = await get("pictures/graph.json", { user_id: user, course_id: course });
    about.textContent = describe(graph);
    put(box, h("div", { class: "graph-box" }, graph.users.length + graph.courses.length ? drawGraph(graph) : empty("Nobody and nothing yet", "Choose a user or a course.")), drawKey(graph), drawList(graph));
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 404) throw error;
    if (error.type === "no_model") put(box, card("No model yet", {}, empty("The graph comes with the first model", "It is read from the interactions that a model was trained on.", h("a", { href: "#/training" }, "Training"))));
    else if (isMissing(error)) put(box, card("Graph", {}, empty("This service draws no pictures", error.message)));
    else put(box, card("Graph", {}, problem(error)));
  }
}

function go(kind, value) {
  location.hash = `#/graph?${kind}=${id(value)}`;
}

function describe(graph) {
  const hidden = graph.hidden ? ` ${number(graph.hidden)} more neighbours are not shown.` : "";
  if (graph.scope === "all") return `All ${number(graph.n_users)} users and ${number(graph.n_courses)} courses.`;
  const { courses, users } = graph;
  if (graph.scope === "user") return `${graph.focus}, what they took, who else took it, and what is recommended to them.${hidden}`;
  return `“${titleOf(courses.find((one) => one.course_id === graph.focus) ?? { course_id: graph.focus })}”, ${number(users.length)} of those who took it, and what else they took.${hidden}`;
}

/** Heights of users and courses so that few lines cross: courses stand by the mean of their takers. */
function layout(graph) {
  const users = graph.users.map((one) => one.user_id);
  const height = new Map(users.map((one, place) => [one, place]));
  const takers = new Map(graph.courses.map((one) => [one.course_id, []]));
  for (const edge of graph.edges) if (height.has(edge.user_id)) takers.get(edge.course_id)?.push(height.get(edge.user_id));
  const mean = (one) => {
    const all = takers.get(one.course_id);
    if (graph.scope === "course" && one.course_id === graph.focus) return -1;
    if (one.rank !== null) return 1e6 + one.rank;
    return all.length ? all.reduce((sum, value) => sum + value, 0) / all.length : 1e5;
  };
  const courses = [...graph.courses].sort((a, b) => mean(a) - mean(b)).map((one) => one.course_id);
  const rows = Math.max(users.length, courses.length, 1);
  const spread = (ids) => new Map(ids.map((one, place) => [one, TOP + ((place + 0.5) * rows * ROW) / ids.length]));
  return { users: spread(users), courses: spread(courses), height: TOP + rows * ROW + 14, order: courses };
}

function drawGraph(graph) {
  const { WIDTH, LEFT, RIGHT, user: userLength, course: courseLength } = innerWidth < 600 ? PHONE : DESK;
  const places = layout(graph);
  const byCourse = new Map(graph.courses.map((one) => [one.course_id, one]));
  const isFocus = (edge) => (graph.scope === "user" ? edge.user_id : edge.course_id) === graph.focus;
  const root = s("svg", { viewBox: `0 0 ${WIDTH} ${places.height}`, class: "graph-svg", role: "group", "aria-label": describe(graph) });
  const edges = [...graph.edges].sort((a, b) => isFocus(a) - isFocus(b)).map((edge) => ({
    edge,
    line: s("path", { d: path(LEFT, places.users.get(edge.user_id), RIGHT, places.courses.get(edge.course_id)), class: `edge ${isFocus(edge) && graph.scope !== "all" ? "focus" : ""} ${edge.kind}` }),
  }));
  const light = (kind, one) => {
    root.classList.toggle("lit", one !== null);
    for (const { edge, line } of edges) line.classList.toggle("on", one !== null && edge[`${kind}_id`] === one);
  };
  const node = (kind, one, x, y, label, detail, classes) => {
    const square = kind === "user";
    return s("a", {
      href: `#/graph?${kind}=${id(one)}`, class: `node ${kind} ${classes}`,
      on: { pointerenter: () => light(kind, one), pointerleave: () => light(kind, null), focus: () => light(kind, one), blur: () => light(kind, null) },
    },
    s("title", {}, `${kind === "user" ? "User" : "Course"} ${label}${detail ? `, ${detail}` : ""}`),
    s("rect", { class: "ring", x: square ? 8 : x - 16, y: y - 17, width: square ? x + 10 : WIDTH - x + 10, height: 34, rx: 8 }),
    square ? s("rect", { class: "shape", x: x - 10, y: y - 10, width: 20, height: 20 }) : s("circle", { class: "shape", cx: x, cy: y, r: 11 }),
    s("text", { x: square ? x - 20 : x + 20, y: y + 5, "text-anchor": square ? "end" : "start", "unicode-bidi": "plaintext", "aria-hidden": "true" }, shorten(label, square ? userLength : detail ? courseLength - 5 : courseLength)),
    detail ? s("text", { class: "quiet", x: WIDTH - 16, y: y + 5, "text-anchor": "end", "aria-hidden": "true" }, detail) : null);
  };
  root.append(s("text", { class: "quiet", x: LEFT, y: 18, "text-anchor": "middle" }, "users"), s("text", { class: "quiet", x: RIGHT, y: 18, "text-anchor": "middle" }, "courses"),
    ...edges.map(({ line }) => line),
    ...graph.users.map((one) => node("user", one.user_id, LEFT, places.users.get(one.user_id), one.user_id, "", graph.scope === "user" && one.user_id === graph.focus ? "focus" : "")),
    ...places.order.map((courseId) => {
      const one = byCourse.get(courseId);
      const detail = one.percent !== null ? `${one.percent.toFixed(0)} %` : "";
      return node("course", courseId, RIGHT, places.courses.get(courseId), titleOf(one), detail, `${one.rank !== null ? "recommended" : ""} ${graph.scope === "course" && courseId === graph.focus ? "focus" : ""}`);
    }));
  return root;
}

const path = (x1, y1, x2, y2) => `M${x1} ${y1.toFixed(1)}C${(x1 + x2) / 2} ${y1.toFixed(1)} ${(x1 + x2) / 2} ${y2.toFixed(1)} ${x2} ${y2.toFixed(1)}`;

/** The beginning of a text; Chinese, Japanese and Korean characters are as wide as two. */
function shorten(value, length) {
  let wide = 0, at = 0;
  for (const char of value) {
    wide += char.codePointAt(0) >= 0x2e80 ? 2 : 1;
    if (wide > length) return `${value.slice(0, at).trimEnd()}…`;
    at += char.length;
  }
  return value;
}

function drawKey(graph) {
  const sample = (element, label) => h("span", {}, s("svg", { viewBox: "0 0 26 16", class: "graph-svg", "aria-hidden": "true" }, element), label);
  return h("div", { class: "key" },
    sample(s("g", { class: "node user" }, s("rect", { class: "shape", x: 6, y: 2, width: 12, height: 12 })), "user"),
    sample(s("g", { class: "node course" }, s("circle", { class: "shape", cx: 12, cy: 8, r: 6 })), "course"),
    sample(s("path", { class: "edge focus", d: "M1 8H25" }), "taken"),
    graph.courses.some((one) => one.rank !== null) ? [sample(s("path", { class: "edge recommended", d: "M1 8H25" }), "recommended"), sample(s("g", { class: "node recommended" }, s("circle", { class: "shape", cx: 12, cy: 8, r: 6 })), "recommended course")] : null,
    h("span", {}, "Click a square or a circle to walk on."),
    h("span", {}, h("a", { href: `pictures/graph.svg${query(graph)}`, target: "_blank", rel: "noopener" }, "as SVG"), h("a", { href: `pictures/graph.png${query(graph)}`, target: "_blank", rel: "noopener" }, "as PNG")));
}

const query = (graph) => (graph.scope === "all" || graph.focus === null ? "" : `?${graph.scope}_id=${id(graph.focus)}`);

/** The same in words. */
function drawList(graph) {
  if (graph.scope === "all" && graph.users.length > 60) return null;
  const title = new Map(graph.courses.map((one) => [one.course_id, titleOf(one)]));
  const of = (userId, kind) => graph.edges.filter((edge) => edge.user_id === userId && edge.kind === kind).map((edge) => title.get(edge.course_id));
  return h("details", {}, h("summary", {}, "The same in words"), h("ul", { class: "stack" }, graph.users.map(({ user_id: userId }) => {
    const taken = of(userId, "taken"), recommended = of(userId, "recommended");
    return h("li", {}, h("strong", {}, h("bdi", {}, userId)), taken.length ? ` took ${taken.join(", ")}.` : " took nothing shown here.", recommended.length ? ` Recommended: ${recommended.join(", ")}.` : "");
  })));
}
