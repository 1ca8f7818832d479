import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.graph.bipartite import BipartiteGraph
from app.training.sampling import UnseenSampler, batches
from tests.support.graphs import random_graph


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.data())
def test_nothing_seen_is_ever_drawn(n_users: int, n_items: int, data: st.DataObject) -> None:
    pairs = data.draw(st.sets(st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1))))
    rows = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    weights = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=len(pairs), max_size=len(pairs))))
    graph = BipartiteGraph.from_pairs(rows[:, 0], rows[:, 1], n_users=n_users, n_items=n_items, weights=weights)
    sampler = UnseenSampler(graph)
    users = np.repeat(np.flatnonzero(sampler.n_unseen > 0), 20)
    negatives = sampler.draw(users, np.random.default_rng(0))
    assert all((user, item) not in pairs for user, item in zip(users.tolist(), negatives.tolist(), strict=True))
    assert ((negatives >= 0) & (negatives < n_items)).all()


def test_unseen_items_are_drawn_equally_often() -> None:
    graph = BipartiteGraph.from_pairs(np.array([1, 1, 1]), np.array([0, 3, 4]), n_users=3, n_items=7)
    drawn = UnseenSampler(graph).draw(np.full(40_000, 1), np.random.default_rng(0))
    counts = np.bincount(drawn, minlength=7)
    assert (counts[[0, 3, 4]] == 0).all()
    np.testing.assert_allclose(counts[[1, 2, 5, 6]] / 10_000, 1.0, atol=0.04)


def test_an_epoch_has_each_edge_equally_often() -> None:
    graph = random_graph()
    seen: list[tuple[int, int]] = []
    for users, positives, negatives in batches(graph, UnseenSampler(graph), 64, np.random.default_rng(0)):
        assert len(users) == len(positives) == len(negatives) <= 64
        seen += zip(users.tolist(), positives.tolist(), strict=True)
    edges = set(zip(graph.edge_users().tolist(), graph.user_items.indices.tolist(), strict=True))
    assert set(seen) == edges
    assert len(seen) % len(edges) == 0
    assert {seen.count(edge) for edge in edges} == {len(seen) // len(edges)}


@pytest.mark.timeout(10)
def test_a_user_who_took_everything_is_left_out() -> None:
    users, items = np.array([0, 0, 0, 1]), np.array([0, 1, 2, 1])
    graph = BipartiteGraph.from_pairs(users, items, n_users=2, n_items=3)
    for batch_users, _, negatives in batches(graph, UnseenSampler(graph), 8, np.random.default_rng(0)):
        assert set(batch_users.tolist()) == {1}
        assert 1 not in negatives
