"""What users and courses have in common: records with an id, which may be named by interactions.

A document's ``_id`` is the record's id.  Objects with keys of the caller's choice are kept as JSON text: a key such
as ``$ref`` means something to MongoDB or its driver, and as text nothing in them is ever interpreted.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, TypeVar

import orjson
from pydantic import BaseModel
from pymongo.operations import UpdateOne

from app.errors import InvalidValueError, NotFoundError
from app.schemas.reports import Deleted
from app.store.bulk import insert_new, update_each
from app.store.client import Database, Document, Session, operation_time, to_timestamp
from app.store.deletions import note_deletion
from app.store.merge import merge_patch
from app.store.transactions import in_transaction

Item = TypeVar("Item")
Given = TypeVar("Given", bound=BaseModel)
Stored = TypeVar("Stored", bound=BaseModel)

STREAM_PAGE = 2_000  # records read at once for an export; a course with a long text has about 10 kB


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some rows in order; ``after`` asks for those that follow, None when there are none."""

    items: list[Item]
    after: str | None


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the rows of a write, and the cluster time at which all of it was stored.

    unchanged: rows that something newer in the store or further down in the same batch has overtaken.
    """

    created: int
    updated: int
    unchanged: int
    cluster_time: int


@dataclass(frozen=True, slots=True)
class Patched(Generic[Item]):
    """The record as it is now."""

    record: Item
    cluster_time: int


@dataclass(frozen=True, slots=True)
class Erased:
    """What a deletion removed."""

    deleted: Deleted
    cluster_time: int


def utc_now() -> datetime:
    """Now, as exact as MongoDB keeps it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class RecordStore(Generic[Given, Stored]):
    """Records of one kind.  Every method may raise one of ``client.UNAVAILABLE_ERRORS``."""

    collection: ClassVar[str]
    id_field: ClassVar[str]
    json_fields: ClassVar[tuple[str, ...]]
    unknown: ClassVar[type[NotFoundError]]
    given: type[Given]
    stored: type[Stored]

    def __init__(self, db: Database) -> None:
        self._db = db
        self._records = db[self.collection]

    def interactions_of(self, record_id: str) -> Document:
        """Filter for the interactions that name this record."""
        raise NotImplementedError

    # --- writing

    async def put(self, record: Given) -> Written:
        """Create or replace one record."""
        return await self.put_many([record])

    async def put_many(self, records: Sequence[Given]) -> Written:
        """Create or replace; of records with one id the last counts."""
        now = utc_now()
        fields = dict(map(self._encode, records))  # the last of an id
        documents = [{"_id": key, **content, "created_at": now, "updated_at": now} for key, content in fields.items()]
        async with await self._db.client.start_session() as session:
            there = [documents[position] for position in await insert_new(self._records, documents, session)]
            updates = [self._replacement(document["_id"], fields[document["_id"]], now) for document in there]
            recreated, updated = await update_each(self._records, updates, session)
            created = len(documents) - len(there) + recreated
            return Written(created, updated, len(records) - created - updated, operation_time(session))

    async def patch(self, record_id: str, changes: Mapping[str, Any]) -> Patched[Stored]:
        """Merge ``changes`` into a record (RFC 7396): absent keeps, null clears.

        Raises the kind's NotFoundError, InvalidValueError when it would change the id, and
        pydantic.ValidationError when the result is not a valid record.
        """
        if changes.get(self.id_field, record_id) != record_id:
            raise InvalidValueError((self.id_field,), changes[self.id_field], f"{record_id!r}, the id in the path")
        unknown = dict.fromkeys(changes.keys() - self.given.model_fields.keys())  # null too is refused, not passed over
        return await self.change(record_id, lambda fields: merge_patch(fields, changes) | unknown)

    async def change(self, record_id: str, make: Callable[[Document], Document]) -> Patched[Stored]:
        """Replace a record by what ``make`` gives for its fields, nothing else being written between; the id stays.

        Raises the kind's NotFoundError and, when the result is not a valid record, pydantic.ValidationError.
        """

        async def merge(session: Session) -> tuple[Document, Session]:
            document: Document | None = await self._records.find_one({"_id": record_id}, session=session)
            if document is None:
                raise self.unknown(record_id)
            merged = make(self._fields(document))
            _, content = self._encode(self.given.model_validate({**merged, self.id_field: record_id}))
            changed = {**document, **content, "updated_at": utc_now()}
            await self._records.replace_one({"_id": record_id}, changed, session=session)
            return changed, session

        document, session = await in_transaction(self._db, merge)
        return Patched(self._decode(document), operation_time(session))

    async def merged(
        self, rows: Sequence[tuple[str, Document]], merge: Callable[[Document, Document], Document]
    ) -> list[Given]:
        """The records of these ids as they are after these changes, each once; those that are not there are made.

        merge: fields before and changes -> fields after.  Nothing is written.  Raises pydantic.ValidationError.
        """
        found = await self.records([record_id for record_id, _ in rows])
        fields: dict[str, Document] = {}
        for record_id, changes in rows:
            before = fields.get(record_id) or found.get(record_id) or {self.id_field: record_id}
            fields[record_id] = merge(before, changes)
        return [self.given.model_validate(after) for after in fields.values()]

    async def delete(self, record_id: str) -> Erased:
        """Remove a record, then the interactions that name it; raises the kind's NotFoundError if there was neither."""
        n_records, gone_at = await self._remove_record(record_id)
        n_interactions, cluster_time = await self._remove_interactions(record_id, gone_at)
        # Without a record there may be interactions still, when a deletion was broken off.
        if not n_records and not n_interactions:
            raise self.unknown(record_id)
        return Erased(Deleted(**{self.collection: n_records, "interactions": n_interactions}), cluster_time)

    async def _remove_record(self, record_id: str) -> tuple[int, int]:
        """How many records went (1 or 0), and the cluster time since when it is gone."""

        async def remove(session: Session) -> tuple[int, Session]:
            result = await self._records.delete_one({"_id": record_id}, session=session)
            if result.deleted_count:
                await note_deletion(self._db, self.collection, record_id, session)
            return result.deleted_count, session

        n_records, session = await in_transaction(self._db, remove)
        return n_records, operation_time(session)

    async def _remove_interactions(self, record_id: str, gone_at: int) -> tuple[int, int]:
        """How many interactions went, and the cluster time of that.

        Only those written before the record went: one written since belongs to a record that was created anew, and
        its writer may already have been told that it is stored.
        """
        written_before = {**self.interactions_of(record_id), "written_at": {"$lte": to_timestamp(gone_at)}}
        async with await self._db.client.start_session() as session:
            result = await self._db["interactions"].delete_many(written_before, session=session)
            return result.deleted_count, operation_time(session)

    async def create_bare(self, ids: Collection[str]) -> None:
        """Create records that are nothing but an id; those that exist stay as they are."""
        if not ids:
            return
        now = utc_now()
        documents = [{"_id": record_id, "created_at": now, "updated_at": now} for record_id in ids]
        async with await self._db.client.start_session() as session:
            await insert_new(self._records, documents, session)

    # --- reading

    async def get(self, record_id: str) -> Stored:
        """The record; raises the kind's NotFoundError."""
        document = await self._records.find_one({"_id": record_id})
        if document is None:
            raise self.unknown(record_id)
        return self._decode(document)

    async def records(self, ids: Collection[str], *, without: Collection[str] = ()) -> dict[str, Document]:
        """Those of the ids that are known, each as JSON values and without some fields."""
        found = self._records.find({"_id": {"$in": list(ids)}}, dict.fromkeys(without, 0) or None)
        documents = await found.to_list(None)
        return {doc["_id"]: self._decode(doc).model_dump(mode="json", exclude=set(without)) for doc in documents}

    async def page(self, limit: int, after: str | None = None) -> Page[Stored]:
        """Records in id order, from the first id greater than ``after``."""
        condition = {} if after is None else {"_id": {"$gt": after}}
        documents = await self._records.find(condition).sort("_id", 1).limit(limit + 1).to_list(None)
        last = documents[limit - 1]["_id"] if len(documents) > limit else None
        return Page([self._decode(document) for document in documents[:limit]], last)

    async def stream(self) -> AsyncIterator[Stored]:
        """All records in id order, read page by page so that a slow reader holds no cursor."""
        after: str | None = None
        while True:
            page = await self.page(STREAM_PAGE, after)
            for record in page.items:
                yield record
            if page.after is None:
                return
            after = page.after

    async def count(self) -> int:
        """About how many records there are."""
        return await self._records.estimated_document_count()

    async def ids_from(self, beginning: str, limit: int) -> list[str]:
        """The first ids that begin so, in order."""
        condition = {"_id": {"$gte": beginning, "$lt": beginning + chr(0x10FFFF)}}
        found = await self._records.find(condition, {"_id": 1}).sort("_id", 1).limit(limit).to_list(None)
        return [document["_id"] for document in found]

    async def existing(self, ids: Collection[str]) -> set[str]:
        """Those of the ids that are known."""
        if not ids:
            return set()
        found = await self._records.find({"_id": {"$in": list(ids)}}, {"_id": 1}).to_list(None)
        return {document["_id"] for document in found}

    # --- documents

    def _encode(self, record: Given) -> tuple[str, Document]:
        """Id and content of a record as it is stored."""
        content = record.model_dump()
        for field in self.json_fields:
            content[field] = orjson.dumps(content[field]).decode()
        return content.pop(self.id_field), content

    def _fields(self, document: Document) -> Document:
        """The inverse, with the server's times; a bare record has no more than those."""
        fields = {key: value for key, value in document.items() if key != "_id"}
        for field in self.json_fields:
            if field in fields:
                fields[field] = orjson.loads(fields[field])
        return {self.id_field: document["_id"], **fields}

    def _decode(self, document: Document) -> Stored:
        # Checked when it was written; checking again would refuse old records whenever a rule is tightened.
        return self.stored.model_construct(**self._fields(document))

    def _replacement(self, record_id: str, content: Document, now: datetime) -> UpdateOne:
        changes = {"$set": {**content, "updated_at": now}, "$setOnInsert": {"created_at": now}}
        return UpdateOne({"_id": record_id}, changes, upsert=True)
