"""Training calls when no worker is there to do anything."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from app.api.watching import watch
from app.schemas.training import Counts, Progress
from app.store.client import Database
from app.store.lease import Lease
from app.store.runs import RunStore
from app.training.config import TrainingConfig


@pytest.fixture
async def run_id(client: httpx.AsyncClient) -> str:
    answer = await client.post("/training/runs")
    assert answer.status_code == 202
    run = answer.json()
    assert answer.headers["location"] == f"/training/runs/{run['run_id']}"
    assert (run["status"], run["trigger"]) == ("queued", "request")
    assert run["config"].keys() == TrainingConfig().as_dict().keys()
    return str(run["run_id"])


async def test_a_second_run_is_refused_with_the_id_of_the_first(client: httpx.AsyncClient, run_id: str) -> None:
    answer = await client.post("/training/runs")
    assert (answer.status_code, answer.json()["type"], answer.json()["run_id"]) == (409, "run_in_progress", run_id)
    assert [run["run_id"] for run in (await client.get("/training/runs")).json()["items"]] == [run_id]
    assert (await client.get(f"/training/runs/{run_id}")).json()["status"] == "queued"


async def test_a_queued_run_is_cancelled_at_once_and_only_once(client: httpx.AsyncClient, run_id: str) -> None:
    cancelled = await client.post(f"/training/runs/{run_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    again = await client.post(f"/training/runs/{run_id}/cancel")
    assert (again.status_code, again.json()["type"]) == (409, "run_ended")
    assert (await client.post("/training/runs")).status_code == 202
    runs = (await client.get("/training/runs?limit=1")).json()
    older = (await client.get("/training/runs", params={"limit": 1, "cursor": runs["next_cursor"]})).json()
    assert [run["run_id"] for run in older["items"]] == [run_id]
    for call in ("", "/events"):
        answer = await client.get(f"/training/runs/r-999999{call}")
        assert (answer.status_code, answer.json()["type"]) == (404, "unknown_run")
    assert (await client.post("/training/runs/nonsense/cancel")).status_code == 404


async def test_events_tell_a_run_to_its_end(client: httpx.AsyncClient, database: Database, run_id: str) -> None:
    runs, lease = RunStore(database), Lease(database, "tests", 60.0)
    fence = await lease.acquire()
    assert fence is not None
    watching = asyncio.create_task(client.get(f"/training/runs/{run_id}/events"))
    await asyncio.sleep(0.1)
    await runs.start(run_id, fence, seed=3, config={"epochs": 2})
    await runs.describe(run_id, fence, counts=Counts(users=1, courses=2, interactions=3), device="cpu")
    for epoch in (1, 2):
        await runs.progress(run_id, fence, Progress(epoch=epoch, epochs=2, loss=0.7 / epoch), [0.7 / epoch])
        await asyncio.sleep(0.6)
    await runs.finish(run_id, fence, "succeeded", model_id="m-000001", metrics={"model": {"recall@20": 0.5}})
    answer = await asyncio.wait_for(watching, 10)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    told = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert {line for line in answer.text.splitlines() if line.startswith("event:")} == {"event: run"}
    assert (told[0]["status"], told[-1]["status"]) == ("queued", "succeeded")
    assert 0.35 in [run["losses"][-1] for run in told if run["losses"]]
    assert told[-1] == (await client.get(f"/training/runs/{run_id}")).json()


async def test_events_of_an_ended_run_are_one(client: httpx.AsyncClient, database: Database, run_id: str) -> None:
    await client.post(f"/training/runs/{run_id}/cancel")
    run = await RunStore(database).get(run_id)
    events: list[Any] = [event async for event in watch(run, RunStore(database))]
    assert len(events) == 1
