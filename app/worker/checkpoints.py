"""Checkpoints of a run, taken by the training thread and stored by the event loop while training goes on."""

import asyncio
import contextlib
import json
import logging
import struct
import tempfile
import time
import zipfile
from collections.abc import Coroutine
from concurrent.futures import Future
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.store.checkpoints import CheckpointStore
from app.store.client import UNAVAILABLE_ERRORS
from app.training.checkpoint import Checkpoint

log = logging.getLogger(__name__)
Result = TypeVar("Result")

LOCAL_HEADER, LENGTHS = struct.Struct("<26sHH"), struct.Struct("<HH")  # before an entry: of its name and what follows
VALUES = "values"  # the array that holds the plain values, as JSON
UNREADABLE: tuple[type[Exception], ...] = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)
UNKEPT: tuple[type[Exception], ...] = (*UNAVAILABLE_ERRORS, *UNREADABLE)


class StoredCheckpoints:
    """Checkpoints of one run.  What cannot be stored or read costs time when a worker dies, and nothing else.

    scope: says of which data and settings the run is.  every_seconds: between two; 0: none are kept.
    """

    def __init__(self, store: CheckpointStore, scope: str, fence: int, every_seconds: float) -> None:
        self._store, self._scope, self._fence, self._every = store, scope, fence, every_seconds
        self._loop = asyncio.get_running_loop()
        self._folder = tempfile.TemporaryDirectory(prefix="coursegraph-checkpoint-")
        self._last, self._number = time.monotonic(), 0
        self._storing: Future[None] | None = None

    # --- in the training thread

    def resume(self, key: str) -> Checkpoint | None:
        """The latest of the key."""
        if not self._every:
            return None
        self._number += 1
        path = Path(self._folder.name) / f"{self._number}-found"
        try:
            if not self._wait_for(self._store.load(self._scope, key, path)):
                return None
            checkpoint = read_checkpoint(path)
        except UNKEPT as error:
            log.warning("what was kept of the run cannot be read, it is done again: %s", error)
            return None
        finally:
            path.unlink(missing_ok=True)  # what has been mapped stays
        log.info("going on from what was kept: %d epochs are done", len(checkpoint.values["losses"]))
        return checkpoint

    def due(self) -> bool:
        """Whether so much time has gone by, and the one before is stored."""
        if not self._every or time.monotonic() - self._last < self._every:
            return False
        return self._storing is None or self._storing.done()

    def keep(self, key: str, checkpoint: Checkpoint) -> None:
        """Write a file and have it stored."""
        if not self._every:
            return
        self._number += 1
        path = Path(self._folder.name) / str(self._number)
        try:
            write_checkpoint(path, checkpoint)
        except OSError as error:
            log.warning("a checkpoint could not be written: %s", error)
            path.unlink(missing_ok=True)
        else:
            work = self._save(key, self._number, path, self._storing)
            self._storing = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._last = time.monotonic()

    # ---

    async def _save(self, key: str, number: int, path: Path, before: "Future[None] | None") -> None:
        try:
            if before is not None:
                await asyncio.wrap_future(before)
            await self._store.save(self._scope, key, self._fence, number, path)
        except UNKEPT as error:
            log.warning("a checkpoint could not be stored: %s", error)
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    def _wait_for(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def close(self) -> None:
        """Break off what is being stored; the one before it stays."""
        if self._storing is not None and not self._storing.done():
            self._storing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wrap_future(self._storing)
        self._folder.cleanup()


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """One file of arrays, as ``np.savez`` writes it, with one of them at a time."""
    values = np.frombuffer(json.dumps(checkpoint.values).encode(), np.uint8)
    with zipfile.ZipFile(path, "w", allowZip64=True) as file:
        for name, array in chain(checkpoint.arrays.items(), [(VALUES, values)]):
            with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)


def read_checkpoint(path: Path) -> Checkpoint:
    """The arrays stay in the file, and what is written to them does not reach it.  Raises one of UNREADABLE."""
    with zipfile.ZipFile(path) as file:
        if (broken := file.testzip()) is not None:
            raise zipfile.BadZipFile(f"{broken} is not what was written")
        found = {entry.filename.removesuffix(".npy"): _mapped(path, file, entry) for entry in file.infolist()}
    values = json.loads(found.pop(VALUES).tobytes())
    return Checkpoint(found, values)


def _mapped(path: Path, file: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    """An array that ``write_checkpoint`` wrote, which is not compressed."""
    with file.open(entry) as array:
        version = np.lib.format.read_magic(array)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read_header(array)
        header_bytes = array.tell()
    if not np.prod(shape):
        return np.empty(shape, dtype)  # nothing can be mapped
    with path.open("rb") as local:
        local.seek(entry.header_offset + LOCAL_HEADER.size - LENGTHS.size)
        start = entry.header_offset + LOCAL_HEADER.size + sum(LENGTHS.unpack(local.read(LENGTHS.size)))
    return np.memmap(path, dtype, "c", start + header_bytes, shape, "F" if by_columns else "C")
