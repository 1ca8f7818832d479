// Recommend: what somebody took, what comes next, and why.

import { Problem, coursesById, get, id, isMissing, isUser, post, remember, send, titleOf } from "../api.js";
import { bar, shareBar } from "../charts.js";
import { combobox } from "../combobox.js";
import { card, decimal, empty, h, icon, loading, number, problem, put, reducedMotion, text, time, toast } from "../dom.js";

const SOURCES = {
  model: "From the trained vector of this user.",
  fold_in: "The user is newer than the model: the vector was made just now from what they took.",
  content: "Nothing taken yet: from interests and content alone.",
  popular: "Nothing is known of this user: the most taken courses.",
};
const DEFAULTS = { n: "10", category: "", level: "", language: "", prerequisites: "ignore", diversity: "0", temperature: "1", percent_over: "recommended" };

export async function render(root, parameters, signal) {
  const statistics = await get("statistics");
  const state = {
    mode: parameters.has("courses") ? "anonymous" : "user",
    user: parameters.get("user") ?? "",
    courses: (parameters.get("courses") ?? "").split("\u001f").filter(Boolean),
    options: { ...DEFAULTS },
    unsupported: new Set(),
    types: statistics.interaction_types,
    turn: 0,
    signal,
  };
  if (!statistics.courses) {
    root.append(card("Recommend", {}, empty("No courses yet", "There is nothing to recommend until there are courses.", h("a", { href: "#/data" }, "Import some"))));
    return;
  }
  const who = h("div", { class: "stack" });
  const taken = h("div", { class: "taken-place" });
  const answer = h("div", {});
  const filters = drawFilters(statistics, state, () => refresh());
  root.append(h("div", { class: "recommend" },
    h("div", { class: "stack" }, card("For whom", {}, who), taken),
    h("div", { class: "stack" }, card("Filters", { class: "filter-card" }, filters), answer)));

  function setAddress() {
    const query = state.mode === "user" ? (state.user ? `?user=${id(state.user)}` : "") : `?courses=${id(state.courses.join("\u001f"))}`;
    history.replaceState(null, "", `#/recommend${query}`);
  }

  async function refresh({ gone = null } = {}) {
    setAddress();
    const turn = ++state.turn;
    if (gone && !reducedMotion()) {
      gone.classList.add("going");
      await new Promise((resolve) => setTimeout(resolve, 240));
    }
    if (state.mode === "user" ? !state.user : !state.courses.length) {
      put(taken);
      put(answer, card("Recommendations", {}, state.mode === "user"
        ? empty("Choose a user", "Type the beginning of an id, or try somebody who has taken a few courses.", ...(await examples(pickUser)))
        : empty("Which courses did they take?", "Add one or more; the vector is made from them on the spot, and nothing is stored.")));
      return;
    }
    if (!answer.firstChild || answer.querySelector(".empty")) put(answer, card("Recommendations", {}, loading(6)));
    answer.setAttribute("aria-busy", "true");
    try {
      const list = await ask(state);
      const courses = await coursesOf(list);
      if (turn !== state.turn) return;
      put(answer, drawList(list, courses, state, actions));
      if (state.mode === "user") put(taken, await drawTaken(state, actions));
      else put(taken);
    } catch (error) {
      if (turn !== state.turn || error.name === "AbortError") return;
      if (!(error instanceof Problem)) throw error;
      put(taken);
      put(answer, card("Recommendations", {}, isMissing(error)
        ? empty("This service cannot do that yet", state.mode === "anonymous" ? "It has no recommendations for somebody anonymous." : error.message)
        : problem(error, () => refresh())));
    } finally {
      if (turn === state.turn) answer.removeAttribute("aria-busy");
    }
  }

  const actions = {
    refresh,
    async took(courseId, title, type, row) {
      if (state.mode === "anonymous") {
        state.courses = [...state.courses, courseId];
        drawWho();
        return refresh({ gone: row });
      }
      try {
        await post("interactions", { user_id: state.user, course_id: courseId, type });
      } catch (error) {
        toast(error.message, "bad");
        return undefined;
      }
      toast(`${state.user}: ${type} “${title}”. The list is made anew.`);
      return refresh({ gone: row });
    },
    async untook(courseId, type, title) {
      try {
        const query = new URLSearchParams({ user_id: state.user, course_id: courseId, type });
        await send(`interactions?${query}`, { method: "DELETE" });
      } catch (error) {
        return toast(error.message, "bad");
      }
      toast(`${type} “${title}” was removed.`);
      return refresh();
    },
  };

  function pickUser(userId) {
    state.user = userId;
    drawWho();
    refresh();
  }

  function drawWho() {
    const radio = (mode, label) => h("label", {}, h("input", {
      type: "radio", name: "mode", value: mode, checked: state.mode === mode,
      on: { change: () => { state.mode = mode; drawWho(); who.querySelector("input:checked")?.focus(); refresh(); } },
    }), h("span", {}, label));
    const parts = [h("fieldset", {}, h("legend", { class: "visually-hidden" }, "Who"), h("div", { class: "segments" }, radio("user", "A user"), radio("anonymous", "Anonymous")))];
    if (state.mode === "user") {
      parts.push(combobox({
        label: "User id", placeholder: "Begin to type an id", value: state.user,
        search: async (typed) => (await get("search", { q: typed, limit: 8 })).users.map((userId) => ({ value: userId, label: userId })),
        pick: (option) => pickUser(option.value), typed: pickUser,
      }));
    } else {
      parts.push(combobox({
        label: "Courses taken", placeholder: "Add a course by its title", keep: false, search: searchCourses,
        pick: (option) => { if (!state.courses.includes(option.value)) state.courses = [...state.courses, option.value]; drawWho(); who.querySelector("[role=combobox]").focus(); refresh(); },
      }));
      const chips = h("ul", { class: "chips", "aria-label": "Courses taken" });
      coursesById(state.courses).then((records) => put(chips, state.courses.map((courseId) => {
        const title = titleOf(records.get(courseId));
        return h("li", { class: "chip" }, text(title), h("button", { type: "button", class: "icon-button", "aria-label": `Remove ${title}`, on: { click: () => { state.courses = state.courses.filter((one) => one !== courseId); drawWho(); refresh(); } } }, icon("close")));
      }))).catch(() => {});
      parts.push(chips);
    }
    put(who, parts);
  }

  drawWho();
  await refresh();
}

export async function searchCourses(typed) {
  const { courses } = await get("search", { q: typed, limit: 8 });
  return courses.map((course) => ({ value: course.course_id, label: titleOf(course), detail: course.categories[0] ?? "" }));
}

/** Buttons with a few users to begin with. */
async function examples(pick) {
  const { items } = await get("users", { limit: 3 });
  return items.map(({ user_id: userId }) => h("button", { type: "button", class: "small", on: { click: () => pick(userId) } }, text(userId)));
}

/** The list with every option that this service knows; what it does not know is remembered and left out. */
async function ask(state) {
  const { options } = state;
  for (;;) {
    const wanted = { ...options, explain: "true", include_course: "true" };
    for (const name of [...Object.keys(wanted)]) {
      if (state.unsupported.has(name) || wanted[name] === DEFAULTS[name] && name !== "n") delete wanted[name];
    }
    try {
      if (state.mode === "user") return await get(`recommendations/${id(state.user)}`, wanted, { signal: state.signal });
      const numbers = new Set(["n", "diversity", "temperature"]);
      const body = Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== "").map(([name, value]) =>
        [name, value === "true" ? true : numbers.has(name) ? Number(value) : ["category", "level", "language"].includes(name) ? [value] : value]));
      return await post("recommendations", { ...body, course_ids: state.courses });
    } catch (error) {
      const unknown = (error.errors ?? []).filter(({ type }) => type === "unknown_parameter" || type === "extra_forbidden").map(({ loc }) => loc[loc.length - 1]);
      const news = unknown.filter((name) => !state.unsupported.has(name));
      if (!news.length) throw error;
      news.forEach((name) => state.unsupported.add(name));
    }
  }
}

/** Records of all courses that the list names. */
async function coursesOf(list) {
  remember(list.items.map((item) => item.course));
  return coursesById(list.items.map((item) => item.course_id));
}

function drawFilters(statistics, state, changed) {
  const { labels } = statistics;
  const select = (name, label, choices) => {
    const field = `filter-${name}`;
    return h("div", {}, h("label", { for: field }, label), h("select", { id: field, on: { change: (event) => { state.options[name] = event.target.value; changed(); } } },
      choices.map(([value, title]) => h("option", { value }, title))));
  };
  const any = (list) => [["", "Any"], ...list.map(({ label, courses }) => [label, `${label} (${number(courses)})`])];
  const range = (name, label, low, high, step, say) => {
    const field = `filter-${name}`;
    const said = h("output", { for: field, class: "quiet" }, say(Number(DEFAULTS[name])));
    return h("div", {}, h("label", { for: field }, label, " ", said), h("input", {
      id: field, type: "range", min: low, max: high, step, value: DEFAULTS[name],
      on: { input: (event) => { said.textContent = say(Number(event.target.value)); }, change: (event) => { state.options[name] = event.target.value; changed(); } },
    }));
  };
  const main = [select("category", "Category", any(labels.categories))];
  if (labels.levels.length) main.push(select("level", "Level", any(labels.levels)));
  if (labels.languages.length) main.push(select("language", "Language", any(labels.languages)));
  main.push(select("n", "How many", [["5", "5"], ["10", "10"], ["20", "20"], ["50", "50"]]));
  main[main.length - 1].querySelector("select").value = "10";
  const more = h("details", {}, h("summary", {}, "More"), h("div", { class: "filters" },
    range("diversity", "Diversity", 0, 1, 0.1, (value) => value.toFixed(1)),
    range("temperature", "Evenness of percentages", 0.2, 3, 0.1, (value) => value.toFixed(1)),
    select("percent_over", "Percentages over", [["recommended", "this list"], ["candidates", "all that could be in it"]]),
    select("prerequisites", "Prerequisites", [["ignore", "need not be met"], ["met", "all completed"]])));
  return h("div", { class: "stack" }, h("div", { class: "filters" }, main), more);
}

function drawList(list, courses, state, actions) {
  const parts = [];
  const shown = list.model_id ? `model ${list.model_id}` : "no model yet";
  const missing = [...state.unsupported].filter((name) => name in DEFAULTS && state.options[name] !== DEFAULTS[name]);
  if (missing.length) parts.push(h("p", { class: "note" }, `This service does not know ${missing.join(", ")} yet; the list is made without.`));
  parts.push(h("p", { class: "quiet" }, state.mode === "anonymous" && list.source === "fold_in" ? "A vector was made just now from these courses." : SOURCES[list.source] ?? ""));
  if (!list.items.length) {
    parts.push(empty("Nothing left", "Every course that fits these filters has been taken already, or none fits."));
  } else {
    const most = Math.max(...list.items.map((item) => item.percent));
    parts.push(h("ol", { class: "recs" }, list.items.map((item) => drawItem(item, list, most, courses, state, actions))));
  }
  return card("Recommendations", { aside: h("span", { class: "quiet" }, shown) }, ...parts);
}

function drawItem(item, list, most, courses, state, actions) {
  const course = courses.get(item.course_id);
  const title = titleOf(course);
  const more = h("div", { class: "rec-more", hidden: true });
  const row = h("li", { "data-course": item.course_id });

  const opener = (label, fill) => {
    const button = h("button", {
      type: "button", class: "small", "aria-expanded": "false", "aria-label": `${label}: ${title}`,
      on: {
        click: async () => {
          const open = button.getAttribute("aria-expanded") === "true";
          row.querySelectorAll("[aria-expanded]").forEach((one) => one.setAttribute("aria-expanded", "false"));
          more.hidden = open;
          if (open) return;
          button.setAttribute("aria-expanded", "true");
          put(more, loading(2));
          put(more, await fill().catch((error) => h("p", { class: "quiet" }, isMissing(error) ? "This service cannot say that yet." : error.message)));
        },
      },
    }, label);
    return button;
  };

  const type = h("select", { "aria-label": `What was done with ${title}`, class: "small", hidden: state.mode === "anonymous" }, state.types.map((one) => h("option", { value: one, selected: one === "enroll" ? "selected" : null }, one)));
  row.append(h("div", { class: "rec" },
    h("span", { class: "rec-rank" }, h("span", { class: "visually-hidden" }, "Rank "), String(item.rank)),
    h("div", {}, h("div", { class: "rec-title" }, text(title)), h("div", {}, tags(course))),
    shareBar(item.percent, most),
    h("div", { class: "rec-tools" },
      opener("Why", async () => (state.unsupported.has("explain") ? h("p", { class: "quiet" }, "This service cannot say why yet.") : drawReasons(item, list))),
      opener("Similar", () => drawSimilar(item.course_id)),
      type,
      h("button", { type: "button", class: "small took", "aria-label": `Took it: ${title}`, on: { click: () => actions.took(item.course_id, title, type.value, row) } }, "Took it"))), more);
  return row;
}

export function tags(course) {
  return [course.categories?.[0], course.level, course.language].filter(Boolean).map((label) => h("span", { class: "tag" }, text(label)));
}

async function drawReasons(item, list) {
  const because = item.because ?? [];
  if (!because.length) return h("p", { class: "quiet" }, list.source === "popular" ? "Because many took it; nothing is known of this user." : "This list was made without reasons.");
  const named = await coursesById(because.map((reason) => reason.course_id).filter(Boolean));
  const most = Math.max(...because.map((reason) => Math.abs(reason.contribution)), 1e-9);
  return [
    h("p", { class: "quiet" }, `The score is ${decimal(item.score)}: the sum of what each course taken adds.`),
    h("ul", { class: "reasons" }, because.map((reason) => h("li", {},
      reason.course_id ? text(titleOf(named.get(reason.course_id))) : h("em", { class: "quiet" }, "the user’s own part"),
      bar(reason.contribution / most, `${reason.contribution >= 0 ? "+" : "−"}${Math.abs(reason.contribution).toFixed(3)}`, "own")))),
  ];
}

async function drawSimilar(courseId) {
  const { items } = await get(`courses/${id(courseId)}/similar`, { n: 6 });
  if (!items.length) return h("p", { class: "quiet" }, "Nothing resembles it yet.");
  const named = await coursesById(items.map((item) => item.course_id));
  const value = (item) => item.similarity ?? item.score ?? 0;
  return [h("p", { class: "quiet" }, "Nearest by the model’s vectors (1 is the same direction):"),
    h("ul", { class: "reasons" }, items.map((item) => h("li", {}, h("a", { href: `#/graph?course=${id(item.course_id)}` }, text(titleOf(named.get(item.course_id)))), bar(value(item), decimal(value(item), 2), "own"))))];
}

async function drawTaken(state, actions) {
  if (!(await isUser(state.user))) return card("Taken", {}, h("p", { class: "quiet" }, `There is no user ${state.user}. The first interaction creates one.`));
  const { items } = await get(`users/${id(state.user)}/interactions`, { limit: 50 });
  const named = await coursesById(items.map((item) => item.course_id));
  const links = h("span", { class: "row" }, h("a", { href: `#/graph?user=${id(state.user)}` }, "Graph"), h("a", { href: `#/map?user=${id(state.user)}` }, "Map"));
  if (!items.length) return card("Taken", { aside: links }, h("p", { class: "quiet" }, "Nothing yet."));
  return card(`Taken (${items.length === 50 ? "last 50" : items.length})`, { aside: links }, h("ul", { class: "taken" }, items.map((item) => {
    const title = titleOf(named.get(item.course_id));
    return h("li", {}, h("div", {}, text(title), h("div", { class: "quiet small-text" }, item.type, " · ", time(item.timestamp))),
      h("button", { type: "button", class: "icon-button", title: "Remove", "aria-label": `Remove ${item.type} of ${title}`, on: { click: () => actions.untook(item.course_id, item.type, title) } }, icon("close")));
  })));
}
