"""What a run takes over from the model that is served, with a real worker's cycle on a real database."""

import logging
from pathlib import Path
from typing import Any

import pytest

from app.schemas.interactions import Interaction
from app.schemas.training import Plan, Run
from app.store.client import Database
from app.store.interactions import InteractionStore
from app.store.lease import Lease
from app.store.models import ModelStore
from app.store.runs import RunStore
from app.worker.cycle import Cycle
from app.worker.loop import recipe_from
from tests.support.service import make_settings
from tests.training.test_run import tastes
from tests.worker.test_checkpoints import load_tastes

OWN = {"epochs": 8, "embedding_size": 16, "checkpoint_seconds": 0.0}


class Worker:
    """Does one run after the other, as the holder of the lease."""

    def __init__(self, database: Database, uri: str, name: str, folder: Path) -> None:
        self.database, self._where = database, (uri, name, folder)
        self._fence: int | None = None

    async def run(self, **settings: Any) -> Run:
        """The ended run."""
        if self._fence is None:
            self._fence = await Lease(self.database, "tests", 600.0).acquire()
        assert self._fence is not None
        runs = RunStore(self.database)
        run = await runs.request("request", {})
        await Cycle(self.database, recipe_from(make_settings(*self._where, **OWN | settings)), self._fence).run(run)
        return await runs.get(run.run_id)


@pytest.fixture
def worker(database: Database, mongodb_uri: str, database_name: str, tmp_path: Path) -> Worker:
    return Worker(database, mongodb_uri, database_name, tmp_path)


def plan(run: Run) -> tuple[str, str]:
    assert run.plan is not None
    assert (run.status, run.error) == ("succeeded", None)
    return run.plan.kind, run.plan.reason


async def take(database: Database, n_users: int) -> None:
    """Six courses each, by users who were not there before."""
    known = await database["users"].count_documents({})
    rows = [
        Interaction(user_id=f"v{known + u:04}", course_id=f"c{(u + k) % 10 + 10 * (u % 6):02}")
        for u in range(n_users)
        for k in range(6)
    ]
    await InteractionStore(database).write_many(rows, auto_create=True)


@pytest.mark.timeout(240)
async def test_a_chosen_recipe_is_taken_until_a_search_is_due(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    await load_tastes(worker.database)
    first = await worker.run(search_every=3, warm_start="off")
    assert plan(first) == ("search", "no model is served yet")
    assert len(first.trials) > 1
    assert [trial.chosen for trial in first.trials].count(True) == 1
    assert len({trial.recipe["l2_weight"] for trial in first.trials}) > 1
    (chosen,) = (trial for trial in first.trials if trial.chosen)
    at_length = [trial for trial in first.trials if trial.steps == max(one.steps for one in first.trials)]
    assert chosen.ndcg >= 0.99 * max(trial.ndcg for trial in at_length)
    assert first.metrics is not None
    assert first.verdict is not None
    assert f"{first.metrics['model']['ndcg@20']:.4f}" in first.verdict
    for name in ("embedding_size", "n_layers", "parameters", "l2_weight"):
        assert first.config[name] == chosen.recipe[name]
    assert first.config["item_filter"] == chosen.filter

    caplog.set_level(logging.INFO, logger="app.worker.cycle")
    for n in (1, 2):
        run = await worker.run(search_every=3, warm_start="off")
        kind, reason = plan(run)
        assert kind == "remembered"
        assert reason == f"warm starts are switched off, with the recipe of m-{n:06}"
        (trial,) = run.trials
        assert trial.chosen
        assert trial.recipe == chosen.recipe
        assert trial.filter in {chosen.filter, "none"}
    assert f"1 trial: l2_weight {chosen.recipe['l2_weight']:g}" in caplog.text
    assert plan(await worker.run(search_every=3, warm_start="off")) == ("search", "one of 3 runs searches")


@pytest.mark.timeout(240)
async def test_other_settings_or_much_more_data_are_searched_anew(worker: Worker) -> None:
    await load_tastes(worker.database)
    await worker.run()
    assert plan(await worker.run())[0] == "warm_start"
    assert plan(await worker.run(device="auto"))[0] == "warm_start"
    assert plan(await worker.run(n_layers=2)) == ("search", "n_layers changed since m-000003 was trained")
    weights = {"enroll": 1.0, "like": 2.0}
    kind, reason = plan(await worker.run(interaction_weights=weights))
    assert kind == "search"
    assert "weight of like, " in reason
    assert "weight of enroll" not in reason
    await take(worker.database, 90)  # 540 beside 1,200
    kind, reason = plan(await worker.run(interaction_weights=weights))
    assert (kind, reason) == (
        "remembered",
        "training could not go on from the vectors: m-000005 knows only 74% of the users and courses",
    )
    await take(worker.database, 200)
    grown = await worker.run(interaction_weights=weights)
    assert plan(grown) == ("search", "m-000006 was trained on 1,740 interactions, and now there are 2,940")


@pytest.mark.timeout(240)
async def test_a_model_much_worse_than_the_one_served_is_rejected_and_recipes_are_searched_anew(worker: Worker) -> None:
    await load_tastes(worker.database)
    first = await worker.run()
    bad = await worker.run(embedding_size=1, loss="bpr", filter="none")
    assert (bad.status, bad.model_id) == ("rejected", None)
    assert bad.error is not None
    assert bad.error.detail == bad.verdict
    assert "its own NDCG@20 when it was trained" in bad.error.detail
    assert await ModelStore(worker.database).current() == first.model_id
    assert plan(await worker.run()) == ("search", "run r-000002 before this one was rejected")
    margin = await worker.run(embedding_size=1, loss="bpr", filter="none", gate_margin=1.0)
    assert margin.status == "succeeded"


@pytest.mark.timeout(240)
async def test_a_model_that_cannot_be_read_does_not_stop_a_run(worker: Worker, tmp_path: Path) -> None:
    await load_tastes(worker.database)
    first = await worker.run()
    directory = await ModelStore(worker.database).fetch(str(first.model_id), tmp_path)
    (directory / "item_vectors.npy").write_bytes(b"damaged")
    assert plan(await worker.run()) == ("search", "m-000001, the model that is served, cannot be read")
    assert plan(await worker.run())[0] == "warm_start"


@pytest.mark.timeout(240)
async def test_a_run_goes_on_from_the_vectors_of_the_model_served(worker: Worker) -> None:
    await load_tastes(worker.database)
    first = await worker.run(full_every=3)
    await take(worker.database, 10)
    for served in (first.model_id, "m-000002"):
        run = await worker.run(full_every=3)
        assert plan(run) == ("warm_start", f"data and settings are like those of {served}")
        assert run.trials == []
        assert run.model_id is not None
        assert len(run.losses) < len(first.losses)
        assert f"and that of {served}" in str(run.verdict)
        assert run.counts is not None
        assert run.counts.users == 210
    assert plan(await worker.run(full_every=3)) == (
        "remembered",
        "one of 3 runs trains from the start, with the recipe of m-000003",
    )
    assert plan(await worker.run(full_every=3))[0] == "warm_start"


def test_what_a_run_keeps_is_for_the_same_start_only(tmp_path: Path) -> None:
    recipe = recipe_from(make_settings("mongodb://127.0.0.1", "any", tmp_path))
    data = tastes()
    warm = Plan(kind="warm_start", reason="")
    starts: list[tuple[Plan, dict[str, str | None]]] = [
        (warm, {"model": "m-000001"}),
        (warm, {"model": "m-000002"}),
        (Plan(kind="remembered", reason=""), {"model": None}),
        (Plan(kind="search", reason=""), {"model": None}),
    ]
    assert len({recipe.scope(data, plan, taken_over) for plan, taken_over in starts}) == len(starts)
    assert recipe.scope(data, warm, starts[0][1]) == recipe.scope(
        data, Plan(kind="warm_start", reason="x"), starts[0][1]
    )
