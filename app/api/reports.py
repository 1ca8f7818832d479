"""The report of a batch, also when so many rows are bad that naming them all would fill the memory."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import orjson
from fastapi import Request, Response
from starlette.responses import StreamingResponse

from app.errors import BatchAbortedError
from app.schemas.problems import MEDIA_TYPE, problem
from app.schemas.reports import RejectedRow
from app.telemetry.logging import request_id

MEMORY_BYTES = 4 * 2**20  # of rejected rows; more of them go to a temporary file
FIRST_ROWS = 100  # kept as they are
READ_BYTES = 2**18  # sent at once

Count = Callable[[int, int], None]  # accepted and rejected rows


class Report:
    """Counts, and the rejected rows as JSON; closed by its block unless an answer that is sent bit by bit took over."""

    def __init__(self) -> None:
        self._counts = {"accepted": 0, "created": 0, "updated": 0, "unchanged": 0}
        self._rows: tempfile.SpooledTemporaryFile[bytes] | None
        self._rows = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - the report is the context manager
        self._size = 0
        self.n_rejected = 0
        self.first: list[RejectedRow] = []

    def __enter__(self) -> Self:
        """The report itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the rows go."""
        if self._rows is not None:
            self._rows.close()

    def add(self, accepted: int, created: int, updated: int, unchanged: int) -> None:
        """Count good rows."""
        news = zip(self._counts, (accepted, created, updated, unchanged), strict=True)
        self._counts = {name: self._counts[name] + number for name, number in news}

    def clear(self) -> None:
        """Count anew; there were no rejected rows."""
        self._counts = dict.fromkeys(self._counts, 0)

    def so_far(self, *, written: bool) -> str:
        """What was done before a body broke off, in words."""
        n_accepted = self._counts["accepted"]
        done = "written" if written else "good"
        return f"of the rows before that {n_accepted} are {done} and {self.n_rejected} were rejected"

    async def reject(self, rows: Sequence[RejectedRow]) -> None:
        """Name bad rows."""
        if not rows:
            return
        self.first += rows[: FIRST_ROWS - len(self.first)]
        text = b",".join(orjson.dumps(row.model_dump()) for row in rows)
        text = b"," + text if self.n_rejected else text
        self.n_rejected += len(rows)
        self._size += len(text)
        assert self._rows is not None
        await asyncio.to_thread(self._rows.write, text)

    def response(self, count: Count) -> Response:
        """200 with all of it."""
        count(self._counts["accepted"], self.n_rejected)
        return self._respond(self._counts, 200, "application/json")

    def aborted(self, request: Request, count: Count) -> Response:
        """422: nothing was written, for these rows."""
        count(0, self.n_rejected)
        document = problem(
            type_=BatchAbortedError.slug,
            title=BatchAbortedError.title,
            status=BatchAbortedError.status,
            detail=f"{self.n_rejected} rows were rejected and on_error=abort, so nothing was written",
            instance=request.url.path,
            request_id=request_id.get() or "",
            **dict.fromkeys(self._counts, 0),
        )
        return self._respond(document, BatchAbortedError.status, MEDIA_TYPE)

    def _respond(self, head: Mapping[str, object], status: int, media_type: str) -> Response:
        start = orjson.dumps(head)[:-1] + b',"rejected":['
        assert self._rows is not None
        self._rows.seek(0)
        if self._size <= MEMORY_BYTES:
            return Response(start + self._rows.read() + b"]}", status, media_type=media_type)
        rows, self._rows = self._rows, None
        return StreamingResponse(_send(start, rows), status, media_type=media_type)


async def _send(start: bytes, rows: "tempfile.SpooledTemporaryFile[bytes]") -> AsyncIterator[bytes]:
    with rows:
        yield start
        while part := await asyncio.to_thread(rows.read, READ_BYTES):
            yield part
        yield b"]}"
