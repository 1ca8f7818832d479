import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.graph.bipartite import BipartiteGraph
from app.training.sampling import PoolSampler, UnseenSampler, edge_batches, steps_in_epoch
from tests.support.graphs import random_graph


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.data())
def test_nothing_seen_is_ever_drawn(n_users: int, n_items: int, data: st.DataObject) -> None:
    pairs = data.draw(st.sets(st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1))))
    rows = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    weights = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=len(pairs), max_size=len(pairs))))
    graph = BipartiteGraph.from_pairs(rows[:, 0], rows[:, 1], n_users=n_users, n_items=n_items, weights=weights)
    sampler = UnseenSampler(graph)
    users = np.repeat(np.flatnonzero(np.diff(graph.seen.indptr) < n_items), 20)
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
    drawn = list(edge_batches(graph, 64, np.random.default_rng(0)))
    assert len(drawn) == steps_in_epoch(graph, 64)
    assert max(map(len, drawn)) == 64
    counts = np.bincount(np.concatenate(drawn))
    assert len(counts) == graph.n_edges
    assert set(counts) == {1024 // graph.n_edges}


@pytest.mark.timeout(10)
def test_a_user_who_took_everything_is_left_out() -> None:
    users, items = np.array([0, 0, 0, 1]), np.array([0, 1, 2, 1])
    graph = BipartiteGraph.from_pairs(users, items, n_users=2, n_items=3)
    for edges in edge_batches(graph, 8, np.random.default_rng(0)):
        assert set(graph.edge_users()[edges].tolist()) == {1}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 40), st.integers(1, 12), st.data())
def test_pools_hold_no_item_twice_and_seen_ones_are_found(
    n_users: int, n_items: int, size: int, data: st.DataObject
) -> None:
    pairs = data.draw(st.sets(st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1))))
    rows = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    graph = BipartiteGraph.from_pairs(rows[:, 0], rows[:, 1], n_users=n_users, n_items=n_items)
    sampler = PoolSampler(graph, size)
    pools = sampler.draw(5, np.random.default_rng(0))
    assert pools.shape == (5, min(size, n_items))
    assert all(len(set(pool)) == len(pool) for pool in pools.tolist())
    users, groups = np.tile(np.arange(n_users), 5), np.repeat(np.arange(5), n_users)
    found = set(zip(*(part.tolist() for part in sampler.seen(users, groups, pools)), strict=True))
    expected = {
        (b, m)
        for b, (user, group) in enumerate(zip(users.tolist(), groups.tolist(), strict=True))
        for m, item in enumerate(pools[group].tolist())
        if (user, item) in pairs
    }
    assert found == expected


def test_pool_members_are_drawn_about_equally_often() -> None:
    sampler = PoolSampler(random_graph(n_items=50), 7)
    counts = np.bincount(sampler.draw(20_000, np.random.default_rng(0)).ravel(), minlength=50)
    np.testing.assert_allclose(counts / counts.mean(), 1.0, atol=0.15)
