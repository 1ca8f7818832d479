"""What happens when the trials went well and the last fit does not."""

from collections.abc import Collection
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from app.domain.embeddings import Embeddings
from app.errors import CollapsedError
from app.training.checkpoint import Checkpoint, finished
from app.training.config import TrainingConfig
from app.training.part import Owned, Part
from app.training.result import FitResult, TrainedModel
from app.training.run import train
from tests.support.graphs import random_graph
from tests.training.test_run import CONFIG as SHORT
from tests.training.test_run import WEIGHTS, snapshot, tastes

CONFIG = replace(SHORT, epochs=6, time_budget_seconds=1e6)  # so that a slow machine tries as many recipes


class Collapsing:
    """Has kept, of some of the fits that are asked for, a result in which all vectors are next to nothing."""

    def __init__(self, like: Embeddings, asked: Collection[int]) -> None:
        self.n_asked, self._asked = 0, asked
        whole = {field.name: getattr(like, field.name) for field in fields(Embeddings)}
        nothing: dict[str, Any] = {name: value * 1e-9 for name, value in whole.items() if value is not None}
        owned = Owned(Part(random_graph(), nothing["user_vectors"]), (len(nothing["user_vectors"]),))
        self._result = FitResult(Embeddings(**nothing), (4.0,), 1, "cpu", 1.0, 1, score=0.5, owned=owned)

    def resume(self, _key: str) -> Checkpoint | None:
        self.n_asked += 1
        return finished(self._result) if self.n_asked in self._asked else None

    def due(self) -> bool:
        return False

    def keep(self, key: str, checkpoint: Checkpoint) -> None:
        raise AssertionError(f"{key} took {checkpoint.values['seconds']} s")


@pytest.fixture(scope="module")
def usual() -> TrainedModel:
    return train(tastes(), WEIGHTS, CONFIG)


@pytest.mark.timeout(240)
def test_the_same_recipe_is_learned_from_the_start(usual: TrainedModel) -> None:
    n = len(usual.trials)
    told: list[int] = []
    kept = Collapsing(usual.embeddings, [n + 1])
    model = train(tastes(), WEIGHTS, CONFIG, checkpoints=kept, on_epoch=lambda epoch, *_: told.append(epoch))
    assert kept.n_asked == n + 2
    assert model.recipe == usual.recipe
    assert model.verdict.accepted
    assert "learned from the start, since the usual last fit failed: the vectors shrank" in model.verdict.reason
    assert model.metrics == usual.metrics
    assert np.abs(model.embeddings.item_vectors).max() > 0.01
    assert told == sorted(told)


@pytest.mark.timeout(240)
def test_then_the_recipe_of_the_next_best_trial_is_taken_and_judged(usual: TrainedModel) -> None:
    n = len(usual.trials)
    model = train(tastes(), WEIGHTS, CONFIG, checkpoints=Collapsing(usual.embeddings, [n + 1, n + 2]))
    assert "learned by the recipe of another trial" in model.verdict.reason
    (chosen,) = (trial for trial in model.trials if trial["chosen"])
    (before,) = (trial for trial in usual.trials if trial["chosen"])
    told = ("l2_weight", "parameters", "mask")
    others = [trial for trial in usual.trials if any(trial[name] != before[name] for name in told)]
    assert chosen["ndcg@20"] == max(trial["ndcg@20"] for trial in others)
    assert [getattr(model.recipe, name) for name in told] == [chosen[name] for name in told]
    assert model.metrics["model"]["ndcg@20"] == pytest.approx(chosen["ndcg@20"], rel=0.1)


@pytest.mark.timeout(240)
def test_when_nothing_helps_the_run_fails_as_the_first_try_did(usual: TrainedModel) -> None:
    n = len(usual.trials)
    with pytest.raises(CollapsedError, match="shrank to nothing"):
        train(tastes(), WEIGHTS, CONFIG, checkpoints=Collapsing(usual.embeddings, range(n + 1, n + 9)))


def test_a_filter_that_ranks_well_does_not_hide_that_the_vectors_vanished() -> None:
    data = tastes()
    with pytest.raises(CollapsedError, match="shrank to nothing"):
        train(data, WEIGHTS, TrainingConfig(embedding_size=16, l2_weight=100.0, filter="ease"))
    rng = np.random.default_rng(0)
    pairs = zip(rng.integers(0, 300, 3000).tolist(), rng.integers(0, 100, 3000).tolist(), strict=True)
    with pytest.raises(CollapsedError, match="shrank to nothing"):
        train(snapshot([*pairs], 300, 100), WEIGHTS, TrainingConfig(embedding_size=16, l2_weight=2.0, filter="gf_cf"))
