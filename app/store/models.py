"""Published models: their files in GridFS, what they are, and the pointer to the one that is served.

The pointer moves last and in one transaction with the model's document, so readers see whole models only.
The transaction touches the lease: whoever has lost it publishes nothing, and the files of such a model or of a process
that died are removed by the next ``prune``.
"""

import asyncio
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from pymongo.operations import UpdateOne

from app.domain.lists import recommendation_prefix
from app.errors import LeaseLostError, UnknownModelError
from app.schemas.models import ClickThrough, ModelSummary
from app.store.bulk import translated
from app.store.client import Database, Document, Session
from app.store.lease import KEY as LEASE
from app.store.lease import POINTER, touch_lease
from app.store.model_cache import PART, make_aside, reuse, settle, sweep
from app.store.model_files import GONE, ModelFiles, name_of, owner
from app.store.numbers import next_number, number_of, readable_id
from app.store.records import Page
from app.store.transactions import in_transaction

PREFIX = "m"


@dataclass(frozen=True, slots=True)
class Upload:
    """Files that are in the database and belong to no published model yet."""

    model_id: str
    fence: int
    files: list[str]


class ModelStore:
    """All published models.  Every method may raise one of ``client.UNAVAILABLE_ERRORS``."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._models = db["models"]
        self._settings = db["settings"]
        self._files = ModelFiles(db)

    # --- for callers

    async def current(self) -> str | None:
        """Id of the model that is served, None before the first."""
        pointer = await self._settings.find_one(POINTER)
        return None if pointer is None else readable_id(PREFIX, pointer["number"])

    async def get(self, model_id: str) -> ModelSummary:
        """Raises UnknownModelError."""
        return _summary(await self._document(model_id), await self.current())

    async def count_lists(self, counts: Mapping[str, int]) -> None:
        """Add to the numbers of lists that models answered; those that are gone are passed over."""
        updates = [UpdateOne({"_id": model_number(model_id)}, {"$inc": {"lists": n}}) for model_id, n in counts.items()]
        if updates:
            with translated():
                await self._models.bulk_write(updates, ordered=False)

    async def click_through(self, model_id: str) -> ClickThrough:
        """What became of its lists.  Raises UnknownModelError."""
        document = await self._document(model_id)
        start = recommendation_prefix(model_id)
        named = {"recommendation_id": {"$gte": start, "$lt": start[:-1] + chr(ord(start[-1]) + 1)}}
        pipeline: list[Document] = [
            {"$match": named},
            {"$group": {"_id": "$recommendation_id", "count": {"$sum": 1}}},
            {"$group": {"_id": None, "lists": {"$sum": 1}, "interactions": {"$sum": "$count"}}},
        ]
        found = await self._db["interactions"].aggregate(pipeline, hint="recommendation").to_list(None)
        row = found[0] if found else {"lists": 0, "interactions": 0}
        lists = max(document.get("lists", 0), row["lists"])  # a process that died may not have told its last ones
        rate = row["lists"] / lists if lists else None
        return ClickThrough(lists=lists, followed=row["lists"], interactions=row["interactions"], rate=rate)

    async def page(self, limit: int, after: str | None = None) -> Page[ModelSummary]:
        """Models, newest first, from the one before ``after``.  Raises UnknownModelError if that is no model's id."""
        condition: Document = {} if after is None else {"_id": {"$lt": model_number(after)}}
        documents = await self._models.find(condition).sort("_id", -1).limit(limit + 1).to_list(None)
        current = await self.current()
        models = [_summary(document, current) for document in documents[:limit]]
        return Page(models, models[-1].model_id if len(documents) > limit else None)

    async def activate(self, model_id: str) -> ModelSummary:
        """Serve this model from now on.  Raises UnknownModelError."""
        number = model_number(model_id)

        async def point(session: Session) -> None:
            # The write, not only a look, so that of this and a prune at the same moment one fails.
            moved = {"$currentDate": {"activated_at": True}}
            if not (await self._models.update_one({"_id": number}, moved, session=session)).matched_count:
                raise UnknownModelError(model_id)
            pointer = await self._settings.find_one(POINTER, session=session)
            await self._point(number, 0 if pointer is None else pointer["fence"], session)

        await in_transaction(self._db, point)
        return await self.get(model_id)

    async def fetch(self, model_id: str, cache: Path, without: Collection[str] = ()) -> Path:
        """The directory in ``cache`` with the model's files, downloaded unless they are there already.

        without: names of files that need not be there.
        Any number of processes may do so at the same moment.  Raises UnknownModelError, also when the model is
        pruned meanwhile, and OSError.
        """
        document = await self._document(model_id)
        directory = cache / f"{model_id}-{document['version']}"
        if await asyncio.to_thread(reuse, directory):
            return directory
        files = [file_id for file_id in document["files"] if name_of(file_id) not in without]
        if len(files) < len(document["files"]):
            directory = directory.with_name(directory.name + PART)
            if await asyncio.to_thread(reuse, directory):
                return directory
        aside = await asyncio.to_thread(make_aside, cache)
        try:
            await self._files.download(files, aside)
            await asyncio.to_thread(settle, aside, directory)
            await asyncio.to_thread(sweep, cache)
        except GONE as error:
            raise UnknownModelError(model_id) from error
        finally:
            await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)
        return directory

    async def file(self, model_id: str, name: str) -> bytes | None:
        """One of the model's files, whole in memory; None if it has no such file.  Raises UnknownModelError."""
        document = await self._document(model_id)
        wanted = [file_id for file_id in document["files"] if name_of(file_id) == name]
        try:
            return await self._files.read(wanted) if wanted else None
        except GONE as error:
            raise UnknownModelError(model_id) from error

    # --- for the worker

    async def next_id(self) -> str:
        """An id that no other model has or will have."""
        return readable_id(PREFIX, await next_number(self._db, "model"))

    async def upload(self, model_id: str, directory: Path, *, fence: int, pieces: Sequence[str] = ()) -> Upload:
        """Store a model's files; nobody sees them before ``publish``.  pieces: ids of those that are there already."""
        return Upload(model_id, fence, [*await self._files.upload(model_number(model_id), fence, directory), *pieces])

    async def publish(self, upload: Upload, manifest: Mapping[str, Any]) -> None:
        """Make the model known and serve it.  Raises LeaseLostError, and then nothing was published.

        manifest: JSON; what ModelSummary lists and anything else.  May be called again when the answer was lost.
        """
        number, fence = model_number(upload.model_id), upload.fence
        content = {
            "version": uuid4().hex,  # ids are counted in each database, and a cache may hold models of several
            "fence": fence,
            "files": upload.files,
            "manifest": orjson.dumps(manifest).decode(),
        }

        async def insert_and_point(session: Session) -> None:
            await touch_lease(self._db, fence, session)
            pointer = await self._settings.find_one(POINTER, session=session)
            if pointer is not None and pointer["fence"] > fence:  # then somebody has meddled with the lease
                raise LeaseLostError(fence)
            new = {"$setOnInsert": content, "$currentDate": {"activated_at": True}}
            await self._models.update_one({"_id": number}, new, upsert=True, session=session)
            await self._point(number, fence, session)

        await in_transaction(self._db, insert_and_point)

    async def prune(self, keep: int, *, also: Collection[str] = ()) -> list[str]:
        """Remove all models but the current one and the ``keep`` newest, and files that no model has; ids removed.

        also: of the newest those that are removed all the same.
        """
        numbers = [
            document["_id"] for document in await self._models.find({}, {"_id": 1}).sort("_id", -1).to_list(None)
        ]
        unwanted = {*numbers[keep:], *map(model_number, also)}
        removed = [number for number in numbers if number in unwanted and await self._remove(number)]
        await self._remove_unpublished(set(numbers) - set(removed))
        return [readable_id(PREFIX, number) for number in removed]

    async def _remove(self, number: int) -> bool:
        """Remove a model's document unless it is the current one; its files then belong to nobody."""

        async def remove(session: Session) -> bool:
            pointer = await self._settings.find_one(POINTER, session=session)
            if pointer is not None and pointer["number"] == number:
                return False
            return bool((await self._models.delete_one({"_id": number}, session=session)).deleted_count)

        return await in_transaction(self._db, remove)

    async def _remove_unpublished(self, published: set[int]) -> None:
        """Remove files that no model has or will have: of an older fence, or overtaken by a published number."""
        lease = await self._settings.find_one(LEASE)
        fence, newest = (0 if lease is None else lease["fence"]), max(published, default=0)
        owners = {file_id: owner(file_id) for file_id in await self._files.ids()}
        await self._files.delete(
            [
                file_id
                for file_id, (number, by) in owners.items()
                if number not in published and (by < fence or number < newest)
            ]
        )

    # --- documents

    async def _document(self, model_id: str) -> Document:
        document: Document | None = await self._models.find_one({"_id": model_number(model_id)})
        if document is None:
            raise UnknownModelError(model_id)
        return document

    async def _point(self, number: int, fence: int, session: Session) -> None:
        # Replaced as a whole: the change stream then tells the whole document.
        pointer = POINTER | {"number": number, "fence": fence}
        await self._settings.replace_one(POINTER, pointer, upsert=True, session=session)


def model_number(model_id: str) -> int:
    """Of a model with this id.  Raises UnknownModelError if it can be none."""
    number = number_of(PREFIX, model_id)
    if number is None:
        raise UnknownModelError(model_id)
    return number


def _summary(document: Document, current: str | None) -> ModelSummary:
    model_id = readable_id(PREFIX, document["_id"])
    given = orjson.loads(document["manifest"])
    known = {"model_id": model_id, "current": model_id == current, "activated_at": document["activated_at"]}
    return ModelSummary.model_validate(given | known)
