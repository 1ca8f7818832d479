"""Which shards a call would reach, told by what a real server saw of it: there is no router to be had here."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from app.errors import NotRouterError
from app.schemas.interactions import Interaction
from app.schemas.users import User
from app.store.client import INDEXES, Database
from app.store.given_answers import Claim, GivenAnswer, GivenAnswerStore
from app.store.interactions import InteractionStore
from app.store.model_files import ModelFiles
from app.store.sharding import SHARD_KEYS, UNIQUE, index_of, shard, shard_commands, unique_indexes
from app.store.users import UserStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def row(user_id: str, course_id: str) -> Interaction:
    return Interaction(user_id=user_id, course_id=course_id, type="view", timestamp=NOW)


async def hot_paths(db: Database, folder: Path) -> None:
    """Everything that requests do again and again with what is divided."""
    interactions, users = InteractionStore(db), UserStore(db)
    rows = [row(f"u{number}", f"c{number % 7}") for number in range(120)]
    await interactions.write_many(rows, auto_create=True)
    await interactions.write_many(rows, auto_create=True)  # again: looked for first, then updated
    await interactions.write_many([row("u1", "c1")], auto_create=False, overwrite=True)
    await interactions.unknown(rows[:3])
    await interactions.seen_by("u1")
    page = await interactions.of_user("u1", 1)
    await interactions.page(1, user_id="u1", after=page.after)
    await interactions.page(1, user_id="u1", course_id="c1", type_="view")
    await interactions.existing(["u1\x1fc1\x1fview"])
    await interactions.delete("u2", "c2")
    await interactions.delete("u3", "c3", "view")
    await users.put(User(user_id="u1", interests={"maths": 1.0}))
    await users.put_many([User(user_id=f"u{number}") for number in range(120)])
    await users.patch("u1", {"interests": None})
    await users.get("u1")
    await users.existing(["u1", "u2"])
    await users.profiles(["u1", "u2"])
    await users.delete("u4")
    answers = GivenAnswerStore(db, 60.0)
    claim = await answers.claim("key", b"digest")
    assert isinstance(claim, Claim)
    await answers.renew(claim)
    await answers.keep(claim, GivenAnswer(200, "application/json", b"{}"), [])
    await answers.claim("key", b"digest")
    await answers.release(claim)
    (folder / "array").write_bytes(bytes(3_000_000))
    files = ModelFiles(db)
    (file_id,) = await files.upload(1, 1, folder)
    await files.read([file_id])
    await files.delete([file_id])


async def test_every_call_of_a_hot_path_names_the_shard_key(
    database: Database, tmp_path: Path, mongodb_admin: MongoClient[dict[str, Any]]
) -> None:
    await database.command("profile", 2)
    try:
        await hot_paths(database, tmp_path)
    finally:
        await database.command("profile", 0)
    asked = []
    profile = mongodb_admin[database.name]["system.profile"]
    for entry in profile.find({"ns": {"$in": [f"{database.name}.{collection}" for collection in SHARD_KEYS]}}):
        command, collection = entry["command"], entry["ns"].removeprefix(f"{database.name}.")
        if entry["op"] in {"insert", "getmore"} or "createIndexes" in command or "listIndexes" in command:
            continue  # a document that is inserted has its key in it
        condition = command.get("filter") or command.get("query") or command.get("q") or {}
        (first, *_) = SHARD_KEYS[collection]
        if not condition and not command.get("limit"):
            pytest.fail(f"{collection}: {command}")
        if condition == {} and collection.endswith(".chunks"):
            continue  # the driver looks whether the bucket is empty before it makes its indexes, once a process
        assert first in condition, f"{collection}: {condition}"
        named = condition[first]
        ranged = SHARD_KEYS[collection][first] != "hashed"
        wanted = {"$eq", "$in", "$gt", "$lt", "$gte"} if ranged else {"$eq", "$in"}
        assert not isinstance(named, dict) or set(named) <= wanted, f"{collection}: {condition}"
        assert entry.get("planSummary", "IDHACK").startswith(("IDHACK", "IXSCAN", "EOF")), entry.get("planSummary")
        asked.append(collection)
    counted = {collection: asked.count(collection) for collection in SHARD_KEYS}
    assert min(counted.values()) >= 3, counted


@pytest.mark.parametrize("collection", SHARD_KEYS)
async def test_unique_indexes_begin_with_the_shard_key(collection: str, database: Database, tmp_path: Path) -> None:
    (tmp_path / "array").write_bytes(b"x")
    await ModelFiles(database).upload(1, 1, tmp_path)  # makes the indexes of GridFS
    fields = [*SHARD_KEYS[collection]]
    indexes = await database[collection].index_information()
    unique = [[field for field, _ in index["key"]] for index in indexes.values() if index.get("unique")]
    assert all(found[: len(fields)] == fields for found in [*unique, *unique_indexes(collection)])
    await database[collection].create_indexes([index_of(collection)])  # none like it that would be in its way


def test_what_cannot_be_divided_is_not() -> None:
    kept = {name for name in INDEXES if unique_indexes(name)} - set(UNIQUE)
    assert kept == {"training_runs"}
    assert kept.isdisjoint(SHARD_KEYS)


def test_the_commands() -> None:
    first, *others = shard_commands("db")
    assert first == {"enableSharding": "db"}
    assert others[0] == {"shardCollection": "db.interactions", "key": {"_id": 1}, "unique": False}
    assert others[-1] == {"shardCollection": "db.model_files.chunks", "key": {"files_id": 1, "n": 1}, "unique": True}


async def test_a_server_that_is_no_router_is_refused(database: Database) -> None:
    with pytest.raises(NotRouterError, match="does not name a mongos"):
        await shard(database)
