"""Files on their way into and out of GridFS."""

import asyncio
import threading
from pathlib import Path
from typing import IO, Any

import pytest

from app.store.model_files import opened


async def test_a_file_is_closed_when_its_opening_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, files = threading.Event(), threading.Event(), list[IO[Any]]()
    plain = Path.open

    def slowly(path: Path, mode: str) -> IO[Any]:
        begun.set()
        assert go_on.wait(10)
        files.append(plain(path, mode))
        return files[0]

    monkeypatch.setattr(Path, "open", slowly)

    async def use() -> None:
        async with opened(tmp_path / "loss.png", "xb"):
            raise AssertionError("it was cancelled before")

    task = asyncio.create_task(use())
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    go_on.set()
    async with asyncio.timeout(10):
        while not (files and files[0].closed):  # noqa: ASYNC110 - a thread opens it
            await asyncio.sleep(0.01)


async def test_a_file_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        async with opened(tmp_path / "nothing", "rb"):
            pass
