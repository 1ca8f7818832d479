import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bson import Timestamp

from app.domain.changes import (
    Change,
    ChangeBatch,
    CourseChanged,
    CurrentModelChanged,
    InteractionChanged,
    RunChanged,
    UserChanged,
)
from app.domain.courses import CourseFacts
from app.errors import ChangeHistoryLostError
from app.schemas.courses import Course
from app.schemas.interactions import Interaction
from app.schemas.users import User
from app.store.changes import ALL_KINDS, _seconds_unread, follow
from app.store.client import Database, Document, Session, cluster_time, open_database, operation_time
from app.store.courses import CourseStore
from app.store.embedded import EmbeddedMongod
from app.store.interactions import InteractionStore
from app.store.keys import interaction_key
from app.store.lease import Lease
from app.store.models import ModelStore
from app.store.runs import RunStore
from app.store.users import UserStore
from tests.support.forgetful import ForgetfulMongod, forget

SECONDS = 30.0  # the longest that any of these waits


class Follower:
    """A stream that is read in the background into a list."""

    def __init__(self) -> None:
        self.batches: list[ChangeBatch] = []
        self._news = asyncio.Event()

    @property
    def changes(self) -> list[Change]:
        return [change for batch in self.batches for change in batch]

    @property
    def last(self) -> ChangeBatch:
        return self.batches[-1]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def passes(self, cluster_time: int) -> list[Change]:
        await self.until(lambda: bool(self.batches) and self.last.position >= cluster_time)
        return self.changes

    async def read(self, database: Database, since: int, kinds: Collection[type[Change]]) -> None:
        async with aclosing(follow(database, since, kinds=kinds)) as batches:
            async for batch in batches:
                self.batches.append(batch)
                self._news.set()


@asynccontextmanager
async def following(
    database: Database, since: int | None = None, kinds: Collection[type[Change]] = ALL_KINDS
) -> AsyncIterator[Follower]:
    follower = Follower()
    task = asyncio.create_task(follower.read(database, await cluster_time(database) if since is None else since, kinds))
    try:
        yield follower
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def read_on(database: Database, since: int) -> None:
    async with asyncio.timeout(SECONDS), aclosing(follow(database, since)) as batches:
        async for _ in batches:
            pass


def interaction(number: int) -> Document:
    key = interaction_key(f"u{number}", "c", "enroll")
    return {"_id": key, "course_id": "c", "timestamp": datetime.now(UTC), "updated_at": datetime.now(UTC)}


def users_of(changes: list[Change]) -> list[str]:
    return [change.user_id for change in changes if isinstance(change, InteractionChanged)]


async def test_tells_interactions_in_order_with_their_keys(database: Database) -> None:
    store = InteractionStore(database)
    row = Interaction(user_id="ann", course_id="maths 1", type="enroll")
    async with following(database, kinds={InteractionChanged}) as follower:
        created = await store.write_many([row], auto_create=True)
        updated = await store.write_many([row], auto_create=False)
        removed = await store.delete("ann", "maths 1")
        changes = await follower.passes(removed.cluster_time)
    assert [(c.user_id, c.course_id, c.type, c.removed) for c in changes if isinstance(c, InteractionChanged)] == [
        ("ann", "maths 1", "enroll", False),
        ("ann", "maths 1", "enroll", False),
        ("ann", "maths 1", "enroll", True),
    ]
    times = [change.cluster_time for change in changes]
    assert times == sorted(times)
    assert times[0] <= created.cluster_time < times[1] <= updated.cluster_time < times[2] <= removed.cluster_time


async def test_tells_users_and_courses_with_their_facts(database: Database) -> None:
    users, courses = UserStore(database), CourseStore(database)
    async with following(database) as follower:
        await users.put(User(user_id="ann"))
        await courses.put(Course(course_id="c1", title="Sets", tags=["logic"], features=[1.0, 2.0]))
        await courses.patch("c1", {"available": False})
        await courses.delete("c1")
        await users.patch("ann", {"interests": {"logic": 1}})
        changes = await follower.passes((await users.delete("ann")).cluster_time)
    seen = [(c.course_id, c.facts) for c in changes if isinstance(c, CourseChanged)]
    assert seen[0] == ("c1", CourseFacts(title="Sets", tags=("logic",)))
    assert seen[1] == ("c1", CourseFacts(title="Sets", tags=("logic",), available=False))
    assert seen[2:] == [("c1", None)]
    assert [(c.user_id, c.removed) for c in changes if isinstance(c, UserChanged)] == [
        ("ann", False),
        ("ann", False),
        ("ann", True),
    ]


async def test_an_updated_course_is_looked_up(database: Database) -> None:
    courses = CourseStore(database)
    await courses.put_many([Course(course_id=f"c{i}", title=f"T{i}") for i in range(3)])
    async with following(database, kinds={CourseChanged}) as follower:
        written = await courses.put_many([Course(course_id=f"c{i}", title=f"T{i}", level="easy") for i in range(3)])
        changes = await follower.passes(written.cluster_time)
    assert {c.course_id: c.facts for c in changes if isinstance(c, CourseChanged)} == {
        f"c{i}": CourseFacts(title=f"T{i}", level="easy") for i in range(3)
    }


async def test_tells_runs_and_the_current_model(database: Database, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    models, lease = ModelStore(database), Lease(database, "w", 30.0)
    fence = await lease.acquire()
    assert fence is not None
    async with following(database, kinds={RunChanged, CurrentModelChanged}) as follower:
        run = await RunStore(database).request("request", {})
        await lease.renew()  # in the same collection as the pointer, and no change of the model
        upload = await models.upload(await models.next_id(), tmp_path, fence=fence)
        await models.publish(upload, {})
        changes = await follower.passes(await cluster_time(database))
    assert [c.run_id for c in changes if isinstance(c, RunChanged)] == [run.run_id]
    assert [c.model_id for c in changes if isinstance(c, CurrentModelChanged)] == [upload.model_id]
    assert len(changes) == 2


async def test_begins_right_after_the_given_time(database: Database) -> None:
    await database["interactions"].insert_one(interaction(1))
    since = await cluster_time(database)
    await database["interactions"].insert_one(interaction(2))
    async with following(database, since) as follower:
        await database["interactions"].insert_one(interaction(3))
        assert users_of(await follower.passes(await cluster_time(database))) == ["u2", "u3"]


async def test_an_idle_stream_gives_empty_batches_that_say_how_far_it_is(database: Database) -> None:
    async with following(database, kinds={CourseChanged}) as follower:
        await database["interactions"].insert_one(interaction(1))  # not asked for, yet passed by
        now = await cluster_time(database)
        started = time.monotonic()
        assert await follower.passes(now) == []
        await follower.until(lambda: len(follower.batches) >= 4)
        assert time.monotonic() - started < 4.0  # four half seconds, and as much again for a slow machine
        assert all(batch.connected and batch.as_of is not None for batch in follower.batches)


async def test_the_position_passes_a_transaction_only_when_all_of_it_was_told(database: Database) -> None:
    count = 1_300  # more than two batches, all with one cluster time

    async def insert(session: Session) -> None:
        await database["interactions"].insert_many(map(interaction, range(count)), session=session)

    async with following(database) as follower:
        async with await database.client.start_session() as session:
            await session.with_transaction(insert)
            committed = operation_time(session)
        await follower.passes(committed)
    told = 0
    for batch in follower.batches:
        told += len(batch)
        assert batch.position < committed or told == count
    assert told == count


async def test_a_write_is_told_within_milliseconds(database: Database) -> None:
    async with following(database) as follower:
        await follower.until(lambda: bool(follower.batches))
        waits = []
        for number in range(30):
            await database["interactions"].insert_one(interaction(number))
            acknowledged = time.perf_counter()
            await follower.until(lambda: len(follower.changes) > number)  # noqa: B023 - called in this round only
            waits.append(time.perf_counter() - acknowledged)
    assert statistics.median(waits) < 0.05


async def test_keeps_up_with_an_import(database: Database) -> None:
    async with following(database) as follower:
        for start in range(0, 20_000, 5_000):
            await database["interactions"].insert_many(map(interaction, range(start, start + 5_000)))
        written = time.perf_counter()
        await follower.until(lambda: sum(map(len, follower.batches)) >= 20_000)
        assert time.perf_counter() - written < 5.0
    assert users_of(follower.changes) == [f"u{number}" for number in range(20_000)]


async def test_goes_on_when_its_cursor_is_killed(database: Database) -> None:
    async with following(database) as follower:
        await database["interactions"].insert_one(interaction(0))
        await follower.until(lambda: len(follower.changes) == 1)
        await database.client.admin.command("killAllSessions", [])
        for number in range(1, 10):
            await database["interactions"].insert_one(interaction(number))
        assert users_of(await follower.passes(await cluster_time(database))) == [f"u{number}" for number in range(10)]


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
async def test_survives_an_outage_without_a_gap_or_a_repetition(tmp_path: Path, killed: bool) -> None:
    mongod = EmbeddedMongod(tmp_path)
    uri = mongod.start()
    try:
        async with (
            open_database(uri, "outage", timeout_seconds=1.0, app_name="test") as database,
            following(database) as follower,
        ):
            for number in range(5):
                await database["interactions"].insert_one(interaction(number))
            await follower.until(lambda: len(follower.changes) >= 3)
            if killed and mongod.process is not None:
                mongod.process.kill()
            mongod.stop()
            await follower.until(lambda: not follower.last.connected)
            stood_at = follower.last.position
            await asyncio.sleep(1.5)
            assert not follower.last.connected
            assert follower.last.position == stood_at
            mongod.start()
            back = time.monotonic()
            await follower.until(lambda: follower.last.connected)
            assert time.monotonic() - back < 5.0
            for number in range(5, 10):
                await database["interactions"].insert_one(interaction(number))
            assert users_of(await follower.passes(await cluster_time(database))) == [
                f"u{number}" for number in range(10)
            ]
    finally:
        mongod.stop()


async def test_says_when_a_collection_was_removed_as_a_whole(database: Database) -> None:
    await database["interactions"].insert_one(interaction(1))
    since = await cluster_time(database)
    await database["interactions"].drop()
    with pytest.raises(ChangeHistoryLostError, match="removed as a whole"):
        await read_on(database, since)


async def test_says_when_the_oplog_no_longer_reaches_back(tmp_path: Path) -> None:
    mongod = ForgetfulMongod(tmp_path)
    uri = mongod.start()
    try:
        async with open_database(uri, "forgetful", timeout_seconds=2.0, app_name="test") as database:
            since = await cluster_time(database)
            await forget(database, since)
            with pytest.raises(ChangeHistoryLostError, match="oplog"):
                await read_on(database, since)
    finally:
        mongod.stop()


async def test_leaves_no_cursor_on_the_server(database: Database) -> None:
    async def cursors() -> int:
        operations = database.client.admin.aggregate([{"$currentOp": {"idleCursors": True, "allUsers": True}}])
        ours = [operation for operation in await operations.to_list(None) if database.name in operation.get("ns", "")]
        return sum("cursor" in operation for operation in ours)

    async with following(database) as follower:
        await follower.until(lambda: len(follower.batches) >= 2)
        assert await cursors() == 1
    await asyncio.sleep(1.0)  # the poll that was under way may last another half second
    assert await cursors() == 0


async def test_nothing_is_said_to_be_told_before_it_was(database: Database) -> None:
    """Times of one second count up, so the next write may have the time right after the one that is followed from."""
    interactions, times = database["interactions"], list[tuple[int, int, int]]()
    for attempt in range(5):
        await asyncio.sleep(1.02 - time.time() % 1)
        await interactions.insert_one({"_id": interaction_key("u", f"before{attempt}", "view")})
        since = await cluster_time(database)
        async with following(database, since, {InteractionChanged}) as follower:
            await follower.until(lambda: len(follower.batches) > 0)  # an empty one, after half a second
            before = follower.last.position
            await interactions.insert_one({"_id": interaction_key("u", f"after{attempt}", "view")})
            await follower.until(lambda: bool(follower.changes))
            times.append((since, before, follower.changes[0].cluster_time))
        if times[-1][2] == since + 1:
            break
    assert all(since <= before < told for since, before, told in times), times
    assert times[-1][2] == times[-1][0] + 1


@pytest.mark.parametrize(("behind", "unread"), [(0, 0), (1, 0), (-3, 0), (2, 2), (90, 90)])
def test_what_the_server_has_not_read_yet_counts_as_age(behind: int, unread: int) -> None:
    now = Timestamp(1_800_000_000, 7)
    token = {"_data": f"82{now.time - behind:08X}{5:08X}2B0229296E04"}
    assert _seconds_unread(now, token) == unread
    assert _seconds_unread(now, {"_data": "81nothing that is known"}) == 0
