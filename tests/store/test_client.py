import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from bson import Timestamp

from app.errors import NotReplicaSetError, SchemaVersionError
from app.schemas.reports import RejectedRow
from app.store.client import (
    INDEXES,
    SCHEMA_VERSION,
    UNAVAILABLE_ERRORS,
    Database,
    cluster_time,
    from_timestamp,
    open_database,
    prepare_database,
    to_timestamp,
)
from app.store.embedded import EmbeddedMongod
from app.store.mongod import find_mongod
from app.store.rejected import RejectedStore


async def test_preparing_is_safe_to_repeat_and_to_do_at_once(database: Database) -> None:
    await asyncio.gather(*(prepare_database(database) for _ in range(4)))
    for collection, indexes in INDEXES.items():
        names = set(await database[collection].index_information())
        assert names == {"_id_"} | {str(index.document["name"]) for index in indexes}
    schema = await database["settings"].find_one({"_id": "schema"})
    assert schema == {"_id": "schema", "version": SCHEMA_VERSION}


async def test_a_database_of_a_newer_release_is_left_alone(database: Database) -> None:
    await database["settings"].update_one({"_id": "schema"}, {"$set": {"version": SCHEMA_VERSION + 1}})
    with pytest.raises(SchemaVersionError, match=f"schema version {SCHEMA_VERSION + 1} and this release knows"):
        await prepare_database(database)


async def test_a_standalone_server_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    where = ["--dbpath", str(tmp_path), "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"]
    process = await asyncio.create_subprocess_exec(find_mongod(os.environ), *where, stdout=asyncio.subprocess.DEVNULL)
    try:
        uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
        async with open_database(uri, "x", timeout_seconds=30, app_name="tests") as db:
            with pytest.raises(NotReplicaSetError, match="--replSet"):
                await prepare_database(db)
    finally:
        process.kill()
        await process.wait()


async def test_the_uri_cannot_weaken_what_acknowledged_means(mongodb_uri: str, database_name: str) -> None:
    uri = f"{mongodb_uri}&w=0&journal=false&readPreference=secondaryPreferred"
    async with open_database(uri, database_name, timeout_seconds=5, app_name="tests") as db:
        assert db.client.write_concern.document == {"w": "majority", "j": True}
        assert db.client.read_preference.name == "Primary"


async def test_cluster_time_moves_with_the_writes(database: Database) -> None:
    times = [await cluster_time(database)]
    for number in range(3):
        await database["settings"].insert_one({"_id": number})
        times.append(await cluster_time(database))
    assert times == sorted(set(times))
    assert abs((times[-1] >> 32) - time.time()) < 60
    assert from_timestamp(to_timestamp(times[0])) == times[0]
    assert to_timestamp((5 << 32) | 7) == Timestamp(5, 7)


async def test_a_server_that_is_down_is_told_in_time() -> None:
    started = time.monotonic()
    async with open_database("mongodb://127.0.0.1:1", "x", timeout_seconds=0.5, app_name="tests") as db:
        with pytest.raises(UNAVAILABLE_ERRORS):
            await db["settings"].find_one()
    assert time.monotonic() - started < 3


async def test_a_server_that_hangs_is_told_in_time_and_found_again(tmp_path: Path) -> None:
    """It answers nothing but keeps its connections, as when its disk hangs."""
    server = EmbeddedMongod(tmp_path)
    uri = server.start()
    assert server.process is not None
    try:
        async with open_database(uri, "x", timeout_seconds=1, app_name="tests") as db:
            await prepare_database(db)
            await asyncio.sleep(1.5)  # for a heartbeat
            server.process.send_signal(signal.SIGSTOP)
            try:
                with pytest.raises(UNAVAILABLE_ERRORS):  # noqa: PT012 - the signal may take a moment
                    async with asyncio.timeout(20):
                        while True:
                            await db["settings"].find_one()
            finally:
                server.process.send_signal(signal.SIGCONT)
            async with asyncio.timeout(20):
                while True:
                    try:
                        assert await db["settings"].find_one({"_id": "schema"}) is not None
                        break
                    except UNAVAILABLE_ERRORS:
                        await asyncio.sleep(0.1)
    finally:
        server.stop(timeout_seconds=0)


class FailingMongod(EmbeddedMongod):
    """Fails on demand, by the server's own fail points."""

    def command(self, *, any_port: bool = False) -> list[str]:
        return [*super().command(any_port=any_port), "--setParameter", "enableTestCommands=1"]


async def test_a_write_that_a_majority_did_not_confirm_counts_as_unavailable(tmp_path: Path) -> None:
    """As when the server shuts down after it wrote and before it could confirm."""
    mongod = FailingMongod(tmp_path)
    try:
        async with open_database(mongod.start(), "failing", timeout_seconds=2.0, app_name="tests") as db:
            await prepare_database(db)
            refused = {
                "failCommands": ["update", "insert"],
                "writeConcernError": {"code": 91, "errmsg": "shutting down"},
            }
            point = {"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": refused}
            await db.client.admin.command(point)
            with pytest.raises(UNAVAILABLE_ERRORS):
                await db["settings"].update_one({"_id": "lease"}, {"$set": {"holder": None}}, upsert=True)
            with pytest.raises(UNAVAILABLE_ERRORS):
                await RejectedStore(db).note("users", [RejectedRow(index=0, id=None, type="x", detail="y")])
    finally:
        mongod.stop()
