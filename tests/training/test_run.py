from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from app.domain.interactions import Features, Snapshot
from app.domain.vocabulary import Vocabulary
from app.errors import CancelledError, NothingToLearnError
from app.training.config import TrainingConfig
from app.training.run import judge, train

WEIGHTS = {"view": 1.0, "dislike": 0.0}


def snapshot(
    pairs: list[tuple[int, int]],
    n_users: int,
    n_items: int,
    features: tuple[Features, Features] = (Features.none(), Features.none()),
) -> Snapshot:
    rows = np.array(sorted(set(pairs)), np.int32).reshape(-1, 2)
    return Snapshot(
        cluster_time=0,
        users=Vocabulary([f"u{row}" for row in range(n_users)]),
        items=Vocabulary([f"c{row}" for row in range(n_items)]),
        user_rows=rows[:, 0],
        item_rows=rows[:, 1],
        type_codes=np.zeros(len(rows), np.uint8),
        timestamps=np.zeros(len(rows), np.int64),
        types=("view", "dislike"),
        user_features=features[0],
        item_features=features[1],
    )


def tastes(n_users: int = 200, n_items: int = 60) -> Snapshot:
    """Six groups of users who stay within ten courses of their own."""
    rng = np.random.default_rng(0)
    pairs = [(u, int(i) + 10 * (u % 6)) for u in range(n_users) for i in rng.choice(10, 6, replace=False)]
    return snapshot(pairs, n_users, n_items)


CONFIG = TrainingConfig(embedding_size=16, epochs=20, learning_rate=0.02)


@pytest.mark.timeout(60)
def test_a_run_is_judged_beside_the_baselines_and_fits_everything() -> None:
    told: list[tuple[int, int]] = []
    model = train(tastes(), WEIGHTS, CONFIG, on_epoch=lambda epoch, epochs, *_: told.append((epoch, epochs)))
    assert model.split == "random"
    assert model.n_held_out >= 100
    assert set(model.metrics) == {"model", "popular", "item_cosine", "gf_cf", "ease"}
    assert model.metrics["model"]["ndcg@20"] > 2 * model.metrics["popular"]["ndcg@20"]
    assert model.verdict.accepted
    assert model.embeddings.user_vectors.shape == (200, 16)
    assert model.graph.n_edges == 1200
    assert len(model.losses) == model.epochs
    assert [epoch for epoch, _ in told] == list(range(1, len(told) + 1))
    assert all(before[1] >= after[1] for before, after in pairwise(told))
    assert told[-1][0] == told[-1][1]


@pytest.mark.timeout(60)
def test_two_runs_are_equal_to_the_bit() -> None:
    first, second = (train(tastes(), WEIGHTS, replace(CONFIG, epochs=4)) for _ in range(2))
    assert (first.embeddings.user_vectors == second.embeddings.user_vectors).all()
    assert (first.embeddings.item_vectors == second.embeddings.item_vectors).all()
    assert first.metrics == second.metrics


@pytest.mark.timeout(60)
def test_the_notebooks_toy() -> None:
    """Its size and settings: 5 users, 10 courses, 12 interactions, 3-d features."""
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 3), (2, 4), (2, 5), (2, 6), (3, 7), (3, 0), (4, 8), (4, 9)]
    rng = np.random.default_rng(0)
    features = [Features(np.arange(n, dtype=np.int32), rng.random((n, 3)).astype(np.float32)) for n in (5, 10)]
    config = TrainingConfig(embedding_size=3, n_layers=2, combination="sum", loss="bpr", epochs=50, learning_rate=0.01)
    model = train(snapshot(pairs, 5, 10, (features[0], features[1])), WEIGHTS, config)
    assert model.epochs == len(model.losses) == 50
    assert np.mean(model.losses[-5:]) < 0.5 * np.mean(model.losses[:5])
    assert model.split == "none"
    assert model.metrics == {}
    assert model.verdict.accepted
    assert "not judged" in model.verdict.reason


def test_one_user_with_one_course_of_two() -> None:
    model = train(snapshot([(0, 0)], 1, 2), WEIGHTS, CONFIG)
    assert np.isfinite(model.embeddings.item_vectors).all()
    assert model.epochs == CONFIG.epochs


@pytest.mark.parametrize(("pairs", "n_users", "n_items"), [([], 0, 0), ([], 2, 2), ([(0, 0)], 1, 1)])
def test_nothing_to_learn(pairs: list[tuple[int, int]], n_users: int, n_items: int) -> None:
    with pytest.raises(NothingToLearnError):
        train(snapshot(pairs, n_users, n_items), WEIGHTS, CONFIG)


def test_cancelling_ends_the_run() -> None:
    with pytest.raises(CancelledError):
        train(tastes(), WEIGHTS, CONFIG, should_stop=lambda: True)


def test_the_gate() -> None:
    good = judge({"model": {"ndcg@20": 0.3}, "popular": {"ndcg@20": 0.2}})
    bad = judge({"model": {"ndcg@20": 0.1}, "popular": {"ndcg@20": 0.2}})
    assert good.accepted
    assert not bad.accepted
    assert "0.1000" in bad.reason
    assert "0.2000" in bad.reason
