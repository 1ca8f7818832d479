"""Interactions as they are stored: one document a (user, course, type), its natural key as ``_id``."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pymongo.read_concern import ReadConcern

from app.domain.interactions import DAY_MS
from app.errors import HttpError
from app.schemas.interactions import Interaction, StoredInteraction
from app.store.client import Database, Document, operation_time, to_timestamp
from app.store.ingest import InteractionsWritten, KnownRecords, unknown_rows, write_interactions
from app.store.keys import SEPARATOR, interaction_key, split_key, with_prefix
from app.store.records import Page

STREAM_PAGE = 10_000  # interactions read at once for an export

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

Key = tuple[str, str, str]  # user, course, type
# The key without its type is the pair of user and course.
_PAIR_LENGTH = {"$subtract": [{"$strLenBytes": "$_id"}, {"$add": [{"$strLenBytes": "$type"}, 1]}]}
_PAIR: Document = {"$substrBytes": ["$_id", 0, _PAIR_LENGTH]}


@dataclass(frozen=True, slots=True)
class RemovedInteractions:
    """Keys of the interactions that a call removed."""

    keys: list[Key]
    cluster_time: int


class InteractionStore:
    """All interactions; a store that is kept remembers which users and courses exist, and so writes faster.

    Every method may raise one of ``client.UNAVAILABLE_ERRORS``.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._interactions = db["interactions"]
        self._known = KnownRecords()

    async def write_many(
        self, rows: Sequence[Interaction], *, auto_create: bool, overwrite: bool = False
    ) -> InteractionsWritten:
        """Create or update; see ``ingest.write_interactions``."""
        return await write_interactions(self._db, rows, self._known, auto_create=auto_create, overwrite=overwrite)

    async def unknown(self, rows: Sequence[Interaction]) -> list[tuple[int, HttpError]]:
        """The rows that ``write_many`` would give back as unknown without ``auto_create``; nothing is written."""
        return await unknown_rows(self._db, rows)

    async def delete(self, user_id: str, course_id: str, type_: str | None = None) -> RemovedInteractions:
        """Remove what a user did with a course, of one type or of all."""
        if type_ is None:
            found = self._interactions.find({"_id": with_prefix(user_id, course_id)}, {"_id": 1})
            keys = [document["_id"] for document in await found.to_list(None)]
        else:
            keys = [interaction_key(user_id, course_id, type_)]
        async with await self._db.client.start_session() as session:
            removed = []
            for key in keys:  # one by one, they are few: only what this call itself removed is reported
                result = await self._interactions.delete_one({"_id": key}, session=session)
                if result.deleted_count:
                    removed.append(split_key(key))
            return RemovedInteractions(removed, operation_time(session))

    async def page(
        self,
        limit: int,
        after: str | None = None,
        *,
        user_id: str | None = None,
        course_id: str | None = None,
        type_: str | None = None,
    ) -> Page[StoredInteraction]:
        """Interactions in key order that fit all that is given."""
        condition = _condition(user_id, course_id, type_, after)
        documents = await self._interactions.find(condition).sort("_id", 1).limit(limit + 1).to_list(None)
        last = documents[limit - 1]["_id"] if len(documents) > limit else None
        return Page([_decode(document) for document in documents[:limit]], last)

    async def of_user(self, user_id: str, limit: int, after: str | None = None) -> Page[StoredInteraction]:
        """What a user did, newest first.  Raises ValueError when ``after`` is not what a page gave."""
        condition: Document = {"_id": with_prefix(user_id)}
        if after is not None:
            time, key = _read_mark(after)
            condition["$or"] = [{"timestamp": {"$lt": time}}, {"timestamp": time, "_id": {"$gt": key}}]
        # Sorted in memory: an index for it would cost each write more than the sort of one user's range.
        found = self._interactions.find(condition).sort([("timestamp", -1), ("_id", 1)]).limit(limit + 1)
        documents = await found.to_list(None)
        last = _mark(documents[limit - 1]) if len(documents) > limit else None
        return Page([_decode(document) for document in documents[:limit]], last)

    async def seen_by(self, user_id: str) -> dict[str, set[str]]:
        """Types of a user's interactions by course."""
        found = self._interactions.find({"_id": with_prefix(user_id)}, {"_id": 1})
        seen: dict[str, set[str]] = {}
        for document in await found.to_list(None):
            _, course_id, type_ = split_key(document["_id"])
            seen.setdefault(course_id, set()).add(type_)
        return seen

    async def taken_by(self, user_ids: Collection[str], since: int) -> dict[str, list[tuple[str, str]]]:
        """Course and type of what each of these users did, by user; as it is at the cluster time ``since`` or later.

        Read with one query; users who did nothing are left out.
        """
        ranges: list[Document] = [{"_id": with_prefix(user_id)} for user_id in user_ids]
        taken: dict[str, list[tuple[str, str]]] = {}
        if not ranges:
            return taken
        majority = self._interactions.with_options(read_concern=ReadConcern("majority"))
        async with await self._db.client.start_session() as session:
            session.advance_operation_time(to_timestamp(since))
            # Hinted, as to plan for fifty ranges takes longer than to read them.
            found = majority.find({"$or": ranges}, {"_id": 1}, hint=[("_id", 1)], session=session)
            for document in await found.to_list(None):
                user_id, course_id, type_ = split_key(document["_id"])
                taken.setdefault(user_id, []).append((course_id, type_))
        return taken

    async def popularity(self, types: Collection[str] | None = None) -> list[tuple[str, int]]:
        """(course, number of its interactions), most first, then by id; only of those types when they are given."""
        counted: Document = {} if types is None else {"type": {"$in": list(types)}}
        pipeline: list[Document] = [
            {"$match": counted},
            {"$group": {"_id": "$course_id", "count": {"$sum": 1}}},
            {"$sort": {"count": -1, "_id": 1}},
        ]
        rows = await self._interactions.aggregate(pipeline, hint="course_type").to_list(None)  # the index has it all
        return [(row["_id"], row["count"]) for row in rows]

    async def takers(self, uncounted: Collection[str], half_life_days: float = 0.0) -> Mapping[str, float]:
        """Users who did anything of other types than these with each course, each counted once.

        half_life_days: who did so last that long ago counts half; 0: as much as any other.
        """
        wanted: Document = {"$match": {"type": {"$nin": list(uncounted)}}}
        if half_life_days:
            return await self._recent_takers(wanted, half_life_days)
        by_type: Document = {"$group": {"_id": {"course": "$course_id", "type": "$type"}, "count": {"$sum": 1}}}
        rows = await self._interactions.aggregate([wanted, by_type], hint="course_type").to_list(None)
        counts: dict[str, int] = {}
        several = False
        for row in rows:
            course_id = row["_id"]["course"]
            several = several or course_id in counts
            counts[course_id] = counts.get(course_id, 0) + row["count"]
        if not several:  # the index alone has told all
            return counts
        pairs: Document = {"$group": {"_id": _PAIR, "course": {"$first": "$course_id"}}}
        by_course: Document = {"$group": {"_id": "$course", "count": {"$sum": 1}}}
        found = self._interactions.aggregate([wanted, pairs, by_course], allowDiskUse=True)
        return {row["_id"]: row["count"] for row in await found.to_list(None)}

    async def _recent_takers(self, wanted: Document, half_life_days: float) -> dict[str, float]:
        last: Document = {"course": {"$first": "$course_id"}, "last": {"$max": "$timestamp"}}
        pairs: Document = {"$group": {"_id": _PAIR, **last}}
        age = {"$max": [0, {"$subtract": ["$$NOW", "$last"]}]}  # ms
        share = {"$pow": [2, {"$divide": [age, -half_life_days * DAY_MS]}]}
        by_course: Document = {"$group": {"_id": "$course", "count": {"$sum": share}}}
        found = self._interactions.aggregate([wanted, pairs, by_course], allowDiskUse=True)
        return {row["_id"]: row["count"] for row in await found.to_list(None)}

    async def stream(self) -> AsyncIterator[StoredInteraction]:
        """All interactions in key order, read page by page so that a slow reader holds no cursor."""
        after: str | None = None
        while True:
            page = await self.page(STREAM_PAGE, after)
            for row in page.items:
                yield row
            if page.after is None:
                return
            after = page.after

    async def count(self) -> int:
        """About how many interactions there are."""
        return await self._interactions.estimated_document_count()

    async def existing(self, keys: Collection[str]) -> set[str]:
        """Those of the keys under which there is one."""
        found = await self._interactions.find({"_id": {"$in": list(keys)}}, {"_id": 1}).to_list(None)
        return {document["_id"] for document in found}


def _condition(user_id: str | None, course_id: str | None, type_: str | None, after: str | None) -> Document:
    condition: Document = {}
    key: Document = {}
    if user_id is not None:
        key = with_prefix(user_id) if course_id is None else with_prefix(user_id, course_id)
    elif course_id is not None:
        condition["course_id"] = course_id
    if type_ is not None:
        condition["type"] = type_
    if after is not None:
        key["$gt"] = max(after, key.get("$gt", ""))
    return {"_id": key, **condition} if key else condition


def _decode(document: Document) -> StoredInteraction:
    user_id, course_id, type_ = split_key(document["_id"])
    return StoredInteraction.model_construct(
        user_id=user_id,
        course_id=course_id,
        type=type_,
        value=document["value"],
        timestamp=document["timestamp"],
        recommendation_id=document.get("recommendation_id"),
        comment=document.get("comment"),
        updated_at=datetime.fromtimestamp(document["written_at"].time, UTC),
    )


def _mark(document: Document) -> str:
    """Where a page of ``of_user`` ended."""
    return f"{(document['timestamp'] - EPOCH) // MILLISECOND}{SEPARATOR}{document['_id']}"


def _read_mark(mark: str) -> tuple[datetime, str]:
    milliseconds, _, key = mark.partition(SEPARATOR)
    return EPOCH + int(milliseconds) * MILLISECOND, key
