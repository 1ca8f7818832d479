"""What changes in the database, as it happens: one change stream over all collections.

The stream is read with the server's own commands and not with the driver's ``watch``, which gives one event a call:
through Motor that is a change of threads each.  A cursor lives on one server under one session, so a sharded cluster
must be reached through a single router.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from bson import Timestamp
from pymongo.errors import OperationFailure, PyMongoError

from app.domain.changes import (
    Change,
    ChangeBatch,
    CourseChanged,
    CurrentModelChanged,
    InteractionChanged,
    RunChanged,
    UserChanged,
)
from app.errors import ChangeHistoryLostError
from app.store.client import UNAVAILABLE_ERRORS, Database, Document, Session, from_timestamp, to_timestamp
from app.store.courses import FACTS, course_facts
from app.store.keys import split_key
from app.store.lease import POINTER
from app.store.numbers import readable_id

BATCH_EVENTS = 500  # read and turned into changes in 3 ms, for which nothing else runs in this process
IDLE_MS = 500  # how long the server holds a poll that has nothing to tell
RETRY_SECONDS = (0.1, 1.0)  # first and longest pause in an outage

COLLECTIONS: dict[str, type[Change]] = {
    "interactions": InteractionChanged,
    "courses": CourseChanged,
    "users": UserChanged,
    "settings": CurrentModelChanged,
    "training_runs": RunChanged,
}
ALL_KINDS = frozenset(COLLECTIONS.values())

RESTORED = {"_id": "restored"}  # in settings: the cluster time at which a backup was restored
REMOVED = ("drop", "rename", "dropDatabase", "invalidate")  # a collection is gone and its documents are not named
HISTORY_LOST = 286
CURSOR_GONE = {43, 237, 11601}  # CursorNotFound, CursorKilled, Interrupted


async def follow(
    db: Database, since: int, *, kinds: Collection[type[Change]] = ALL_KINDS
) -> AsyncGenerator[ChangeBatch]:
    """Changes of these kinds after the cluster time ``since``, for ever.

    A batch comes within milliseconds of a write, and an empty one every half second when there is none.  In an
    outage batches say ``connected=False`` and the stream is resumed where it was; nothing is left out or told twice.
    Raises ChangeHistoryLostError when the server no longer knows all that changed; read the present state
    and follow anew.
    """
    pipeline = _pipeline(kinds)
    # From the time itself on, and not from the next: that is what the first token says, and its changes are to come.
    place: Document = {"startAtOperationTime": to_timestamp(max(since, 1))}
    position, pause, checked = since, RETRY_SECONDS[0], False
    while True:
        try:
            if not checked:
                await _check_restored(db, since)
                checked = True
            async with _open(db, pipeline, place) as cursor:
                while True:
                    polled, token, as_of = await cursor.poll()
                    events = [event for event in polled if from_timestamp(event["clusterTime"]) > since]
                    changes = await _read(db, events)
                    place = {"resumeAfter": token}
                    pause = RETRY_SECONDS[0]
                    position = max(position, _position(events, token))
                    yield ChangeBatch(changes, position, as_of=as_of if len(polled) < BATCH_EVENTS else None)
        except PyMongoError as error:
            if not _passes(error):
                raise
        yield ChangeBatch((), position, connected=False)
        await asyncio.sleep(pause)
        pause = min(2 * pause, RETRY_SECONDS[1])


async def _check_restored(db: Database, since: int) -> None:
    """Raise ChangeHistoryLostError if the database was restored from a backup after ``since``.

    The oplog of the new server may say that it is complete, but what was deleted on the old one is not in it.
    """
    restored = await db["settings"].find_one(RESTORED)
    if restored is not None and since < restored["cluster_time"]:
        raise ChangeHistoryLostError("the database was restored from a backup after the wanted time")


def _pipeline(kinds: Collection[type[Change]]) -> list[Document]:
    names = [name for name, kind in COLLECTIONS.items() if kind in kinds and name != "settings"]
    wanted: list[Document] = [{"ns.coll": {"$in": names}}, {"operationType": {"$in": ["dropDatabase", "invalidate"]}}]
    fields = ["operationType", "ns.coll", "documentKey._id", "clusterTime"]
    if CurrentModelChanged in kinds:
        wanted.append({"ns.coll": "settings", "documentKey._id": POINTER["_id"]})
        fields.append("fullDocument.number")
    if CourseChanged in kinds:
        fields += [f"fullDocument.{name}" for name in FACTS]
    return [{"$match": {"$or": wanted}}, {"$project": dict.fromkeys(fields, 1)}]


class _Cursor:
    """A change stream that is open on the server."""

    def __init__(self, db: Database, session: Session, cursor_id: int) -> None:
        self._db = db
        self._session = session
        self._id = cursor_id

    async def poll(self) -> tuple[list[Document], Document, float]:
        """Events as soon as there are any, none after IDLE_MS; the token to resume after them; since when it is so.

        A process that is stopped meanwhile finds an old answer when it goes on, so the time is not that of reading it:
        events may have been sent at once, and that there are none is known at the end of the wait.  With much to skip
        the server may not have read so far, and then it is earlier by what is left.
        """
        asked = time.monotonic()
        command = {"getMore": self._id, "collection": "$cmd.aggregate", "batchSize": BATCH_EVENTS, "maxTimeMS": IDLE_MS}
        reply = await self._db.command(command, session=self._session)
        events, token = reply["cursor"]["nextBatch"], reply["cursor"]["postBatchResumeToken"]
        as_of = asked if events else min(time.monotonic(), asked + IDLE_MS / 1000)
        return events, token, as_of - _seconds_unread(reply["operationTime"], token)

    async def close(self) -> None:
        """Spare the server a cursor that nobody asks any more."""
        with suppress(PyMongoError):
            command = {"killCursors": "$cmd.aggregate", "cursors": [self._id]}
            await self._db.command(command, session=self._session)


@asynccontextmanager
async def _open(db: Database, pipeline: Sequence[Document], place: Document) -> AsyncIterator[_Cursor]:
    async with await db.client.start_session(causal_consistency=False) as session:
        stages = [{"$changeStream": place}, *pipeline]
        # Nothing in the first reply: so a poll is the only way in which events come.
        reply = await db.command({"aggregate": 1, "pipeline": stages, "cursor": {"batchSize": 0}}, session=session)
        cursor = _Cursor(db, session, reply["cursor"]["id"])
        try:
            yield cursor
        except PyMongoError:  # the cursor is gone or the server is
            raise
        except BaseException:
            await cursor.close()
            raise


def _seconds_unread(now: Timestamp, token: Document) -> int:
    """How long before the server's time lies what a stream has read; a second is only that another has begun."""
    read = _token_time(token)
    seconds = now.time - (read >> 32) if read else 0
    return seconds if seconds > 1 else 0


def _position(events: Sequence[Document], token: Document) -> int:
    """Cluster time up to which everything has been told.

    Changes of one transaction share their time and may be cut by the end of a batch, so after events it is the moment
    before the last of them.  After an empty poll it is the time in the token.
    """
    return from_timestamp(events[-1]["clusterTime"]) - 1 if events else _token_time(token)


def _token_time(token: Document) -> int:
    """The cluster time in a token, 0 if there is none that could be read.

    It begins with a type (82) and a timestamp (eight hexadecimal digits of seconds, eight of the increment).
    """
    data = token["_data"]
    return int(data[2:18], 16) if isinstance(data, str) and data.startswith("82") else 0


def _passes(error: PyMongoError) -> bool:
    """Whether to wait and resume.  Raises ChangeHistoryLostError when there is nothing to resume."""
    if isinstance(error, OperationFailure) and error.code == HISTORY_LOST:
        raise ChangeHistoryLostError("the oplog no longer holds all changes since the wanted time") from error
    resumable = error.has_error_label("ResumableChangeStreamError") or getattr(error, "code", None) in CURSOR_GONE
    return resumable or isinstance(error, UNAVAILABLE_ERRORS)


async def _read(db: Database, events: Sequence[Document]) -> tuple[Change, ...]:
    for event in events:
        if event["operationType"] in REMOVED:
            raise ChangeHistoryLostError(f"a collection was removed as a whole ({event['operationType']})")
    courses = await _updated_courses(db, events)
    return tuple([_change(event, courses) for event in events])


async def _updated_courses(db: Database, events: Sequence[Document]) -> dict[str, Document]:
    """The present documents of courses of which an event tells only what was updated."""
    ids = {event["documentKey"]["_id"] for event in events if _operation(event) == ("courses", "update")}
    if not ids:
        return {}
    found = db["courses"].find({"_id": {"$in": list(ids)}}, dict.fromkeys(FACTS, 1))
    return {document["_id"]: document for document in await found.to_list(None)}


def _operation(event: Document) -> tuple[str, str]:
    return event["ns"]["coll"], event["operationType"]


def _change(event: Document, courses: dict[str, Document]) -> Change:
    collection, operation = _operation(event)
    time, removed = from_timestamp(event["clusterTime"]), operation == "delete"
    key: Any = event["documentKey"]["_id"]
    match collection:
        case "interactions":
            return InteractionChanged(time, *split_key(key), removed)
        case "courses":
            document = courses.get(key) if operation == "update" else event.get("fullDocument")
            return CourseChanged(time, key, None if document is None else course_facts(document))
        case "users":
            return UserChanged(time, key, removed)
        case "training_runs":
            return RunChanged(time, readable_id("r", key))
        case _:
            return CurrentModelChanged(time, readable_id("m", event["fullDocument"]["number"]))
