"""Records for lists with ``include_course``, kept in memory until they change."""

import asyncio
from collections.abc import Collection
from typing import Any

import httpx
import orjson
import pytest

from app.api.records import CourseRecords
from app.domain.changes import CourseChanged
from app.domain.courses import CourseFacts
from app.schemas.courses import Course
from app.store.client import Database
from app.store.courses import CourseStore


@pytest.fixture
async def store(database: Database) -> CourseStore:
    store = CourseStore(database)
    await store.put_many([Course(course_id=f"c{i}", title=f"Course {i}", features=[1.0]) for i in range(4)])
    return store


async def titles(records: CourseRecords, *course_ids: str) -> dict[str, Any]:
    found = orjson.loads(orjson.dumps(await records.get_many(course_ids)))
    assert not any("features" in record for record in found.values())
    return {course_id: record["title"] for course_id, record in found.items()}


def changed(course_id: str) -> CourseChanged:
    return CourseChanged(1, course_id, CourseFacts())


async def test_are_read_once_until_they_change(store: CourseStore) -> None:
    records = CourseRecords(store, Here())
    assert await titles(records, "c0", "c1", "none") == {"c0": "Course 0", "c1": "Course 1"}
    await store.put_many([Course(course_id=f"c{i}", title="New") for i in range(4)])
    assert await titles(records, "c0", "c2") == {"c0": "Course 0", "c2": "New"}  # nobody has told of it
    records.note([changed("c0")])
    assert await titles(records, "c0", "c1") == {"c0": "New", "c1": "Course 1"}
    records.clear()
    assert await titles(records, "c1") == {"c1": "New"}


async def test_those_asked_last_are_kept_up_to_a_size(store: CourseStore) -> None:
    one = len(orjson.dumps((await store.records(["c0"], without={"features"}))["c0"]))
    records = CourseRecords(store, Here(), kept_bytes=2 * one)
    await titles(records, "c0", "c1")
    await titles(records, "c0", "c2")
    await store.put_many([Course(course_id=f"c{i}", title="Another") for i in range(4)])
    assert await titles(records, "c0", "c1", "c2") == {"c0": "Course 0", "c1": "Another", "c2": "Course 2"}


class Here:
    """A database that is there."""

    def database_gone(self) -> bool:
        return False


class SlowStore(CourseStore):
    """Lets somebody do something after the records were read and before they are handed over."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.read, self.go_on = asyncio.Event(), asyncio.Event()

    async def records(self, ids: Collection[str], *, without: Collection[str] = ()) -> dict[str, dict[str, Any]]:
        found = await super().records(ids, without=without)
        self.read.set()
        await self.go_on.wait()
        return found


async def test_what_changes_while_it_is_read_is_not_kept(store: CourseStore, database: Database) -> None:
    slow = SlowStore(database)
    records = CourseRecords(slow, Here())
    reading = asyncio.create_task(titles(records, "c0"))
    await slow.read.wait()
    await store.put_many([Course(course_id="c0", title="New")])
    records.note([changed("c0")])
    slow.go_on.set()
    assert await reading == {"c0": "Course 0"}
    assert await titles(records, "c0") == {"c0": "New"}


async def test_a_list_has_the_record_as_it_is_now(client: httpx.AsyncClient) -> None:
    path = "/recommendations/ann?include_course=true"
    for title in ("Old", "New"):
        (await client.put("/courses/a", json={"title": title})).raise_for_status()
        (item,) = (await client.get(path)).json()["items"]
        assert item["course"]["title"] == title
    (await client.patch("/courses/a", json={"description": "Words"})).raise_for_status()
    (item,) = (await client.get(path)).json()["items"]
    assert item["course"]["description"] == "Words"
