"""Batches: a JSON object, an array of them, or NDJSON of any length, to rows that are written or named."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from app.api.bodies import JSON, NDJSON, describe_json_error, media_type, parse_json, read_json, read_lines
from app.api.reports import Report
from app.api.slots import LARGE_BYTES, AllSlots
from app.errors import HttpError, InvalidValueError, MalformedBodyError, TooLargeError, UnsupportedMediaError
from app.schemas.reports import RejectedRow
from app.schemas.rows import UnreadableRow, reject, validate_rows

ARRAY_ROWS = 10_000  # rows of a JSON array, all of which is in memory; NDJSON may have any number
CHUNK_ROWS = 2_000  # rows that are checked and written at once: 10 ms of checking, in which nothing else runs
CHUNK_BYTES = 4 * 2**20  # the same for long rows
LINE_BYTES = 4 * 2**20  # of a line of NDJSON; the largest course that is taken is smaller
SPOOL_BYTES = 8 * 2**20  # kept in memory of a batch that may be abandoned; more goes to a temporary file

OnError = Literal["skip", "abort"]
Unknown = list[tuple[int, HttpError]]
Chunks = AsyncIterator[list[Any]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the good rows of a chunk; ``unknown`` has positions of those that could not be written."""

    created: int
    updated: int
    unchanged: int
    unknown: Unknown


@dataclass(frozen=True, slots=True)
class BatchKind:
    """How rows of one kind are checked and written.

    check: positions that ``write`` would give back as unknown.  types: accepted interaction types.
    count: told how many rows were accepted and rejected.  note: given the first rejected ones, unless of a dry run.
    """

    model: type[BaseModel]
    write: Callable[[list[Any]], Awaitable[Outcome]]
    check: Callable[[list[Any]], Awaitable[Unknown]]
    count: Callable[[int, int], None]
    note: Callable[[list[RejectedRow]], Awaitable[None]]
    types: Collection[str] | None = None


async def take_batch(request: Request, kind: BatchKind, *, on_error: OnError, dry_run: bool) -> Response:
    """Write the good rows and name the bad ones; of a single object what is wrong with it is the answer.

    The first of the bad ones are kept for whoever looks after the data.
    on_error: ``abort`` writes nothing if any row is bad.  dry_run: nothing is written at all.
    Raises MalformedBodyError, TooLargeError, UnsupportedMediaError; of a single object any HttpError.
    """
    type_ = media_type(request)
    with batch_place(request), tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool, Report() as report:
        again: Callable[[], Chunks]
        if type_ == JSON:
            rows = parse_json(await read_json(request, request.app.state.body_limit_bytes))
            if not isinstance(rows, list):
                await _take_one(rows, kind, report, dry_run=dry_run)
                return report.response(kind.count)
            _check_length(rows)
            first, again = _slices(rows), lambda: _slices(rows)
        elif type_ in NDJSON:
            kept = _Kept(spool, request.app.state.spool_limit_bytes) if on_error == "abort" and not dry_run else None
            first, again = _parsed(_lines(request), kept), lambda: _parsed(_kept_lines(spool))
        else:
            raise UnsupportedMediaError(type_, f"{JSON} or {NDJSON[0]}")
        if on_error == "abort":
            await _process(first, kind, report, write=False)
            if report.n_rejected:
                if not dry_run:
                    await kind.note(report.first)
                return report.aborted(request, kind.count)
            if dry_run:
                return report.response(kind.count)
            report.clear()
            first = again()
        await _process(first, kind, report, write=not dry_run)
        if report.n_rejected and not dry_run:
            await kind.note(report.first)
        return report.response(kind.count)


def batch_place(request: Request) -> contextlib.AbstractContextManager[None]:
    """A place among the batches in progress, which a small one does not need.  Raises UnavailableError."""
    slots: AllSlots = request.scope["state"]["slots"]
    return slots.batches.one() if _is_large(request) else contextlib.nullcontext()


def _is_large(request: Request) -> bool:
    """Also when nobody says how long it is."""
    length = request.headers.get("content-length", "")
    return not length.isdecimal() or int(length) > LARGE_BYTES or "content-encoding" in request.headers


# --- rows


async def _process(chunks: Chunks, kind: BatchKind, report: Report, *, write: bool) -> None:
    start = 0
    try:
        async for rows in chunks:
            start += await _process_chunk(rows, start, kind, report, write=write)
    except MalformedBodyError as error:
        raise MalformedBodyError(f"{error.detail}; {report.so_far(written=write)}") from None


async def _process_chunk(rows: list[Any], start: int, kind: BatchKind, report: Report, *, write: bool) -> int:
    good, bad = validate_rows(kind.model, rows, types=kind.types, numbers=range(start, start + len(rows)))
    records = [record for _, record in good]
    if not records:
        outcome = Outcome(0, 0, 0, [])
    elif write:
        outcome = await kind.write(records)
    else:
        outcome = Outcome(0, 0, 0, await kind.check(records))
    bad += [reject(*good[position], error.detail, error.slug) for position, error in outcome.unknown]
    report.add(len(records) - len(outcome.unknown), outcome.created, outcome.updated, outcome.unchanged)
    await report.reject(sorted(bad, key=lambda row: row.index))
    return len(rows)


async def _take_one(row: object, kind: BatchKind, report: Report, *, dry_run: bool) -> None:
    try:
        record: Any = kind.model.model_validate(row)
    except ValidationError as error:
        problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors(include_url=False)]
        raise RequestValidationError(problems, body=row) from None
    if kind.types is not None and record.type not in kind.types:
        raise InvalidValueError(("body", "type"), record.type, f"one of {', '.join(kind.types)}")
    outcome = Outcome(0, 0, 0, await kind.check([record])) if dry_run else await kind.write([record])
    for _, unknown in outcome.unknown:
        raise unknown
    report.add(1, outcome.created, outcome.updated, outcome.unchanged)


# --- where rows come from


def _check_length(rows: list[Any]) -> None:
    if len(rows) > ARRAY_ROWS:
        raise TooLargeError(
            f"the array has {len(rows)} rows; wanted at most {ARRAY_ROWS}: send several, or NDJSON of any length"
        )


async def _slices(rows: list[Any]) -> Chunks:
    for start in range(0, len(rows), CHUNK_ROWS):
        yield rows[start : start + CHUNK_ROWS]


async def _lines(request: Request) -> AsyncIterator[list[bytes]]:
    """Lines that are not blank, a chunk at a time; one that is too long is cut."""
    lines: list[bytes] = []
    size = 0
    async for line in read_lines(request, LINE_BYTES):
        lines.append(line)
        size += len(line)
        if len(lines) == CHUNK_ROWS or size > CHUNK_BYTES:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


class _Kept:
    """Lines put aside until all are checked."""

    def __init__(self, spool: "tempfile.SpooledTemporaryFile[bytes]", limit_bytes: int) -> None:
        self._spool, self._limit_bytes, self._bytes = spool, limit_bytes, 0

    async def add(self, lines: list[bytes]) -> None:
        self._bytes += sum(map(len, lines)) + len(lines)
        if self._bytes > self._limit_bytes:
            raise TooLargeError(
                f"on_error=abort puts all rows aside before it writes any, and these have more than "
                f"{self._limit_bytes} bytes; send several batches, or leave on_error=abort out"
            )
        await asyncio.to_thread(self._spool.write, b"\n".join(lines) + b"\n")


async def _kept_lines(spool: "tempfile.SpooledTemporaryFile[bytes]") -> AsyncIterator[list[bytes]]:
    await asyncio.to_thread(spool.seek, 0)
    while lines := await asyncio.to_thread(spool.readlines, CHUNK_BYTES):
        for start in range(0, len(lines), CHUNK_ROWS):
            yield lines[start : start + CHUNK_ROWS]


async def _parsed(chunks: AsyncIterator[list[bytes]], kept: _Kept | None = None) -> Chunks:
    async for lines in chunks:
        if kept is not None:
            await kept.add(lines)
        yield [_row(line) for line in lines]


def _row(line: bytes) -> Any:
    if len(line) > LINE_BYTES:
        return UnreadableRow(f"the line has more than {LINE_BYTES} bytes")
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return UnreadableRow(f"the line is not JSON: {describe_json_error(error)}")
