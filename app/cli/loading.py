"""Loading files of rows into the database, with the report that a batch over HTTP has."""

import asyncio
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import orjson
from pydantic import BaseModel

from app.cli.files import RowFile
from app.cli.tables import TABLES
from app.errors import HttpError
from app.schemas.reports import RejectedRow
from app.schemas.rows import reject, validate_rows
from app.store.client import Database
from app.store.courses import CourseStore
from app.store.interactions import InteractionStore
from app.store.records import RecordStore, Written
from app.store.users import UserStore

CHUNK_ROWS = {"users": 1_000, "courses": 1_000, "interactions": 10_000}  # about a megabyte of documents
SHOWN = 20  # rejected rows that are printed

Checked = tuple[list[tuple[int, BaseModel]], list[RejectedRow]]  # good rows with their lines, and the bad ones


@dataclass(slots=True)
class Tally:
    """What became of the rows so far; rows = accepted + rejected.  Rejected ones are told as they come."""

    report: TextIO | None = None
    accepted: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, written: Written) -> None:
        """Count rows that were written."""
        self.created += written.created
        self.updated += written.updated
        self.unchanged += written.unchanged

    def reject(self, path: Path, row: RejectedRow) -> None:
        """Count, show and note a row that was not written."""
        self.rejected += 1
        if len(self.shown) < SHOWN:
            self.shown.append(f"{path}:{row.index}: {row.type}: {row.detail}")
        if self.report is not None:
            line = {"file": str(path), "line": row.index, "id": row.id, "type": row.type, "detail": row.detail}
            self.report.write(orjson.dumps(line).decode() + "\n")


class Loader:
    """Checks rows of one kind and writes them.

    types: accepted interaction types.  auto_create: as in ``POST /interactions``.
    """

    def __init__(self, kind: str, db: Database, types: Collection[str], *, auto_create: bool) -> None:
        self.kind = kind
        self._types = types
        self._auto_create = auto_create
        self._interactions = InteractionStore(db)
        self._records: RecordStore[Any, Any] = CourseStore(db) if kind == "courses" else UserStore(db)

    async def load(self, file: RowFile, tally: Tally, *, write: bool, tell: Callable[[], None]) -> None:
        """Take in one file, or only check it; ``tell`` is called as it goes on.

        A chunk is read and checked in a thread while the one before it is written.
        Raises ImportFileError, then the chunks before the damaged one are written and counted.
        """
        chunks = self._checked(file)
        storing: asyncio.Task[None] | None = None
        try:
            while (checked := await asyncio.to_thread(next, chunks, None)) is not None:
                if storing is not None:
                    await storing
                tell()
                storing = asyncio.create_task(self._store(checked, file.path, tally, write))
        finally:
            if storing is not None:
                await storing

    def _chunks(self, file: RowFile) -> Iterator[tuple[Sequence[int], Sequence[Any]]]:
        """Lines and rows, some at a time."""
        rows = file.rows()
        while chunk := list(itertools.islice(rows, CHUNK_ROWS[self.kind])):
            lines, values = zip(*chunk, strict=True)
            yield lines, values

    def _checked(self, file: RowFile) -> Iterator[Checked]:
        for lines, values in self._chunks(file):
            yield validate_rows(TABLES[self.kind].model, values, types=self._types, numbers=lines)

    async def _store(self, checked: Checked, path: Path, tally: Tally, write: bool) -> None:
        good, rejected = checked
        unknown = await self._write([row for _, row in good], tally, write)
        rejected += [reject(*good[position], error.detail, error.slug) for position, error in unknown]
        tally.accepted += len(good) - len(unknown)
        for row in sorted(rejected, key=lambda row: row.index):
            tally.reject(path, row)

    async def _to_records(self, rows: list[Any]) -> list[Any]:
        """What is to be stored of rows that were checked."""
        return rows

    async def _write(self, rows: list[Any], tally: Tally, write: bool) -> list[tuple[int, HttpError]]:
        """Write the rows and count them; gives the positions of those whose user or course is not known."""
        if self.kind != "interactions":
            if write:
                tally.add(await self._records.put_many(await self._to_records(rows)))
            return []
        if not write:
            return [] if self._auto_create else await self._interactions.unknown(rows)
        written = await self._interactions.write_many(rows, auto_create=self._auto_create)
        tally.add(written)
        return written.unknown
