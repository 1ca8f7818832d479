"""Batches: a JSON object, an array of them, or NDJSON of any length, to rows that are written or named."""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from fastapi import Request
from pydantic import BaseModel

from app.api.bodies import JSON, NDJSON, media_type, read_chunks, read_json
from app.errors import BatchAbortedError, HttpError, MalformedBodyError, TooLargeError, UnsupportedMediaError
from app.schemas.reports import BatchReport, RejectedRow
from app.schemas.rows import UnreadableRow, reject, validate_rows

ARRAY_ROWS = 10_000  # rows of a JSON array, all of which is in memory; NDJSON may have any number
CHUNK_ROWS = 2_000  # rows of NDJSON that are checked and written at once
BODY_BYTES = 64 * 2**20  # of a JSON body; 10,000 courses with long texts
LINE_BYTES = 2 * 2**20  # of a line of NDJSON; the largest course allowed is smaller
SPOOL_BYTES = 8 * 2**20  # of a batch that may be abandoned; more goes to a temporary file

Unknown = list[tuple[int, HttpError]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the good rows of a chunk; ``unknown`` has positions of those that could not be written."""

    created: int
    updated: int
    unchanged: int
    unknown: Unknown


@dataclass(frozen=True, slots=True)
class BatchKind:
    """How rows of one kind are checked and written.  check: positions that ``write`` would give back as unknown."""

    model: type[BaseModel]
    write: Callable[[list[Any]], Awaitable[Outcome]]
    check: Callable[[list[Any]], Awaitable[Unknown]]
    types: Collection[str] | None = None


async def take_batch(
    request: Request, kind: BatchKind, *, on_error: Literal["skip", "abort"], dry_run: bool
) -> BatchReport:
    """Write the good rows and name the bad ones.

    on_error: ``abort`` writes nothing if any row is bad.  dry_run: nothing is written at all.
    Raises MalformedBodyError, TooLargeError, UnsupportedMediaError, BatchAbortedError.
    """
    type_ = media_type(request)
    if type_ in NDJSON:
        chunks = _lines(request)
    elif type_ == JSON:
        chunks = _array(await read_json(request, BODY_BYTES))
    else:
        raise UnsupportedMediaError(type_, f"{JSON} or {NDJSON[0]}")
    if dry_run or on_error == "skip":
        report = await _process(chunks, kind, write=not dry_run)
        if report.rejected and on_error == "abort":
            raise BatchAbortedError(report.model_dump())
        return report
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
        report = await _process(_spooled(chunks, spool), kind, write=False)
        if report.rejected:
            raise BatchAbortedError(report.model_copy(update={"accepted": 0}).model_dump())
        spool.seek(0)
        return await _process(_unspooled(spool), kind, write=True)


async def _process(chunks: AsyncIterator[list[Any]], kind: BatchKind, *, write: bool) -> BatchReport:
    report, start = BatchReport(), 0
    rejected: list[RejectedRow] = []
    async for rows in chunks:
        good, bad = validate_rows(kind.model, rows, types=kind.types, numbers=range(start, start + len(rows)))
        records = [record for _, record in good]
        unknown: Unknown = []
        if records and write:
            outcome = await kind.write(records)
            unknown = outcome.unknown
            report.created += outcome.created
            report.updated += outcome.updated
            report.unchanged += outcome.unchanged
        elif records:
            unknown = await kind.check(records)
        report.accepted += len(records) - len(unknown)
        bad += [reject(*good[position], error.detail, error.slug) for position, error in unknown]
        rejected += sorted(bad, key=lambda row: row.index)
        start += len(rows)
    report.rejected = rejected
    return report


async def _array(body: bytes) -> AsyncIterator[list[Any]]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedBodyError(f"the body is not JSON: {error}") from error
    rows = value if isinstance(value, list) else [value]
    if len(rows) > ARRAY_ROWS:
        raise TooLargeError(
            f"the array has {len(rows)} rows; wanted at most {ARRAY_ROWS}: send several, or NDJSON of any length"
        )
    yield rows


async def _lines(request: Request) -> AsyncIterator[list[Any]]:
    rows: list[Any] = []
    rest = b""
    async for chunk in read_chunks(request):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                rows.append(_row(line))
            if len(rows) == CHUNK_ROWS:
                yield rows
                rows = []
        if len(rest) > LINE_BYTES:
            raise TooLargeError(f"a line has more than {LINE_BYTES} bytes")
    if rest.strip():
        rows.append(_row(rest))
    if rows:
        yield rows


def _row(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return UnreadableRow(f"the line is not JSON: {error}")


async def _spooled(
    chunks: AsyncIterator[list[Any]], spool: "tempfile.SpooledTemporaryFile[bytes]"
) -> AsyncIterator[list[Any]]:
    async for rows in chunks:
        for row in rows:
            if not isinstance(row, UnreadableRow):
                spool.write(orjson.dumps(row) + b"\n")
        yield rows


async def _unspooled(spool: "tempfile.SpooledTemporaryFile[bytes]") -> AsyncIterator[list[Any]]:
    rows: list[Any] = []
    for line in spool:
        rows.append(orjson.loads(line))
        if len(rows) == CHUNK_ROWS:
            yield rows
            rows = []
    if rows:
        yield rows
