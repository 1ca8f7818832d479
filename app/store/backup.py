"""A backup: all collections as they were at one moment, and back again.

A directory with one file of BSON for each collection, in the order of ``_id`` and gzipped, as mongodump names them, and
``manifest.json`` with the number of documents and a SHA-256 of each.  All is read at one cluster time, so writes go on
meanwhile and the backup holds a write whole or not at all.
"""

import gzip
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database as PyMongoDatabase
from pymongo.errors import OperationFailure

from app import __version__
from app.errors import BackupError, SchemaVersionError
from app.store.changes import RESTORED
from app.store.client import SCHEMA_VERSION, Document, client_options, from_timestamp
from app.store.lease import KEY as LEASE
from app.store.lease import POINTER

FORMAT = 1
MANIFEST = "manifest.json"
TIMEOUT_SECONDS = 30.0  # for a server to be there; an election takes about 12
BATCH_BYTES = 8 * 2**20  # of documents that are inserted at once
SETTINGS = "settings"
SNAPSHOT_TOO_OLD = 239  # the server's code

Tell = Callable[[str, int], None]  # a collection and how many of its documents have been dealt with since


class Part(NamedTuple):
    """A collection in a backup.

    sha256: of its documents as BSON, one after the other in the order of ``_id``.  indexes: as the server lists them.
    """

    documents: int
    bytes: int
    sha256: str
    indexes: list[Document]


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds."""

    format: int
    code_version: str
    schema_version: int
    created_at: str
    database: str
    collections: Mapping[str, Part]


def back_up(uri: str, database: str, target: Path, tell: Tell = lambda *_: None) -> Backup:
    """Write all of the database as it is now into the new directory ``target``.

    Raises BackupError when the target is there already, when there is nothing to back up, or when reading took longer
    than the server keeps the past; SchemaVersionError; one of ``client.UNAVAILABLE_ERRORS``; OSError.
    """
    if target.exists():
        raise BackupError(f"{target} exists already; wanted the name of a new directory")
    aside = target.with_name(f"{target.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)  # of an attempt that was broken off
    aside.mkdir(parents=True)
    with _database(uri, database) as db:
        schema = db[SETTINGS].find_one({"_id": "schema"})
        if schema is None:
            raise BackupError(
                f"the database {database} has never been used by this service; there is nothing to back up"
            )
        version: int = schema["version"]
        if version > SCHEMA_VERSION:
            raise SchemaVersionError(version, SCHEMA_VERSION)
        names = sorted(name for name in db.list_collection_names() if not name.startswith("system."))
        indexes = {name: [_index(index) for index in db[name].list_indexes()] for name in names}
        with db.client.start_session(snapshot=True) as session:
            try:
                parts = {name: _write(db[name], indexes[name], session, aside / _file_of(name), tell) for name in names}
            except OperationFailure as error:
                if error.code != SNAPSHOT_TOO_OLD:
                    raise
                raise BackupError(
                    "the backup took longer than the server keeps the past; set its parameter "
                    "minSnapshotHistoryWindowInSeconds (300 by default) to more than the backup takes"
                ) from error
    backup = Backup(
        format=FORMAT,
        code_version=__version__,
        schema_version=version,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        database=database,
        collections=parts,
    )
    content = {**asdict(backup), "collections": {name: part._asdict() for name, part in parts.items()}}
    _write_durably(aside / MANIFEST, json.dumps(content, indent=2).encode())
    aside.rename(target)  # whole from here on
    _sync(target.parent)
    return backup


def read_backup(source: Path) -> Backup:
    """What the backup in a directory says of itself.  Raises BackupError, SchemaVersionError."""
    try:
        content: dict[str, Any] = json.loads((source / MANIFEST).read_bytes())
        if content["format"] != FORMAT:
            raise BackupError(f"{source} has format {content['format']}; this release reads {FORMAT}")
        parts = {name: Part(**part) for name, part in content.pop("collections").items()}
        backup = Backup(**content, collections=parts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{source} is no backup: its {MANIFEST} cannot be read ({error})") from error
    if backup.schema_version > SCHEMA_VERSION:
        raise SchemaVersionError(backup.schema_version, SCHEMA_VERSION)
    return backup


def verify(source: Path, backup: Backup) -> None:
    """Compare every file with the manifest.  Raises BackupError that names the first that differs."""
    for name, part in backup.collections.items():
        digest = _Digest()
        try:
            for document in _documents(source / _file_of(name)):
                digest.add(document)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise BackupError(f"{source / _file_of(name)} cannot be read: {error}") from error
        if digest.part(part.indexes) != part:
            raise BackupError(f"{source / _file_of(name)} is not what {MANIFEST} says: its SHA-256 differs")


def restore(uri: str, database: str, source: Path, tell: Tell = lambda *_: None) -> Backup:
    """Verify a backup, write it into a database without data, and compare what is there with it.

    Settings come last: with them the served model is known.  Services may run on the database meanwhile.
    Raises BackupError when the backup is damaged, the database holds data or, in the end, is not what the backup
    is; SchemaVersionError; one of ``client.UNAVAILABLE_ERRORS``.
    """
    backup = read_backup(source)
    verify(source, backup)
    data = [name for name in backup.collections if name != SETTINGS]
    with _database(uri, database) as db:
        for name in data:
            if db[name].find_one({}, {"_id": 1}) is not None:
                raise BackupError(
                    f"the database {database} holds {name}; wanted one without data: another MONGODB_DATABASE or server"
                )
        for name in data:
            for index in backup.collections[name].indexes:
                options = {option: value for option, value in index.items() if option != "key"}
                db[name].create_index(list(index["key"].items()), **options)
            for batch in _batches(_documents(source / _file_of(name))):
                db[name].insert_many([RawBSONDocument(document) for document in batch], ordered=True)
                tell(name, len(batch))
        for name in data:
            digest = _Digest()
            for document in _stored(db[name], None):
                digest.add(document)
            part = backup.collections[name]
            if digest.part(part.indexes) != part:
                raise BackupError(f"after the restoration {name} is not what the backup says; somebody wrote meanwhile")
        if SETTINGS in backup.collections:
            _restore_settings(db, [RawBSONDocument(raw) for raw in _documents(source / _file_of(SETTINGS))])
    return backup


def _restore_settings(db: PyMongoDatabase[Document], documents: list[RawBSONDocument]) -> None:
    """The pointer to the served model last; no fence is given twice, whoever holds the lease now."""
    lease, pointer = LEASE["_id"], POINTER["_id"]
    now = from_timestamp(db.client.admin.command("hello")["operationTime"])
    db[SETTINGS].update_one(RESTORED, {"$set": {"cluster_time": now}}, upsert=True)
    for document in sorted(documents, key=lambda one: one["_id"] == pointer):
        if document["_id"] == RESTORED["_id"]:
            continue
        if document["_id"] == lease:
            fresh = {name: document[name] for name in ("holder", "expires_at")}
            db[SETTINGS].update_one(LEASE, {"$max": {"fence": document["fence"]}, "$setOnInsert": fresh}, upsert=True)
        else:
            db[SETTINGS].replace_one({"_id": document["_id"]}, document, upsert=True)


# --- documents


def _database(uri: str, name: str) -> "_Opened":
    return _Opened(uri, name)


class _Opened:
    """A synchronous client whose documents stay BSON."""

    def __init__(self, uri: str, name: str) -> None:
        self._client = MongoClient[Document](uri, **client_options(TIMEOUT_SECONDS, "coursegraph-backup"))
        self._name = name

    def __enter__(self) -> PyMongoDatabase[Document]:
        return self._client[self._name]

    def __exit__(self, *_: object) -> None:
        self._client.close()


class _Digest:
    def __init__(self) -> None:
        self._hash, self._documents, self._bytes = hashlib.sha256(), 0, 0

    def add(self, document: bytes) -> None:
        self._hash.update(document)
        self._documents += 1
        self._bytes += len(document)

    def part(self, indexes: list[Document]) -> Part:
        return Part(self._documents, self._bytes, self._hash.hexdigest(), indexes)


def _index(listed: Mapping[str, Any]) -> Document:
    """An index as it can be created again; numbers as JSON has them, and the driver makes GridFS's keys floats."""
    options = {name: value for name, value in listed.items() if name not in {"v", "ns", "key"}}
    return {"key": {field: int(order) for field, order in listed["key"].items()}, **options}


def _file_of(collection: str) -> str:
    return f"{collection}.bson.gz"


def _write(
    collection: Collection[Document], indexes: list[Document], session: ClientSession, target: Path, tell: Tell
) -> Part:
    digest, untold = _Digest(), 0
    # The name and time that gzip notes are left out: equal documents give equal files.
    with target.open("xb") as raw, gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as file:
        for document in _stored(collection, session):
            digest.add(document)
            file.write(document)
            untold += 1
            if untold == 10_000:
                tell(collection.name, untold)
                untold = 0
        file.close()
        raw.flush()
        os.fsync(raw.fileno())
    tell(collection.name, untold)
    return digest.part(indexes)


def _stored(collection: Collection[Document], session: ClientSession | None) -> Iterator[bytes]:
    """The documents as the server sends them, in the order of ``_id``."""
    batches = collection.find_raw_batches({}, session=session, batch_size=20_000).sort("_id", 1)
    for batch in batches:
        yield from _split(memoryview(cast(bytes, batch)))  # the driver's stubs call it a document


def _split(content: memoryview) -> Iterator[bytes]:
    """Documents that stand one after the other; each begins with its length."""
    start = 0
    while start < len(content):
        size = int.from_bytes(content[start : start + 4], "little")
        yield bytes(content[start : start + size])
        start += size


def _documents(path: Path) -> Iterator[bytes]:
    """The documents of a file.  Raises OSError, EOFError, and ValueError for what is no BSON."""
    with gzip.open(path) as file:
        while head := file.read(4):
            size = int.from_bytes(head, "little")
            rest = file.read(max(0, size - 4))
            if size < 5 or len(rest) != size - 4 or rest[-1]:
                raise ValueError("a document in it is cut or damaged")
            yield head + rest


def _batches(documents: Iterator[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document)
        if size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """Let the directory's entries outlast a power cut."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
