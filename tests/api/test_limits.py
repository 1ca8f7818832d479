"""Limits: what is too much is refused with a reason, and what is already there goes on."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.api.gate import Grant
from app.domain.api_keys import KeyScope
from app.settings import Settings, load_settings
from app.store.api_keys import KeyStore
from app.store.client import Database
from tests.support.service import api


def with_(settings: Settings, **changes: Any) -> Settings:
    return load_settings(**{**settings.model_dump(), **changes})


# --- requests a second


async def test_a_key_that_is_used_too_fast_is_told_when_to_come_again(settings: Settings, database: Database) -> None:
    hasty, _ = await KeyStore(database).create("hasty", KeyScope.read)
    other, _ = await KeyStore(database).create("other", KeyScope.read)
    async with api(with_(settings, requests_per_second=2, burst_seconds=2)) as client:
        answers = [await client.get("/popular", headers={"X-API-Key": hasty}) for _ in range(6)]
        assert [answer.status_code for answer in answers[:4]] == [200] * 4
        assert answers[5].status_code == 429
        assert answers[5].json()["type"] == "too_many_requests"
        assert int(answers[5].headers["retry-after"]) >= 1
        assert (await client.get("/popular", headers={"X-API-Key": other})).status_code == 200
        assert (await client.get("/health/ready")).status_code == 200
        await asyncio.sleep(int(answers[5].headers["retry-after"]))
        assert (await client.get("/popular", headers={"X-API-Key": hasty})).status_code == 200


def test_the_bucket_fills_at_its_rate_and_no_further_than_its_brim() -> None:
    grant = Grant("k", KeyScope.read)
    assert [grant.wait_seconds(100.0, 4, 2) for _ in range(3)] == [0.0, 0.0, 0.25]
    assert grant.wait_seconds(100.25, 4, 2) == 0.0
    assert grant.wait_seconds(100.25, 4, 2) == 0.25
    assert [grant.wait_seconds(1e6, 4, 2) for _ in range(3)] == [0.0, 0.0, 0.25]


# --- quotas


@pytest.fixture
async def small(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with api(with_(settings, max_users=2, max_courses=2, max_interactions=3)) as client:
        yield client


async def test_new_records_beyond_the_quota_are_named_and_known_ones_may_change(small: httpx.AsyncClient) -> None:
    rows = [{"user_id": name} for name in ("ann", "bob", "cyd", "ann")]
    report = (await small.post("/users", json=rows)).json()
    assert (report["created"], report["accepted"]) == (2, 3)
    assert [(row["index"], row["id"], row["type"]) for row in report["rejected"]] == [(2, "cyd", "quota_reached")]
    assert "COURSEGRAPH_MAX_USERS" in report["rejected"][0]["detail"]
    refused = await small.put("/users/dan", json={})
    assert (refused.status_code, refused.json()["type"]) == (409, "quota_reached")
    assert (await small.put("/users/ann", json={"interests": ["maths"]})).status_code == 200
    assert (await small.delete("/users/bob")).status_code == 200
    assert (await small.put("/users/dan", json={})).status_code == 201


async def test_interactions_make_no_more_records_than_there_is_room_for(small: httpx.AsyncClient) -> None:
    pairs = [("ann", "x"), ("ann", "y"), ("ann", "z"), ("bob", "x"), ("cyd", "x"), ("bob", "y")]
    rows = [{"user_id": user, "course_id": course} for user, course in pairs]
    report = (await small.post("/interactions", json=rows)).json()
    assert [(row["index"], row["type"]) for row in report["rejected"]] == [
        (2, "quota_reached"),  # a third course
        (3, "quota_reached"),  # a fourth interaction, of those that were asked for
        (4, "quota_reached"),  # a third user
        (5, "quota_reached"),
    ]
    assert report["created"] == 2
    again = (await small.post("/interactions", json=rows[:2])).json()
    assert (again["updated"], again["rejected"]) == (2, [])
    aborted = await small.post("/interactions?on_error=abort", json=[{"user_id": "ann", "course_id": "w"}] * 2)
    assert aborted.status_code == 422
    users = (await small.get("/users")).json()["items"]
    assert [user["user_id"] for user in users] == ["ann"]


# --- how much at once


async def test_no_more_large_batches_at_once_than_there_are_places(settings: Settings) -> None:
    lines = b'{"user_id": "u"}\n' * 3
    gate, arrived = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield lines
        arrived.set()
        await gate.wait()
        yield lines

    headers = {"Content-Type": "application/x-ndjson"}
    async with api(with_(settings, batches_limit=1)) as client:
        first = asyncio.create_task(client.post("/users", content=slow(), headers=headers))
        await asyncio.wait_for(arrived.wait(), 10)
        refused = await client.post("/users", content=_chunks(lines), headers=headers)
        assert (refused.status_code, refused.json()["type"]) == (503, "unavailable")
        assert "1 batches are in progress" in refused.json()["detail"]
        assert int(refused.headers["retry-after"]) > 0
        assert (await client.post("/users", json={"user_id": "small"})).status_code == 200
        gate.set()
        assert (await first).json()["accepted"] == 6
        assert (await client.post("/users", content=_chunks(lines), headers=headers)).status_code == 200


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def test_no_more_event_streams_than_there_are_places(settings: Settings) -> None:
    async with api(with_(settings, streams_limit=1)) as client:
        run_id = (await client.post("/training/runs")).json()["run_id"]
        first = asyncio.create_task(client.get(f"/training/runs/{run_id}/events"))
        await asyncio.sleep(0.2)
        refused = await client.get(f"/training/runs/{run_id}/events")
        assert (refused.status_code, refused.json()["type"]) == (503, "unavailable")
        await client.post(f"/training/runs/{run_id}/cancel")
        assert (await asyncio.wait_for(first, 10)).status_code == 200
        assert (await client.get(f"/training/runs/{run_id}/events")).status_code == 200
