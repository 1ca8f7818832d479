import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.errors import LeaseLostError, RunEndedError, RunInProgressError, UnknownRunError
from app.schemas.training import Counts, Plan, Progress, Run, RunError, Trial
from app.store.client import Database
from app.store.lease import Lease
from app.store.runs import MOST_TAKEOVERS, RunStore


@pytest.fixture
def runs(database: Database) -> RunStore:
    return RunStore(database)


@pytest.fixture
async def fence(database: Database) -> int:
    return await take_lease(database)


async def take_lease(database: Database) -> int:
    """As if the holder before had lapsed."""
    await database["settings"].update_one({"_id": "lease"}, {"$set": {"expires_at": datetime(2000, 1, 1, tzinfo=UTC)}})
    fence = await Lease(database, "w", 60.0).acquire()
    assert fence is not None
    return fence


async def started(runs: RunStore, fence: int) -> Run:
    run = await runs.request("changes", {})
    return await runs.start(run.run_id, fence, seed=1, config={"epochs": 3})


async def test_a_run_from_request_to_success(runs: RunStore, fence: int) -> None:
    asked = await runs.request("request", {"epochs": 3})
    assert (asked.run_id, asked.status, asked.trigger, asked.losses) == ("r-000001", "queued", "request", [])
    assert abs(asked.requested_at - datetime.now(UTC)) < timedelta(seconds=60)
    waiting = await runs.next_queued()
    assert waiting == asked

    config = {"epochs": 3, "interaction_weights": {"$a.b": 1.0}}
    run = await runs.start(asked.run_id, fence, seed=7, config=config)
    assert (run.status, run.seed, run.config) == ("running", 7, config)
    assert await runs.next_queued() is None
    await runs.describe(run.run_id, fence, counts=Counts(users=2, courses=3, interactions=4))
    trial = {
        **{"recipe": {"l2_weight": 0.02}, "epochs": 3, "steps": 30, "seconds": 0.5, "chosen": True},
        **{
            "filter": "ease",
            "filter_l2": 200.0,
            "filter_power": 0.25,
            "filter_weight": 0.4,
            "ndcg": 0.3,
            "ndcg_alone": 0.2,
        },
    }
    await runs.describe(run.run_id, fence, device="cpu", plan=Plan(kind="search", reason="no model is served yet"))
    await runs.describe(run.run_id, fence, trials=[Trial.model_validate(trial)], verdict="good")
    for epoch in (1, 2):
        told = Progress(epoch=epoch, epochs=3, loss=0.5 / epoch, seconds_left=3.0 - epoch)
        assert not await runs.progress(run.run_id, fence, told, [0.5 / epoch])
    await runs.progress(run.run_id, fence, Progress(epoch=3, epochs=3), [])
    metrics = {"model": {"recall@20": 0.4}, "popular": {"recall@20": 0.1}}
    ended = await runs.finish(run.run_id, fence, "succeeded", metrics=metrics, model_id="m-000001")

    assert ended == await runs.get(run.run_id)
    assert ended.model_dump(exclude={"requested_at", "started_at", "ended_at"}) == {
        "run_id": "r-000001",
        "status": "succeeded",
        "trigger": "request",
        "cancel_requested": False,
        "progress": {"epoch": 3, "epochs": 3, "loss": None, "seconds_left": None},
        "losses": [0.5, 0.25],
        "metrics": metrics,
        "counts": {"users": 2, "courses": 3, "interactions": 4},
        "device": "cpu",
        "seed": 7,
        "config": config,
        "plan": {"kind": "search", "reason": "no model is served yet"},
        "trials": [trial],
        "verdict": "good",
        "model_id": "m-000001",
        "error": None,
    }
    assert ended.started_at is not None
    assert ended.ended_at is not None
    assert ended.requested_at <= ended.started_at <= ended.ended_at


async def test_one_run_at_a_time(runs: RunStore, fence: int) -> None:
    first = await runs.request("request", {})
    with pytest.raises(RunInProgressError) as queued:
        await runs.request("changes", {})
    assert queued.value.run_id == first.run_id
    await runs.start(first.run_id, fence, seed=0, config={})
    with pytest.raises(RunInProgressError) as running:
        await runs.request("changes", {})
    assert running.value.run_id == first.run_id
    await runs.finish(first.run_id, fence, "rejected")
    assert (await runs.request("time", {})).run_id == "r-000002"


async def test_of_many_requests_at_once_one_is_taken(runs: RunStore) -> None:
    answers = await asyncio.gather(*(runs.request("request", {}) for _ in range(20)), return_exceptions=True)
    taken = [answer for answer in answers if isinstance(answer, Run)]
    refused = [answer for answer in answers if isinstance(answer, RunInProgressError)]
    assert (len(taken), len(refused)) == (1, 19)
    assert {error.run_id for error in refused} == {taken[0].run_id}


async def test_a_queued_run_is_cancelled_at_once(runs: RunStore, fence: int) -> None:
    run = await runs.request("request", {})
    cancelled = await runs.request_cancel(run.run_id)
    assert cancelled.status == "cancelled"
    assert cancelled.ended_at is not None
    with pytest.raises(RunEndedError, match="cancelled"):
        await runs.start(run.run_id, fence, seed=0, config={})
    with pytest.raises(RunEndedError):
        await runs.request_cancel(run.run_id)
    await runs.request("request", {})


async def test_a_running_run_is_told_to_stop(runs: RunStore, fence: int) -> None:
    run = await started(runs, fence)
    told = Progress(epoch=1, epochs=3)
    assert not await runs.progress(run.run_id, fence, told, [0.5])
    asked = await runs.request_cancel(run.run_id)
    assert (asked.status, asked.cancel_requested) == ("running", True)
    assert await runs.progress(run.run_id, fence, told, [0.4])
    assert (await runs.finish(run.run_id, fence, "cancelled")).losses == [0.5, 0.4]


async def test_a_stale_worker_changes_nothing(database: Database, runs: RunStore, fence: int) -> None:
    run = await started(runs, fence)
    newer = await take_lease(database)
    assert await runs.take_over_orphans(newer, "its worker died") == 1
    requeued = await runs.get(run.run_id)
    assert (requeued.status, requeued.losses, requeued.progress, requeued.error) == ("queued", [], None, None)
    with pytest.raises(LeaseLostError):
        await runs.progress(run.run_id, fence, Progress(epoch=1, epochs=3), [0.1])
    with pytest.raises(LeaseLostError):
        await runs.describe(run.run_id, fence, device="cpu")
    with pytest.raises(LeaseLostError):
        await runs.finish(run.run_id, fence, "succeeded", model_id="m-000001")
    with pytest.raises(LeaseLostError):
        await runs.cancel_requested(run.run_id, fence)
    with pytest.raises(LeaseLostError):
        await runs.start(run.run_id, fence, seed=0, config={})
    assert await runs.get(run.run_id) == requeued


async def test_a_run_that_its_workers_die_of_fails_in_the_end(database: Database, runs: RunStore, fence: int) -> None:
    run = await started(runs, fence)
    for _ in range(MOST_TAKEOVERS):
        fence = await take_lease(database)
        assert await runs.take_over_orphans(fence, "its worker died") == 1
        assert await runs.take_over_orphans(fence, "its worker died") == 0
        await runs.start(run.run_id, fence, seed=0, config={})
    assert await runs.take_over_orphans(await take_lease(database), "its worker died") == 1
    failed = await runs.get(run.run_id)
    assert (failed.status, failed.error) == ("failed", RunError(type="worker_died", detail="its worker died"))
    await runs.request("request", {})


async def test_a_run_whose_worker_is_stopped_waits_for_the_next(database: Database, runs: RunStore, fence: int) -> None:
    run = await started(runs, fence)
    for _ in range(MOST_TAKEOVERS + 2):  # however often: nobody died of it
        await runs.progress(run.run_id, fence, Progress(epoch=1, epochs=3), [0.5])
        handed = await runs.hand_back(run.run_id, fence)
        assert (handed.status, handed.losses, handed.progress, handed.error) == ("queued", [], None, None)
        assert (await runs.next_queued()) == handed
        with pytest.raises(RunInProgressError):
            await runs.request("request", {})
        fence = await take_lease(database)
        assert await runs.take_over_orphans(fence, "its worker died") == 0
        await runs.start(run.run_id, fence, seed=0, config={})
    await runs.request_cancel(run.run_id)
    assert (await runs.hand_back(run.run_id, fence)).status == "cancelled"
    with pytest.raises(LeaseLostError):
        await runs.hand_back(run.run_id, fence)
    await runs.request("request", {})


async def test_a_run_that_shall_stop_is_not_taken_over(database: Database, runs: RunStore, fence: int) -> None:
    run = await started(runs, fence)
    assert await runs.cancel_requested(run.run_id, fence) is False
    await runs.request_cancel(run.run_id)
    assert await runs.cancel_requested(run.run_id, fence) is True
    assert await runs.take_over_orphans(await take_lease(database), "its worker died") == 1
    assert (await runs.get(run.run_id)).status == "cancelled"
    await runs.request("request", {})


async def test_only_runs_of_older_fences_are_orphans(runs: RunStore, fence: int) -> None:
    run = await started(runs, fence)
    assert await runs.take_over_orphans(fence, "its worker died") == 0
    assert (await runs.get(run.run_id)).status == "running"


async def test_starting_again_after_a_lost_answer(runs: RunStore, fence: int) -> None:
    run = await started(runs, fence)
    again = await runs.start(run.run_id, fence, seed=1, config={"epochs": 3})
    assert (again.run_id, again.status) == (run.run_id, "running")


async def test_pages_newest_first(runs: RunStore) -> None:
    for _ in range(5):
        run = await runs.request("request", {})
        await runs.request_cancel(run.run_id)
    first = await runs.page(2)
    assert [run.run_id for run in first.items] == ["r-000005", "r-000004"]
    await runs.request("request", {})  # a new one does not move the pages
    second = await runs.page(2, first.after)
    third = await runs.page(2, second.after)
    assert [run.run_id for run in (*second.items, *third.items)] == ["r-000003", "r-000002", "r-000001"]
    assert third.after is None


@pytest.mark.parametrize("run_id", ["r-000009", "r-9", "m-000001", "", "r-" + "9" * 40, "r-0000001", "r-00000\u0661"])
async def test_unknown_ids(runs: RunStore, run_id: str) -> None:
    with pytest.raises(UnknownRunError):
        await runs.get(run_id)
    with pytest.raises(UnknownRunError):
        await runs.request_cancel(run_id)
