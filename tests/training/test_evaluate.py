import numpy as np
import pytest
from numpy.typing import NDArray

from app.domain.embeddings import Embeddings
from app.graph.bipartite import BipartiteGraph
from app.training.baselines import item_cosine_scores, popular_scores
from app.training.evaluate import evaluate, model_scores
from app.training.split import MOST_HELD_OUT, RANDOM_SHARE, Split, split, times_tell
from tests.support.graphs import random_graph

HOUR = 3_600_000


def held(graph: BipartiteGraph, pairs: list[tuple[int, int]]) -> Split:
    users, items = np.array(sorted(pairs), np.int32).T
    return Split(graph, users, items, "random")


def naive(scores: NDArray[np.float32], parts: Split, n: int) -> dict[str, float]:
    """The same measures by the book, one user after the other."""
    seen = parts.train.seen.toarray()
    results = []
    for user in sorted(set(parts.held_users.tolist())):
        wanted = set(parts.held_items[parts.held_users == user].tolist())
        ranked = sorted((i for i in range(len(scores[0])) if not seen[user, i]), key=lambda i: -scores[user, i])[:n]
        hits = [item in wanted for item in ranked]
        gain = sum(1 / np.log2(k + 2) for k, hit in enumerate(hits) if hit)
        ideal = sum(1 / np.log2(k + 2) for k in range(min(len(wanted), n)))
        first = 1 / (hits.index(True) + 1) if any(hits) else 0.0
        results.append((sum(hits) / len(wanted), gain / ideal, any(hits), first))
    means = np.array(results, float).mean(0)
    return dict(zip(("recall", "ndcg", "hit_rate", "mrr"), means.tolist(), strict=True))


def test_measures_equal_the_definition() -> None:
    rng = np.random.default_rng(3)
    graph = random_graph(n_items=60)
    parts = split(graph, rng)
    scores = rng.normal(size=(graph.n_users, graph.n_items)).astype(np.float32)
    result = evaluate(lambda users: scores[users], parts)
    for n in (10, 20):
        for name, value in naive(scores, parts, n).items():
            assert result[f"{name}@{n}"] == pytest.approx(value)


def test_short_lists_hold_only_what_is_unseen() -> None:
    graph = BipartiteGraph.from_pairs(np.array([0, 0, 1]), np.array([0, 1, 3]), n_users=2, n_items=4)
    parts = held(graph, [(0, 2), (1, 0)])
    scores = np.array([[9, 9, 1, 2], [3, 2, 1, 9]], np.float32)
    result = evaluate(lambda users: scores[users], parts)
    assert result["recall@10"] == result["hit_rate@20"] == 1.0
    assert result["mrr@10"] == pytest.approx((1 / 2 + 1) / 2)
    assert result["coverage@20"] == 1.0


def test_a_perfect_and_a_useless_model() -> None:
    graph = random_graph(n_items=60)
    parts = split(graph, np.random.default_rng(0))
    wanted = np.zeros((graph.n_users, graph.n_items), np.float32)
    wanted[parts.held_users, parts.held_items] = 1
    perfect, useless = (evaluate(lambda users, s=s: s[users].copy(), parts) for s in (wanted, -wanted))  # type: ignore[misc]  # a default argument has no type in a lambda
    assert perfect["recall@10"] == perfect["ndcg@20"] == perfect["mrr@10"] == 1.0
    assert useless["recall@20"] == useless["ndcg@10"] == 0.0


def test_baselines_equal_the_definition() -> None:
    graph = random_graph(weighted=True)
    taken = graph.user_items.toarray() > 0
    users = np.arange(graph.n_users)
    assert (popular_scores(graph)(users) == taken.sum(0)).all()
    lengths = np.maximum(np.sqrt(taken.sum(0)), 1)
    similarity = (taken / lengths).T @ (taken / lengths)
    np.testing.assert_allclose(item_cosine_scores(graph)(users), taken @ similarity, atol=1e-5)


def test_model_scores_are_inner_products() -> None:
    rng = np.random.default_rng(0)
    user, item = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
    scores = model_scores(Embeddings(user, item, item))
    np.testing.assert_allclose(scores(np.array([3, 1])), user[[3, 1]] @ item.T)


def timed(times: list[int]) -> BipartiteGraph:
    users, items = np.array([0, 0, 0, 1, 1, 2]), np.array([4, 1, 2, 0, 3, 1])
    return BipartiteGraph.from_pairs(users, items, n_users=3, n_items=5, times=np.array(times))


def test_the_last_interaction_is_held_out_where_times_tell() -> None:
    parts = split(timed([5 * HOUR, 9 * HOUR, HOUR, 8 * HOUR, 2 * HOUR, 0]), np.random.default_rng(0))
    assert parts.kind == "time"
    assert list(zip(parts.held_users.tolist(), parts.held_items.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert parts.train.seen.toarray().sum() == 4
    assert not parts.train.seen.toarray()[parts.held_users, parts.held_items].any()


@pytest.mark.parametrize(("n_users", "held"), [(30, 480), (600, 600)])
def test_of_few_users_more_than_the_last_interaction_is_held_out(n_users: int, held: int) -> None:
    """Thirty interactions would tell nothing of a recipe."""
    n_items = 90
    users, items = np.divmod(np.arange(n_users * n_items), n_items)
    times = np.random.default_rng(0).permutation(n_users * n_items) * HOUR
    graph = BipartiteGraph.from_pairs(users, items, n_users=n_users, n_items=n_items, times=times)
    parts = split(graph, np.random.default_rng(0))
    of_each = held // n_users
    latest = np.argsort(times.reshape(n_users, n_items), axis=1)[:, -of_each:]
    assert len(parts.held_users) == held
    assert (np.sort(latest, axis=1) == parts.held_items.reshape(n_users, of_each)).all()


@pytest.mark.parametrize("times", [[7, 7, 7, 7, 7, 7], [0, 1000, 2000, 3000, 4000, 5000]])
def test_a_bulk_load_tells_no_times(times: list[int]) -> None:
    graph = timed(times)
    assert not times_tell(graph)
    assert split(graph, np.random.default_rng(0)).kind == "random"


@pytest.mark.parametrize(("minutes", "days", "tell"), [(4, 3, True), (2, 3, False), (4, 0, False)])
def test_times_of_sittings_tell_where_they_are_on_different_days(minutes: int, days: int, tell: bool) -> None:
    """Three interactions a user, so many minutes apart, of users who began so many days apart."""
    users, places = np.divmod(np.arange(12), 3)
    times = places * minutes * HOUR // 60 + users * days * 24 * HOUR
    assert times_tell(BipartiteGraph.from_pairs(users, places, n_users=4, n_items=3, times=times)) is tell


@pytest.mark.parametrize("seed", range(5))
def test_a_random_split_leaves_every_user_an_edge(seed: int) -> None:
    graph = random_graph(seed=seed)
    parts = split(graph, np.random.default_rng(seed))
    assert ((np.diff(parts.train.user_items.indptr) > 0) == (np.diff(graph.user_items.indptr) > 0)).all()
    assert parts.train.n_edges + len(parts.held_users) == graph.n_edges
    assert 0 < len(parts.held_users) < graph.n_edges / 4


def test_of_large_data_a_few_users_drawn_evenly_lose_a_tenth() -> None:
    """Edges drawn evenly would be those of the busiest users: half of them, though one in ten is busy."""
    rng = np.random.default_rng(0)
    busy, n_users, n_items = 2_000, 20_000, 400
    counts = np.where(np.arange(n_users) < busy, 90, 10)
    users = np.repeat(np.arange(n_users), counts)
    items = np.concatenate([rng.choice(n_items, count, replace=False) for count in counts])
    parts = split(BipartiteGraph.from_pairs(users, items, n_users=n_users, n_items=n_items), rng)
    assert 0.9 * MOST_HELD_OUT < len(parts.held_users) < 1.1 * MOST_HELD_OUT
    held_from = np.unique(parts.held_users)
    lost = np.bincount(parts.held_users, minlength=n_users)[held_from] / counts[held_from]
    assert np.mean(held_from < busy) == pytest.approx(0.1, abs=0.02)
    assert len(held_from) == pytest.approx(MOST_HELD_OUT / (RANDOM_SHARE * len(users)) * n_users, rel=0.1)
    assert np.mean(lost[held_from < busy]) == pytest.approx(RANDOM_SHARE, rel=0.1)


def test_a_random_split_asks_short_users_too() -> None:
    """A tenth of the edges would hold one out of a third of those with four, and of nearly all with forty."""
    counts = np.repeat([1, 2, 4, 40], 100)
    users = np.repeat(np.arange(400), counts)
    items = np.concatenate([np.arange(count) for count in counts])
    graph = BipartiteGraph.from_pairs(users, items, n_users=400, n_items=50)
    parts = split(graph, np.random.default_rng(0))
    held = np.bincount(parts.held_users, minlength=400)
    assert (held[:100] == 0).all()
    assert (held[100:300] == 1).all()
    assert 3 < held[300:].mean() < 5
