"""The one door to MongoDB: the only module that names Motor.

Acknowledged means written by a majority and journaled, whatever the URI says: with less, a killed server loses
rows that a caller was told are stored.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC
from typing import TYPE_CHECKING, Any, cast

from bson import Timestamp
from motor.motor_asyncio import (
    AsyncIOMotorClient,
    AsyncIOMotorClientSession,
    AsyncIOMotorCollection,
    AsyncIOMotorDatabase,
    AsyncIOMotorGridFSBucket,
)
from pymongo import IndexModel
from pymongo.errors import ConnectionFailure, ExecutionTimeout, WriteConcernError
from pymongo.read_concern import ReadConcern

from app.errors import NotReplicaSetError, SchemaVersionError

log = logging.getLogger(__name__)

Document = dict[str, Any]
if TYPE_CHECKING:
    Client = AsyncIOMotorClient[Document]
    Database = AsyncIOMotorDatabase[Document]
    Collection = AsyncIOMotorCollection[Document]
else:  # Motor's classes are generic to type checkers only
    Client, Database, Collection = AsyncIOMotorClient, AsyncIOMotorDatabase, AsyncIOMotorCollection
Session = AsyncIOMotorClientSession
Bucket = AsyncIOMotorGridFSBucket

UNAVAILABLE_ERRORS: tuple[type[Exception], ...] = (ConnectionFailure, WriteConcernError, ExecutionTimeout)
"""What the driver raises when the server is down, has no primary, or did not answer or confirm in time."""

SCHEMA_VERSION = 1  # of the documents; goes up when a release can no longer read what an older one wrote

Step = Callable[["Database"], Awaitable[None]]
MIGRATIONS: Mapping[int, Step] = {}
"""What brings documents from version n to n + 1.

Processes that start together may run a step at once, and one that dies half-way leaves it to the next: a step must come
to the same end however often it is begun.
"""

INDEXES: Mapping[str, tuple[IndexModel, ...]] = {
    # A user's interactions are a range of _id; a course's need an index.  The type costs next to nothing beside it
    # and lets popularity be counted from the index alone; _id instead would triple its size.
    "interactions": (
        IndexModel([("course_id", 1), ("type", 1)], name="course_type"),
        IndexModel([("recommendation_id", 1)], name="recommendation", sparse=True),  # few have one
    ),
    "given_answers": (
        IndexModel([("expires_at", 1)], name="expiry", expireAfterSeconds=0),
        IndexModel([("users", 1)], name="users", sparse=True),  # for erasure
    ),
    # Of the queued and running runs, which alone have the field, there can be one.
    "training_runs": (IndexModel([("open", 1)], name="one_open", unique=True, partialFilterExpression={"open": True}),),
}


def client_options(timeout_seconds: float, app_name: str) -> dict[str, Any]:
    """Options of every client of ours, synchronous ones too; they overrule those of the URI."""
    timeout_ms = int(timeout_seconds * 1000)
    return {
        "appname": app_name,
        "w": "majority",
        "journal": True,
        "readPreference": "primary",  # a secondary may not have yet what was just acknowledged
        "retryWrites": True,
        "retryReads": True,
        "serverSelectionTimeoutMS": timeout_ms,
        "connectTimeoutMS": timeout_ms,
        # A server that hangs is noticed by a missed heartbeat, which breaks off the calls that wait for it.
        "heartbeatFrequencyMS": max(500, timeout_ms),  # 500 is the least that the driver takes
        "tz_aware": True,
        "tzinfo": UTC,
    }


@asynccontextmanager
async def open_database(uri: str, name: str, *, timeout_seconds: float, app_name: str) -> AsyncIterator[Database]:
    """The database, its client closed at the end.

    Connects when first used, so a server that is down is no error here; a call then raises one of
    UNAVAILABLE_ERRORS after ``timeout_seconds``.  ``app_name`` is what the server's logs call us.
    """
    client: Client = AsyncIOMotorClient(uri, **client_options(timeout_seconds, app_name))
    try:
        yield client[name]
    finally:
        client.close()


async def prepare_database(db: Database) -> None:
    """Bring the documents up to this release and create what indexes are missing; safe to do by many processes at once.

    A database of a newer release is left as it is.

    Raises NotReplicaSetError, SchemaVersionError, or one of UNAVAILABLE_ERRORS.
    """
    hello = await db.client.admin.command("hello")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":  # the latter is a router of a sharded cluster
        raise NotReplicaSetError
    await migrate(db, MIGRATIONS, SCHEMA_VERSION)
    for collection, indexes in INDEXES.items():
        await db[collection].create_indexes(list(indexes))


async def migrate(db: Database, steps: Mapping[int, Step], known: int) -> None:
    """Take one step after the other until the documents have version ``known``; an empty database has it already.

    Raises SchemaVersionError when they have a newer one, or what a step raises; done steps stay done.
    """
    settings = db["settings"]
    await settings.update_one({"_id": "schema"}, {"$setOnInsert": {"version": known}}, upsert=True)
    schema = await settings.find_one({"_id": "schema"})
    found: int = known if schema is None else schema["version"]
    if found > known:
        raise SchemaVersionError(found, known)
    for version in range(found, known):
        log.info("bringing the database from schema version %d to %d", version, version + 1)
        await steps[version](db)
        await settings.update_one({"_id": "schema", "version": version}, {"$set": {"version": version + 1}})


async def cluster_time(db: Database) -> int:
    """The server's time up to which everything written can be read, as seconds << 32 | increment.

    Taken from a majority read: the time of an ordinary one may already have passed a write that is still
    being committed and that a read begun now would miss.
    """
    async with await db.client.start_session() as session:
        majority = db.get_collection("settings", read_concern=ReadConcern("majority"))
        await majority.find_one({"_id": "schema"}, {"_id": 1}, session=session)
        return operation_time(session)


def operation_time(session: Session) -> int:
    """Cluster time of the session's last operation as an int, at or after every write that it made; 0: it did none."""
    time = cast(Timestamp | None, session.operation_time)  # Motor's stubs call this property a method
    return 0 if time is None else from_timestamp(time)


def from_timestamp(timestamp: Timestamp) -> int:
    """A BSON timestamp as one int that orders alike: seconds << 32 | increment."""
    return (timestamp.time << 32) | timestamp.inc


def to_timestamp(cluster_time: int) -> Timestamp:
    """The inverse of ``from_timestamp``."""
    return Timestamp(cluster_time >> 32, cluster_time & 0xFFFFFFFF)
