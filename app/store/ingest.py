"""Writing a batch of interactions beside others who write and delete at the same time.

The order is: see that users and courses exist, write, see that they are still the same ones.  A deletion removes the
record first and then only what was written before that (``RecordStore.delete``), so whichever way the two meet, either
the deletion finds the rows, or the second look finds the record gone or created anew and the rows are written again.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bson import Timestamp
from pymongo.operations import UpdateOne

from app.errors import HttpError, UnavailableError, UnknownCourseError, UnknownUserError
from app.schemas.interactions import Interaction
from app.store.bulk import insert_new, update_each
from app.store.client import Collection as MongoCollection
from app.store.client import Database, Document, Session, operation_time, to_timestamp
from app.store.courses import CourseStore
from app.store.keys import interaction_key
from app.store.records import Incarnations, Written
from app.store.users import UserStore

ATTEMPTS = 10  # at rows whose user or course is deleted meanwhile; to need a second one is already very rare

# The server puts its cluster time in the place of this when it inserts; other clocks would not order with deletions.
SERVER_TIME = Timestamp(0, 0)
CURRENT_SERVER_TIME = {"$type": "timestamp"}  # the same for updates


@dataclass(frozen=True, slots=True)
class InteractionsWritten(Written):
    """What became of a batch; ``unknown`` has the position and the error of rows whose user or course is not known."""

    unknown: list[tuple[int, HttpError]]


@dataclass(frozen=True, slots=True)
class _Records:
    """The users and courses that a batch names, as far as they exist."""

    users: Incarnations
    courses: Incarnations

    def of(self, row: Interaction) -> tuple[datetime | None, datetime | None]:
        """When the row's user and its course were created; None: there is none."""
        return self.users.get(row.user_id), self.courses.get(row.course_id)


@dataclass(slots=True)
class _Batch:
    """Rows on their way; ``pending`` are the positions of those whose fate is open."""

    rows: Sequence[Interaction]
    keys: list[str]
    pending: Sequence[int]
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    unknown: list[tuple[int, HttpError]] = field(default_factory=list)

    def pending_rows(self) -> list[Interaction]:
        """The rows whose fate is open."""
        return [self.rows[position] for position in self.pending]

    def set_unknown_aside(self, records: _Records) -> list[str]:
        """Give up the pending rows that name no record; gives their keys."""
        lost = {position for position in self.pending if None in records.of(self.rows[position])}
        self.unknown += [(position, _unknown_error(self.rows[position], records)) for position in sorted(lost)]
        self.pending = [position for position in self.pending if position not in lost]
        return [self.keys[position] for position in lost]

    def newest(self) -> dict[str, int]:
        """Position of the pending row to keep of each key: the newest, of equally new ones the last."""
        newest: dict[str, int] = {}
        for position in self.pending:
            rival = newest.setdefault(self.keys[position], position)
            if self.rows[position].timestamp >= self.rows[rival].timestamp:
                newest[self.keys[position]] = position
        return newest

    def settle(self, inserted: Collection[int], overwritten: int, before: _Records, after: _Records) -> None:
        """Count the pending rows whose records stayed the same; the others remain pending."""
        open_, n_pending = [], len(self.pending)
        if before != after:
            open_ = [position for position in self.pending if not _same(self.rows[position], before, after)]
        new = len(set(inserted).difference(open_))
        old = min(overwritten, n_pending - len(open_) - new)
        self.created += new
        self.updated += old
        self.unchanged += n_pending - len(open_) - new - old
        self.pending = open_


async def write_interactions(db: Database, rows: Sequence[Interaction], *, auto_create: bool) -> InteractionsWritten:
    """Store the rows that are not older than what is there under the same key, in the batch or in the store.

    auto_create: create unknown users and courses as bare records; else their rows are given back as unknown.
    Raises UnavailableError when records are deleted as fast as they are created.
    """
    keys = [interaction_key(row.user_id, row.course_id, row.type) for row in rows]
    batch = _Batch(rows, keys, range(len(rows)))
    async with await db.client.start_session() as session:
        for attempt in range(ATTEMPTS):
            before = await _records(db, batch.pending_rows(), create=auto_create)
            if not auto_create:
                lost = batch.set_unknown_aside(before)
                if attempt:
                    await _withdraw(db["interactions"], lost, session)
            inserted, overwritten = await _write(db["interactions"], batch, session)
            after = await _records(db, batch.pending_rows(), create=False)
            batch.settle(inserted, overwritten, before, after)
            if not batch.pending:
                counts = batch.created, batch.updated, batch.unchanged
                return InteractionsWritten(*counts, operation_time(session), batch.unknown)
    raise UnavailableError("users or courses of these interactions are deleted as fast as they are created")


async def _records(db: Database, rows: Iterable[Interaction], *, create: bool) -> _Records:
    user_ids, course_ids = {row.user_id for row in rows}, {row.course_id for row in rows}
    users, courses = UserStore(db), CourseStore(db)
    if create:
        return _Records(*await asyncio.gather(users.ensure(user_ids), courses.ensure(course_ids)))
    return _Records(*await asyncio.gather(users.incarnations(user_ids), courses.incarnations(course_ids)))


async def _write(interactions: MongoCollection, batch: _Batch, session: Session) -> tuple[set[int], int]:
    """Positions of the rows that were inserted, and how many others overwrote what was there."""
    newest = batch.newest()
    documents = [_document(key, batch.rows[position]) for key, position in newest.items()]
    there = await insert_new(interactions, documents, session)
    updates = [_update(documents[index]) for index in there]
    _, overwritten = await update_each(interactions, updates, session)
    positions = list(newest.values())
    return set(positions).difference(positions[index] for index in there), overwritten


async def _withdraw(interactions: MongoCollection, keys: list[str], session: Session) -> None:
    """Remove rows of ours whose record went; not what another has written since under the same keys."""
    ours = {"_id": {"$in": keys}, "written_at": {"$lte": to_timestamp(operation_time(session))}}
    await interactions.delete_many(ours, session=session)


def _document(key: str, row: Interaction) -> Document:
    return {
        "_id": key,
        "course_id": row.course_id,
        "type": row.type,
        "timestamp": row.timestamp,
        "value": row.value,
        "written_at": SERVER_TIME,
    }


def _update(document: Document) -> UpdateOne:
    """Overwrite unless what is there is newer; an equally old one is overwritten, since a retry is an update."""
    return UpdateOne(
        {"_id": document["_id"], "timestamp": {"$lte": document["timestamp"]}},
        {
            "$set": {"timestamp": document["timestamp"], "value": document["value"]},
            "$currentDate": {"written_at": CURRENT_SERVER_TIME},
        },
    )


def _unknown_error(row: Interaction, records: _Records) -> HttpError:
    if row.user_id not in records.users:
        return UnknownUserError(row.user_id)
    return UnknownCourseError(row.course_id)


def _same(row: Interaction, before: _Records, after: _Records) -> bool:
    return None not in before.of(row) and before.of(row) == after.of(row)
