import numpy as np
import pytest

from app.domain.interactions import Features, Snapshot
from app.domain.vocabulary import Vocabulary
from app.graph.bipartite import BipartiteGraph


def snapshot(entries: list[tuple[int, int, str, int]], n_users: int = 3, n_items: int = 4) -> Snapshot:
    types = ("view", "enroll", "dislike")
    entries = sorted(entries)
    return Snapshot(
        cluster_time=0,
        users=Vocabulary([f"u{row}" for row in range(n_users)]),
        items=Vocabulary([f"c{row}" for row in range(n_items)]),
        user_rows=np.array([e[0] for e in entries], np.int32),
        item_rows=np.array([e[1] for e in entries], np.int32),
        type_codes=np.array([types.index(e[2]) for e in entries], np.uint8),
        timestamps=np.array([e[3] for e in entries], np.int64),
        types=types,
        user_features=Features.none(),
        item_features=Features.none(),
    )


WEIGHTS = {"view": 1.0, "enroll": 3.0, "dislike": 0.0}


def test_a_pair_weighs_the_most_that_one_of_its_types_does() -> None:
    data = snapshot([(0, 1, "view", 5), (0, 1, "enroll", 9), (0, 3, "dislike", 1), (2, 0, "view", 2)])
    graph = BipartiteGraph.from_snapshot(data, WEIGHTS)
    assert graph.user_items.toarray().tolist() == [[0, 3, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert graph.user_items.dtype == np.float32
    assert graph.seen.toarray().tolist() == [[False, True, False, True], [False] * 4, [True, False, False, False]]
    assert graph.user_degrees.tolist() == [3, 0, 1]
    assert graph.item_degrees.tolist() == [1, 3, 0, 0]
    assert graph.times is not None
    assert graph.times.tolist() == [9, 2]
    assert (graph.n_users, graph.n_items, graph.n_nodes, graph.n_edges) == (3, 4, 7, 2)


def test_rows_in_any_order_and_repeated_give_the_same_graph() -> None:
    rng = np.random.default_rng(1)
    users, items = rng.integers(0, 20, 200), rng.integers(0, 30, 200)
    weights = rng.choice([0.0, 0.5, 2.0], 200)
    expected = np.zeros((20, 30))
    seen = np.zeros((20, 30), bool)
    for user, item, weight in zip(users, items, weights, strict=True):
        expected[user, item] = max(expected[user, item], weight)
        seen[user, item] = True
    graph = BipartiteGraph.from_pairs(users, items, n_users=20, n_items=30, weights=weights)
    assert (graph.user_items.toarray() == expected).all()
    assert (graph.seen.toarray() == seen).all()
    assert (graph.user_items.data > 0).all()
    for matrix in (graph.user_items, graph.seen):
        for row in range(20):
            assert (np.diff(matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]) > 0).all()


@pytest.mark.parametrize(("n_users", "n_items"), [(0, 0), (0, 3), (3, 0), (3, 3)])
def test_an_empty_graph(n_users: int, n_items: int) -> None:
    graph = BipartiteGraph.from_snapshot(snapshot([], n_users, n_items), WEIGHTS)
    assert graph.n_edges == 0
    assert graph.user_degrees.shape == (n_users,)
    assert graph.item_degrees.shape == (n_items,)
    assert graph.user_degrees.dtype == np.float64


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_that_cannot_be(weight: float) -> None:
    with pytest.raises(ValueError, match="negative or not a finite"):
        BipartiteGraph.from_pairs(np.array([0]), np.array([0]), n_users=1, n_items=1, weights=np.array([weight]))


def test_without_takes_edges_out_of_graph_and_seen_and_keeps_the_weightless() -> None:
    data = snapshot([(0, 1, "view", 5), (0, 2, "view", 6), (0, 3, "dislike", 1), (2, 0, "view", 2)])
    graph = BipartiteGraph.from_snapshot(data, WEIGHTS).without(np.array([False, True, False]))
    assert graph.user_items.toarray().tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert graph.seen.toarray().tolist() == [[False, True, False, True], [False] * 4, [True, False, False, False]]
    assert graph.times is None
