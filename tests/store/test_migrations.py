"""Documents of older releases are brought up to date, one step after the other."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from app.errors import SchemaVersionError
from app.store.client import SCHEMA_VERSION, Database, Step, migrate, open_database, prepare_database


async def _name_to_title(db: Database) -> None:
    await db["courses"].update_many({"name": {"$exists": True}}, [{"$set": {"title": "$name"}}, {"$unset": "name"}])


async def _language(db: Database) -> None:
    await db["courses"].update_many({"language": {"$exists": False}}, {"$set": {"language": "en"}})


async def version_of(db: Database) -> int:
    document = await db["settings"].find_one({"_id": "schema"})
    assert document is not None
    version: int = document["version"]
    return version


@pytest.fixture
async def untouched(mongodb_uri: str, database_name: str) -> AsyncIterator[Database]:
    """A database that no process has prepared."""
    async with open_database(mongodb_uri, database_name, timeout_seconds=5.0, app_name="tests") as db:
        yield db


STEPS: Mapping[int, Step] = {1: _name_to_title, 2: _language}


async def test_processes_that_start_together_come_to_one_end(untouched: Database) -> None:
    db = untouched
    await db["settings"].insert_one({"_id": "schema", "version": 1})
    await db["courses"].insert_many([{"_id": f"c{row}", "name": f"C {row}"} for row in range(500)])
    await asyncio.gather(*(migrate(db, STEPS, 3) for _ in range(5)))
    assert await version_of(db) == 3
    assert await db["courses"].count_documents({"title": {"$regex": "^C "}, "language": "en", "name": None}) == 500


async def test_what_broke_off_is_taken_up_where_it_was(untouched: Database) -> None:
    db = untouched
    await db["settings"].insert_one({"_id": "schema", "version": 1})
    await db["courses"].insert_one({"_id": "c", "name": "C"})

    async def fail(_: Database) -> None:
        raise ConnectionError("the process died here")

    with pytest.raises(ConnectionError):
        await migrate(db, {1: _name_to_title, 2: fail}, 3)
    assert await version_of(db) == 2
    await migrate(db, {1: fail, 2: _language}, 3)  # the first step is not taken again
    assert await version_of(db) == 3
    assert await db["courses"].find_one() == {"_id": "c", "title": "C", "language": "en"}


async def test_a_new_database_needs_no_step(untouched: Database) -> None:
    await migrate(untouched, {}, 7)
    assert await version_of(untouched) == 7


async def test_a_newer_database_is_not_touched(untouched: Database) -> None:
    await untouched["settings"].insert_one({"_id": "schema", "version": SCHEMA_VERSION + 1})
    with pytest.raises(SchemaVersionError):
        await prepare_database(untouched)
    assert await untouched.list_collection_names() == ["settings"]
