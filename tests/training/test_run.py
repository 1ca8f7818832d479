from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.interactions import Features, Snapshot
from app.domain.vocabulary import Vocabulary
from app.domain.words import Words
from app.errors import CancelledError, CollapsedError, NothingToLearnError
from app.training.config import FilterWish, Loss, TrainingConfig
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


@pytest.mark.parametrize("loss", ["bpr", "softmax"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_whatever_is_stored_ends_in_a_model_or_a_clear_error(loss: Loss, data: st.DataObject) -> None:
    """0, 1 or a few users and courses; repeated pairs of several types; isolated ones; users who took everything."""
    n_users, n_items = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4))
    pair = st.tuples(st.integers(0, max(n_users - 1, 0)), st.integers(0, max(n_items - 1, 0)), st.integers(0, 1))
    rows = sorted(data.draw(st.lists(pair, max_size=20))) if n_users and n_items else []
    columns = np.array(rows, np.int64).reshape(-1, 3)
    odd = replace(
        snapshot([], n_users, n_items),
        user_rows=columns[:, 0].astype(np.int32),
        item_rows=columns[:, 1].astype(np.int32),
        type_codes=columns[:, 2].astype(np.uint8),
        timestamps=np.array(
            data.draw(st.lists(st.integers(0, 2**42), min_size=len(rows), max_size=len(rows))), np.int64
        ),
        half_life_days=data.draw(st.sampled_from([None, 1e-6, 1.0])),
        item_words=data.draw(st.sampled_from([None, Words([["a"]] * n_items, ["b"] * n_items)])),
    )
    try:
        model = train(odd, WEIGHTS, replace(CONFIG, embedding_size=4, epochs=2, loss=loss))
    except NothingToLearnError:
        took_something = {user for user, _, type_ in rows if type_ == 0}
        assert all(len({item for user, item, _ in rows if user == one}) == n_items for one in took_something)
        return
    for vectors in (model.embeddings.user_vectors, model.embeddings.item_vectors):
        assert np.isfinite(vectors).all()
    assert np.isfinite(model.losses).all()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "odd",
    [
        snapshot([(0, i) for i in range(5000)] + [(u, u) for u in range(1, 300)], 300, 5001),
        snapshot([(u, 0) for u in range(3000)] + [(u, 1 + u % 7) for u in range(0, 3000, 2)], 3000, 9),
        snapshot([(u, i + 20 * (u % 10)) for u in range(300) for i in range(u % 7, 20, 2)], 300, 200),
    ],
    ids=["giant user", "giant course", "disconnected"],
)
def test_lopsided_data_are_learned_from_and_judged(odd: Snapshot) -> None:
    model = train(odd, WEIGHTS, replace(CONFIG, epochs=3))
    assert model.split == "random"
    assert np.isfinite(model.embeddings.user_vectors).all()
    assert np.isfinite([value for measures in model.metrics.values() for value in measures.values()]).all()


@pytest.mark.parametrize(
    ("wish", "expected"), [("auto", "gf_cf"), ("gf_cf", "gf_cf"), ("ease", "ease"), ("none", "none")]
)
def test_of_data_too_few_to_judge_by_a_filter_says_more(wish: FilterWish, expected: str) -> None:
    pairs = [(user, item) for user in range(20) for item in range(10) if (user + item) % 2 == 0]
    model = train(snapshot(pairs, 20, 10), WEIGHTS, replace(CONFIG, filter=wish))
    assert (model.split, model.recipe.item_filter) == ("none", expected)
    assert (model.item_filter is not None) == (expected != "none")


def test_data_that_teach_nothing_are_said_to() -> None:
    """Random pairs, from which L2 takes every vector to zero: as good as most-popular by luck, and of no use."""
    rng = np.random.default_rng(0)
    noise = snapshot(
        [*zip(rng.integers(0, 300, 3000).tolist(), rng.integers(0, 100, 3000).tolist(), strict=True)], 300, 100
    )
    with pytest.raises(CollapsedError, match="shrank to nothing"):
        train(noise, WEIGHTS, TrainingConfig(embedding_size=16, l2_weight=2.0))
    assert train(noise, WEIGHTS, TrainingConfig(embedding_size=16, loss="bpr", epochs=5)).epochs <= 5
