// Data: files in, with a report of every row that was not taken, and everything out again.

import { forgetCourses, get, send } from "../api.js";
import { kindOf, readRows } from "../csv.js";
import { card, h, icon, number, problem, put, table, text, time, toast } from "../dom.js";

const BATCH = 2000; // rows sent at once
const SHOWN = 200; // rejected rows in the table; all are in the file
const NOTED = 50; // last rejected rows of anybody
const KINDS = ["users", "courses", "interactions"];
let last = null; // the report of this tab, also when another view was looked at meanwhile

export async function render(root) {
  const [statistics, rejected] = await Promise.all([get("statistics"), get("rejected", { limit: NOTED })]);
  const report = h("div", { class: "wide" });
  const noted = h("div", { class: "wide" });
  const refresh = async () => drawNoted(noted, (await get("rejected", { limit: NOTED })).items);
  root.append(h("div", { class: "grid" }, importCard(report, refresh), exportCard(statistics), limitsCard(statistics), report, noted));
  if (last) drawReport(report, last);
  drawNoted(noted, rejected.items);
}

function importCard(report, refresh) {
  const input = h("input", { type: "file", class: "visually-hidden", id: "file", accept: ".csv,.tsv,.txt,.ndjson,.jsonl,.json,.gz", multiple: true, on: { change: () => take([...input.files]) } });
  const kind = h("select", { id: "kind" }, h("option", { value: "" }, "as their columns tell"), KINDS.map((one) => h("option", { value: one }, one)));
  const dry = h("input", { type: "checkbox", id: "dry" });
  const create = h("input", { type: "checkbox", id: "create", checked: true });
  const choose = h("button", { type: "button", class: "primary", on: { click: () => input.click() } }, "Choose files");
  const zone = h("div", {
    class: "drop",
    on: {
      dragover: (event) => { event.preventDefault(); zone.classList.add("over"); },
      dragleave: () => zone.classList.remove("over"),
      drop: (event) => { event.preventDefault(); zone.classList.remove("over"); take([...event.dataTransfer.files]); },
    },
  }, icon("data"), h("p", {}, h("strong", {}, "Drop files here"), " or"), choose, h("label", { for: "file", class: "visually-hidden" }, "Files to import"), input,
  h("p", { class: "quiet small-text" }, "CSV with a header line, NDJSON or a JSON array, also gzipped. Lists in a cell are parted by |. Sending a file twice is safe."));

  async function take(files) {
    if (!files.length) return;
    choose.disabled = true;
    try {
      for (const file of files) await importFile(file, { kind: kind.value, dry: dry.checked, create: create.checked }, report);
      await refresh().catch(() => {}); // the report of the file is there already
    } finally {
      choose.disabled = false;
      input.value = "";
    }
  }

  return card("Import", { class: "wide" }, h("div", { class: "stack" }, zone, h("div", { class: "filters wide-fields" },
    h("div", {}, h("label", { for: "kind" }, "The rows are"), kind),
    h("label", { class: "check" }, dry, "Only check, write nothing"),
    h("label", { class: "check" }, create, "Create unknown users and courses"))));
}

async function importFile(file, { kind, dry, create }, place) {
  const result = { file: file.name, kind, dry, rows: 0, accepted: 0, created: 0, updated: 0, unchanged: 0, rejected: [], done: false, stopped: null };
  last = result;
  let batch = [];
  drawReport(place, result);

  async function flush() {
    if (!batch.length) return;
    const rows = batch;
    batch = [];
    const query = new URLSearchParams({ ...(result.dry ? { dry_run: "true" } : {}), ...(result.kind === "interactions" && !create ? { auto_create: "false" } : {}) });
    const answer = await send(`${result.kind}?${query}`, { method: "POST", headers: { "Content-Type": "application/x-ndjson" }, body: rows.map(({ row }) => `${JSON.stringify(row)}\n`).join("") });
    const told = await answer.json();
    for (const name of ["accepted", "created", "updated", "unchanged"]) result[name] += told[name] ?? 0;
    for (const bad of told.rejected) result.rejected.push({ ...bad, line: rows[bad.index].line, row: rows[bad.index].row });
    drawReport(place, result);
  }

  try {
    for await (const { line, row, problem: wrong } of readRows(file)) {
      result.rows++;
      if (wrong) result.rejected.push({ line, id: null, type: "unreadable", detail: wrong });
      else {
        result.kind ||= kindOf(row ?? {});
        batch.push({ line, row });
      }
      if (batch.length >= BATCH) await flush();
    }
    await flush();
    if (!result.rows) result.stopped = { title: "No rows", message: "The file holds no rows: a CSV needs a header line and at least one more." };
  } catch (error) {
    result.stopped = { title: error.title ?? "The file could not be read", message: error.message };
  }
  result.done = true;
  result.rejected.sort((a, b) => a.line - b.line);
  forgetCourses();
  drawReport(place, result);
  if (!result.stopped) toast(`${file.name}: ${number(result.accepted)} of ${number(result.rows)} rows ${result.dry ? "would be taken" : "were taken"}.`, result.rejected.length ? "bad" : "good");
}

function drawReport(place, result) {
  const fact = (label, value) => [h("dt", {}, label), h("dd", {}, value)];
  const parts = [h("dl", { class: "facts" },
    fact("Rows", `${number(result.rows)}${result.kind ? ` of ${result.kind}` : ""}${result.done ? "" : ", reading on"}`),
    fact(result.dry ? "Would be taken" : "Taken", result.dry ? number(result.accepted) : `${number(result.accepted)}: ${number(result.created)} new, ${number(result.updated)} updated, ${number(result.unchanged)} unchanged`),
    fact("Rejected", h("span", { class: result.rejected.length ? "problem" : "" }, number(result.rejected.length))))];
  if (result.stopped) parts.push(problem(result.stopped));
  if (result.rejected.length) {
    parts.push(h("div", { class: "row between" }, h("h3", {}, result.rejected.length > SHOWN ? `The first ${SHOWN} rejected rows` : "Rejected rows"), result.done ? h("button", { type: "button", class: "small", on: { click: () => download(`${result.file}-rejected.ndjson`, result.rejected.map((bad) => JSON.stringify(bad)).join("\n")) } }, "Save all as NDJSON") : null));
    parts.push(h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Rejected rows" }, h("table", {}, h("thead", {}, h("tr", {}, ["Line", "Id", "What is wrong"].map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, result.rejected.slice(0, SHOWN).map((bad) => h("tr", {}, h("th", { scope: "row" }, String(bad.line)), h("td", {}, h("bdi", {}, bad.id ?? "–")), h("td", {}, bad.detail)))))));
  }
  put(place, card(result.dry ? `Check of ${result.file}` : `Import of ${result.file}`, { "aria-busy": result.done ? null : "true" }, h("div", { class: "stack", role: "status" }, parts)));
}

/** Rows that anybody sent and that were not taken, as the service remembers them. */
function drawNoted(place, rows) {
  put(place, card("Last rejected rows", { aside: h("span", { class: "quiet" }, "from anybody, newest first") }, rows.length
    ? table("Last rejected rows of the service", [["When"], ["Rows of"], ["Place"], ["Id"], ["What is wrong"]], rows.map((row) => [time(row.at), row.kind, number(row.index), text(row.id ?? "–"), row.detail]))
    : h("p", { class: "quiet" }, "None: every row that was sent has been taken.")));
}

function download(name, content, type = "application/x-ndjson") {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function exportCard(statistics) {
  const save = async (kind, button) => {
    button.disabled = true;
    try {
      download(`${kind}.ndjson`, await (await send(`export/${kind}`)).blob());
    } catch (error) {
      toast(error.message, "bad");
    }
    button.disabled = false;
  };
  return card("Export", {}, h("p", { class: "quiet" }, "NDJSON that the import takes back unchanged."), h("ul", { class: "stack export" }, KINDS.map((kind) => {
    const button = h("button", { type: "button", on: { click: () => save(kind, button) } }, `Save ${kind}`);
    return h("li", { class: "row between" }, h("span", {}, `${number(statistics[kind])} ${statistics.limits[kind] === null ? "" : `of at most ${number(statistics.limits[kind])} `}${kind}`), button);
  })));
}

function limitsCard({ limits, interaction_types: types }) {
  const mib = (bytes) => `${number(Math.round(bytes / 2 ** 20))} MiB`;
  const rows = [["A JSON array", `${number(limits.json_rows)} rows, ${mib(limits.json_bytes)}`], ["NDJSON", "any length"], ["NDJSON, all or nothing", mib(limits.spool_bytes)], ["Interaction types", types.join(", ")]];
  return card("Limits", {}, h("dl", { class: "facts" }, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}
