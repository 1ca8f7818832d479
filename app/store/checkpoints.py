"""What was kept of a run that is under way, in GridFS: whichever worker takes over finds it.

A file's id is ``scope/key/fence/number``.  The scope says of which data and settings, the key of which part of the run.
A file can be seen when all of it is stored, so the newest is whole, whenever the process died that wrote it.  Fences
need not be checked: a stale worker writes nothing but another true state of the same computation.
"""

from pathlib import Path

from gridfs.errors import CorruptGridFile, NoFile

from app.store.client import Bucket, Database
from app.store.keys import prefix_range

BUCKET = "checkpoints"
CHUNK_BYTES = 2**20  # a document each


class CheckpointStore:
    """Every method may raise one of ``client.UNAVAILABLE_ERRORS``."""

    def __init__(self, db: Database) -> None:
        self._bucket = Bucket(db, BUCKET, chunk_size_bytes=CHUNK_BYTES)
        self._heads = db[f"{BUCKET}.files"]
        self._chunks = db[f"{BUCKET}.chunks"]

    async def save(self, scope: str, key: str, fence: int, number: int, path: Path) -> None:
        """Store a file instead of what is there of scope and key.  number: grows from one to the next of a fence."""
        before = await self._ids(f"{scope}/{key}/")
        new = f"{scope}/{key}/{fence:012}/{number:012}"
        with path.open("rb") as source:
            await self._bucket.upload_from_stream_with_id(new, key, source)
        await self._delete([id_ for id_ in before if id_ < new])

    async def load(self, scope: str, key: str, path: Path) -> bool:
        """Write the newest file of scope and key to ``path``; False when there is none."""
        for id_ in sorted(await self._ids(f"{scope}/{key}/"), reverse=True):
            try:
                with path.open("wb") as target:
                    await self._bucket.download_to_stream(id_, target)
                return True
            except (NoFile, CorruptGridFile):
                continue
        return False

    async def keep_only(self, scope: str | None) -> None:
        """Remove all that is of other scopes, and what is left of files that were never whole."""
        kept = set() if scope is None else set(await self._ids(f"{scope}/"))
        heads, pieces = await self._heads.distinct("_id"), await self._chunks.distinct("files_id")
        await self._delete([id_ for id_ in {*heads, *pieces} if id_ not in kept])

    async def _ids(self, prefix: str) -> list[str]:
        found = await self._heads.find({"_id": prefix_range(prefix)}, {"_id": 1}).to_list(None)
        return [document["_id"] for document in found]

    async def _delete(self, ids: list[str]) -> None:
        await self._heads.delete_many({"_id": {"$in": ids}})
        await self._chunks.delete_many({"files_id": {"$in": ids}})
