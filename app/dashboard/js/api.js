// Calls of the service. Every failure is a Problem in the service's own words.

const KEY = "coursegraph-key";
let asking = null;

export class Problem extends Error {
  constructor(status, body, retryAfter = null) {
    super(body.detail ?? `The service answered ${status}.`);
    this.status = status;
    this.type = body.type ?? "unknown";
    this.title = body.title ?? "That did not work";
    this.errors = body.errors ?? [];
    this.body = body;
    this.retryAfter = retryAfter;
  }
}

/** Whether an error means that this service does not have the call (yet). */
export const isMissing = (error) => error instanceof Problem && (error.status === 405 || (error.status === 404 && error.type === "not_found"));

function key() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** fetch with the key; asks for one when it is wanted. Throws Problem, also when the service cannot be reached. */
export async function send(path, options = {}) {
  const own = key();
  const headers = { ...options.headers, ...(own ? { "X-API-Key": own } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store", redirect: "error", credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { type: "unreachable", title: "The service does not answer", detail: "No connection to the service. It may be starting, or stopped." });
  }
  if (answer.status === 401 || (answer.status === 403 && !options.forbidden)) {
    const body = await bodyOf(answer);
    if (key() !== own) return send(path, options); // another call has asked for a key meanwhile
    await askForKey(own ? body.detail : "");
    return send(path, { ...options, forbidden: true });
  }
  if (!answer.ok) throw new Problem(answer.status, await bodyOf(answer), answer.headers.get("retry-after"));
  return answer;
}

async function bodyOf(answer) {
  try {
    return await answer.json();
  } catch {
    return {};
  }
}

/** One dialog for all calls that wait for a key. */
function askForKey(why) {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("key");
    const field = document.getElementById("key-value");
    document.getElementById("key-problem").textContent = why ?? "";
    field.value = "";
    dialog.addEventListener("close", () => {
      try {
        if (field.value) sessionStorage.setItem(KEY, field.value);
      } catch {
        // without storage the key holds for no further call
      }
      asking = null;
      resolve();
    }, { once: true });
    dialog.addEventListener("cancel", (event) => event.preventDefault(), { once: true });
    dialog.showModal();
    field.focus();
  });
  return asking;
}

/** The JSON of an answer. query: parameters, arrays repeat, empty ones are left out. */
export async function get(path, query = {}, options = {}) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") parameters.append(name, one);
    }
  }
  const text = parameters.toString();
  return (await send(text ? `${path}?${text}` : path, options)).json();
}

/** Send JSON and read JSON. */
export async function post(path, body = undefined, options = {}) {
  const answer = await send(path, {
    method: "POST",
    ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }),
    ...options,
  });
  return answer.json();
}

export const remove = async (path) => (await send(path, { method: "DELETE" })).json();

export const id = encodeURIComponent;

/** Server-sent events, read with fetch so that the key goes along. Ends when the stream ends or `signal` says so. */
export async function events(path, onEvent, signal) {
  const answer = await send(path, { signal, headers: { Accept: "text/event-stream" } });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data) onEvent(JSON.parse(data));
    }
  }
}

/** The served model, null before the first. Asks for the list: a 404 would stand in the browser's console as an error. */
export const currentModel = async () => (await get("models", { limit: 100 })).items.find((model) => model.current) ?? null;

/** Whether there is such a user, for the same reason. */
export const isUser = async (userId) => (await get("search", { q: userId, limit: 1 })).users[0] === userId;

// --- courses by id, asked for once

const courses = new Map();

/** What is known of a course: {course_id, title, categories, ...}; its id alone if it is gone. */
export function course(courseId) {
  if (!courses.has(courseId)) {
    courses.set(courseId, get(`courses/${id(courseId)}`).catch((error) => {
      courses.delete(courseId);
      if (error.status === 404) return { course_id: courseId, title: null, categories: [] };
      throw error;
    }));
  }
  return courses.get(courseId);
}

/** Courses by id, as a map. */
export async function coursesById(ids) {
  const distinct = [...new Set(ids)];
  const found = await Promise.all(distinct.map((one) => course(one)));
  return new Map(distinct.map((one, place) => [one, found[place]]));
}

/** Remember courses that an answer brought along. */
export function remember(records) {
  for (const record of records) if (record) courses.set(record.course_id, Promise.resolve(record));
}

/** Forget them all, after an import. */
export const forgetCourses = () => courses.clear();

export const titleOf = (record) => record.title || record.course_id;
