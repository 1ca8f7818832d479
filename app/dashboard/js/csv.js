// CSV and NDJSON files as rows, read bit by bit: a file may be larger than memory.

const LISTS = new Set(["categories", "tags", "prerequisites"]);
const ALIASES = { item_id: "course_id" };
const SERVER = new Set(["created_at", "updated_at"]);

/** Rows of a file as {line, row} or {line, problem}, one at a time. */
export async function* readRows(file) {
  const stream = file.name.endsWith(".gz") ? file.stream().pipeThrough(new DecompressionStream("gzip")) : file.stream();
  const text = stream.pipeThrough(new TextDecoderStream());
  const name = file.name.replace(/\.gz$/, "");
  yield* /\.(nd)?jsonl?$/i.test(name) ? readLines(text) : readCsv(text);
}

async function* chunks(stream) {
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

async function* readLines(stream) {
  let rest = "", line = 0;
  const parse = (text) => {
    try {
      return { line, row: JSON.parse(text) };
    } catch (error) {
      return { line, problem: `the line is not JSON: ${error.message}` };
    }
  };
  let whole = "", first = true, array = false;
  for await (const chunk of chunks(stream)) {
    if (first && /\S/.test(rest + chunk)) {
      array = (rest + chunk).trimStart().startsWith("[");
      first = false;
    }
    if (array) {
      whole += rest + chunk;
      rest = "";
      continue;
    }
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const text of lines) {
      line++;
      if (text.trim()) yield parse(text);
    }
  }
  if (array) {
    for (const row of JSON.parse(whole)) yield { line: ++line, row };
    return;
  }
  line++;
  if (rest.trim()) yield parse(rest);
}

/** RFC 4180: quotes double inside quotes, and a quoted cell may hold line breaks. */
async function* readCsv(stream) {
  let cell = "", cells = [], quoted = false, wasQuoted = false, pendingQuote = false, line = 1, started = 1, separator = null, head = null;
  const finish = () => {
    cells.push(cell);
    cell = "";
    wasQuoted = false;
    const row = cells;
    cells = [];
    return row;
  };
  for await (const raw of chunks(stream)) {
    const chunk = head === null && separator === null ? raw.replace(/^\uFEFF/, "") : raw;
    if (separator === null) separator = chooseSeparator(chunk);
    for (const char of chunk) {
      if (pendingQuote) {
        pendingQuote = false;
        if (char === '"') { cell += '"'; continue; }
        quoted = false;
      }
      if (quoted) {
        if (char === '"') pendingQuote = true;
        else { if (char === "\n") line++; cell += char; }
      } else if (char === '"' && cell === "" && !wasQuoted) { quoted = true; wasQuoted = true; }
      else if (char === separator) { cells.push(cell); cell = ""; wasQuoted = false; }
      else if (char === "\n") {
        const done = finish();
        if (head === null) head = done.map((name) => ALIASES[name.trim()] ?? name.trim());
        else if (done.some((one) => one !== "")) yield toRow(head, done, started);
        started = ++line;
      } else if (char !== "\r") cell += char;
    }
  }
  if (cell !== "" || cells.length) {
    const done = finish();
    if (head !== null && done.some((one) => one !== "")) yield toRow(head, done, started);
  }
}

function chooseSeparator(text) {
  const [first] = text.split("\n", 1);
  return [",", ";", "\t"].map((one) => [first.split(one).length, one]).sort((a, b) => b[0] - a[0])[0][1];
}

function toRow(head, cells, line) {
  if (cells.length > head.length) return { line, problem: `has ${cells.length} cells; the first line has ${head.length}` };
  const row = {};
  head.forEach((name, place) => {
    const cell = cells[place] ?? "";
    if (cell !== "" && name && !SERVER.has(name)) row[name] = read(name, cell);
  });
  return { line, row };
}

/** The value of a cell, as `coursegraph import` reads it. */
function read(name, cell) {
  if (LISTS.has(name)) return cell.trimStart().startsWith("[") ? json(cell) : parts(cell);
  if (name === "features") return cell.trimStart().startsWith("[") ? json(cell) : cell.split(/[|\s]+/).filter(Boolean).map((one) => (Number.isFinite(Number(one)) ? Number(one) : one));
  if (name === "attributes") return json(cell);
  if (name === "available") return { true: true, false: false, 1: true, 0: false }[cell.trim().toLowerCase()] ?? cell;
  if (name === "value") return Number.isFinite(Number(cell)) ? Number(cell) : cell;
  if (name === "timestamp" || name === "published_at") return /^-?\d+(\.\d+)?$/.test(cell) ? Number(cell) : cell;
  if (name === "interests") {
    if (/^\s*[[{]/.test(cell)) return json(cell);
    return Object.fromEntries(parts(cell).map((one) => {
      const colon = one.lastIndexOf(":");
      return colon < 0 ? [one, 1] : [one.slice(0, colon), Number.isFinite(Number(one.slice(colon + 1))) ? Number(one.slice(colon + 1)) : one.slice(colon + 1)];
    }));
  }
  return cell;
}

const parts = (cell) => cell.split("|").map((one) => one.trim()).filter(Boolean);

function json(cell) {
  try {
    return JSON.parse(cell);
  } catch {
    return cell;
  }
}

/** Which kind of rows these seem to be. */
export function kindOf(row) {
  if (row.user_id !== undefined && row.course_id !== undefined) return "interactions";
  if (row.course_id !== undefined) return "courses";
  return "users";
}
