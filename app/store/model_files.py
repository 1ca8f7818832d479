"""Files of models in GridFS.

A file's id is ``number/fence/name``: of whatever is found there it can be told whose it is, also of the pieces that
a process left which died while it uploaded.  What several have written is ``number/fence/name/place``, a file of
GridFS for each piece, which are one file again where they are read.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import IO, Any

from gridfs.errors import CorruptGridFile, NoFile

from app.store.client import Bucket, Database

BUCKET = "model_files"
CHUNK_BYTES = 2**20  # a document each; the 255 kB of the driver make four times as many
GONE = (NoFile, CorruptGridFile)  # what reading a file raises that is being deleted


class ModelFiles:
    """The files of all models, whole or not."""

    def __init__(self, db: Database) -> None:
        self._bucket = Bucket(db, BUCKET, chunk_size_bytes=CHUNK_BYTES)
        self._heads = db[f"{BUCKET}.files"]
        self._chunks = db[f"{BUCKET}.chunks"]

    async def upload(self, number: int, fence: int, directory: Path) -> list[str]:
        """Store the files of a directory, which has none below it; their ids."""
        paths = await asyncio.to_thread(lambda: sorted(directory.iterdir()))
        ids = [f"{number}/{fence}/{path.name}" for path in paths]
        await self.delete(ids)  # of an attempt that failed
        for file_id, path in zip(ids, paths, strict=True):
            async with opened(path, "rb") as source:
                await self._bucket.upload_from_stream_with_id(file_id, path.name, source)
        return ids

    async def download(self, ids: Sequence[str], directory: Path) -> None:
        """Write the files into a directory; the pieces of one follow each other.  Raises one of GONE."""
        for name, pieces in groupby(ids, name_of):
            async with opened(directory / name, "xb") as target:
                for file_id in pieces:
                    await self._bucket.download_to_stream(file_id, target)

    async def read(self, ids: Sequence[str]) -> bytes:
        """All pieces of a small file.  Raises one of GONE."""
        return b"".join([await (await self._bucket.open_download_stream(file_id)).read() for file_id in ids])

    async def ids(self) -> set[str]:
        """All files, and those of which there are only pieces."""
        return {*await self._heads.distinct("_id"), *await self._chunks.distinct("files_id")}

    async def delete(self, ids: Collection[str]) -> None:
        """Remove the files and pieces of files with these ids."""
        await self._heads.delete_many({"_id": {"$in": list(ids)}})
        await self._chunks.delete_many({"files_id": {"$in": list(ids)}})


@asynccontextmanager
async def opened(path: Path, mode: str) -> AsyncIterator[IO[Any]]:
    """The file, opened beside the event loop, and closed also when the caller is cancelled while it is being opened."""
    opening = asyncio.ensure_future(asyncio.to_thread(path.open, mode))
    try:
        file = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise
    with file:
        yield file


def _close(opening: asyncio.Future[IO[Any]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def owner(file_id: str) -> tuple[int, int]:
    """Number of the model and fence of the lease of whoever uploaded the file."""
    number, fence, _ = file_id.split("/", 2)
    return int(number), int(fence)


def name_of(file_id: str) -> str:
    """Name of the file within its model, which pieces of one have in common."""
    return file_id.split("/", 3)[2]
