"""Writing a batch of interactions beside others who write and delete at the same time.

The order is: see that users and courses exist, write, see that none of them was deleted meanwhile.  A deletion removes
the record first and then only what was written before that (``RecordStore.delete``), so whichever way the two meet,
either the deletion finds the rows, or the second look finds the deletion and the rows are written again.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from bson import Timestamp
from pymongo.operations import UpdateOne

from app.errors import HttpError, UnavailableError, UnknownCourseError, UnknownUserError
from app.schemas.interactions import Interaction
from app.store.bulk import insert_new, positions_there, update_each
from app.store.client import Collection as MongoCollection
from app.store.client import Database, Document, Session, operation_time, to_timestamp
from app.store.courses import CourseStore
from app.store.deletions import Gone, deletion_count, gone_since
from app.store.keys import interaction_key
from app.store.records import Written
from app.store.users import UserStore

ATTEMPTS = 10  # at rows whose user or course is deleted meanwhile; to need a second one is already very rare
REMEMBERED = 200_000  # ids; about 20 MB
REMEMBERED_SECONDS = 60.0  # somebody may delete with other programs, which count nothing

RARE = ("recommendation_id", "comment")  # few rows have them, so that those which have not need not pay for them

# The server puts its cluster time in the place of this when it inserts; other clocks would not order with deletions.
SERVER_TIME = Timestamp(0, 0)
OVERWRITTEN = ("timestamp", "value", *RARE)  # by a newer row; the rare ones only if that has them
CURRENT_SERVER_TIME = {"$type": "timestamp"}  # the same for updates


@dataclass(frozen=True, slots=True)
class InteractionsWritten(Written):
    """What became of a batch; ``unknown`` has the position and the error of rows whose user or course is not known."""

    unknown: list[tuple[int, HttpError]]


@dataclass(frozen=True, slots=True)
class _Known:
    """Users and courses that exist."""

    users: set[str] = field(default_factory=set)
    courses: set[str] = field(default_factory=set)

    def has(self, row: Interaction) -> bool:
        """Whether the row's user and course are among them."""
        return row.user_id in self.users and row.course_id in self.courses


class KnownRecords:
    """Remembers for a while which users and courses exist, as long as nobody deletes any."""

    def __init__(self) -> None:
        self._count = -1
        self._since = 0.0
        self._known = _Known()

    def at(self, count: int) -> _Known:
        """What is known to exist while ``deletion_count`` is this; the caller adds what it finds."""
        full = len(self._known.users) + len(self._known.courses) > REMEMBERED
        old = time.monotonic() - self._since > REMEMBERED_SECONDS
        if count != self._count or full or old:
            self._count, self._since, self._known = count, time.monotonic(), _Known()
        return self._known


@dataclass(slots=True)
class _Batch:
    """Rows on their way; ``pending`` are the positions of those whose fate is open."""

    rows: Sequence[Interaction]
    keys: list[str]
    pending: Sequence[int]
    inserted: set[int] = field(default_factory=set)  # by an earlier attempt
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    unknown: list[tuple[int, HttpError]] = field(default_factory=list)
    overwrite: bool = False

    def pending_rows(self) -> list[Interaction]:
        """The rows whose fate is open."""
        return [self.rows[position] for position in self.pending]

    def set_unknown_aside(self, known: _Known) -> list[str]:
        """Give up the pending rows whose user or course is not known; gives their keys."""
        lost = {position for position in self.pending if not known.has(self.rows[position])}
        self.unknown += [(position, _unknown_error(self.rows[position], known)) for position in sorted(lost)]
        self.pending = [position for position in self.pending if position not in lost]
        return [self.keys[position] for position in lost]

    def newest(self) -> dict[str, int]:
        """Position of the pending row to keep of each key: the newest, of equally new ones the last; or the last."""
        newest: dict[str, int] = {}
        for position in self.pending:
            rival = newest.setdefault(self.keys[position], position)
            if self.overwrite or self.rows[position].timestamp >= self.rows[rival].timestamp:
                newest[self.keys[position]] = position
        return newest

    def settle(self, inserted: Collection[int], overwritten: int, gone: Gone) -> None:
        """Count the pending rows that were written for good; those whose user or course went remain pending."""
        open_ = [position for position in self.pending if gone and _names(self.rows[position], gone)]
        self.inserted.update(inserted)
        n_created = len(self.inserted.difference(open_))
        n_others = len(self.pending) - len(open_) - n_created
        self.created += n_created
        self.updated += min(overwritten, n_others)
        self.unchanged += max(0, n_others - overwritten)
        self.inserted.intersection_update(open_)
        self.pending = open_


async def write_interactions(
    db: Database,
    rows: Sequence[Interaction],
    known_records: KnownRecords,
    *,
    auto_create: bool,
    overwrite: bool = False,
) -> InteractionsWritten:
    """Store the rows that are not older than what is there under the same key, in the batch or in the store.

    overwrite: store them also if they are older, and of those with one key the last.
    auto_create: create unknown users and courses as bare records; else their rows are given back as unknown.
    Raises UnavailableError when records are deleted as fast as they are created.
    """
    keys = [interaction_key(row.user_id, row.course_id, row.type) for row in rows]
    batch = _Batch(rows, keys, range(len(rows)), overwrite=overwrite)
    async with await db.client.start_session() as session:
        for attempt in range(ATTEMPTS):
            count = await deletion_count(db, session)
            known = known_records.at(count)
            await _look_up(db, batch.pending_rows(), known, create=auto_create)
            lost = batch.set_unknown_aside(known)
            if attempt and lost:
                await _withdraw(db["interactions"], lost, session)
            inserted, overwritten = await _write(db["interactions"], batch, session)
            cluster_time = operation_time(session)
            batch.settle(inserted, overwritten, await gone_since(db, count, session))
            if not batch.pending:
                return InteractionsWritten(batch.created, batch.updated, batch.unchanged, cluster_time, batch.unknown)
    raise UnavailableError("users or courses of these interactions are deleted as fast as they are created")


async def unknown_rows(db: Database, rows: Sequence[Interaction]) -> list[tuple[int, HttpError]]:
    """Positions of the rows whose user or course is not known now, with the error; nothing is written."""
    known = _Known()
    await _look_up(db, rows, known, create=False)
    return [(position, _unknown_error(row, known)) for position, row in enumerate(rows) if not known.has(row)]


async def _look_up(db: Database, rows: Iterable[Interaction], known: _Known, *, create: bool) -> None:
    """Add the rows' users and courses to those that are known, as far as they exist or after they are created."""
    user_ids = {row.user_id for row in rows}.difference(known.users)
    course_ids = {row.course_id for row in rows}.difference(known.courses)
    users, courses = UserStore(db), CourseStore(db)
    found_users, found_courses = await asyncio.gather(users.existing(user_ids), courses.existing(course_ids))
    if create:
        await asyncio.gather(users.create_bare(user_ids - found_users), courses.create_bare(course_ids - found_courses))
        found_users, found_courses = user_ids, course_ids
    known.users.update(found_users)
    known.courses.update(found_courses)


async def _write(interactions: MongoCollection, batch: _Batch, session: Session) -> tuple[set[int], int]:
    """Positions of the rows that were inserted, and how many others overwrote what was there."""
    newest = batch.newest()
    left = {position: _document(key, batch.rows[position]) for key, position in newest.items()}
    inserted: set[int] = set()
    overwritten = 0
    for _ in range(ATTEMPTS):
        positions, documents = [*left], [*left.values()]
        there = await insert_new(interactions, documents, session)
        inserted.update(set(positions).difference(positions[index] for index in there))
        updates = [_update(documents[index], overwrite=batch.overwrite) for index in there]
        _, n_updated = await update_each(interactions, updates, session)
        overwritten += n_updated
        if n_updated == len(there):
            return inserted, overwritten
        # The others are newer, or a deletion that is still going on took them after they were found.
        found = [documents[index] for index in there]
        still = set(await positions_there(interactions, found, session))
        left = {positions[index]: documents[index] for place, index in enumerate(there) if place not in still}
        if not left:
            return inserted, overwritten
    raise UnavailableError("these interactions are deleted as fast as they are written")


async def _withdraw(interactions: MongoCollection, keys: list[str], session: Session) -> None:
    """Remove rows of ours whose record went; not what another has written since under the same keys."""
    ours = {"_id": {"$in": keys}, "written_at": {"$lte": to_timestamp(operation_time(session))}}
    await interactions.delete_many(ours, session=session)


def _document(key: str, row: Interaction) -> Document:
    rare = {name: value for name in RARE if (value := getattr(row, name)) is not None}
    return {
        "_id": key,
        "course_id": row.course_id,
        "type": row.type,
        "timestamp": row.timestamp,
        "value": row.value,
        "written_at": SERVER_TIME,
        **rare,
    }


def _update(document: Document, *, overwrite: bool) -> UpdateOne:
    """Overwrite unless what is there is newer; an equally old one is overwritten, since a retry is an update."""
    older = {} if overwrite else {"timestamp": {"$lte": document["timestamp"]}}
    return UpdateOne(
        {"_id": document["_id"], **older},
        {
            "$set": {name: document[name] for name in OVERWRITTEN if name in document},
            "$currentDate": {"written_at": CURRENT_SERVER_TIME},
        },
    )


def _unknown_error(row: Interaction, known: _Known) -> HttpError:
    return UnknownCourseError(row.course_id) if row.user_id in known.users else UnknownUserError(row.user_id)


def _names(row: Interaction, gone: Gone) -> bool:
    return (UserStore.collection, row.user_id) in gone or (CourseStore.collection, row.course_id) in gone
