"""Batches of positives with unseen negatives."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from app.graph.bipartite import BipartiteGraph

Rows = NDArray[np.int64]

LEAST_DRAWS = 1024  # a few edges are repeated, each with fresh negatives: the same mean, much less noise, no more time


class UnseenSampler:
    """Draws items uniformly among those that a user has not seen.

    Exact, in one binary search: if s_k is the k-th of a user's seen items in ascending order, s_k - k unseen items
    stand before it; so the r-th unseen item is r plus the number of k with s_k - k <= r.  Nothing is rejected, so
    nothing can loop.
    """

    def __init__(self, graph: BipartiteGraph) -> None:
        starts = graph.seen.indptr.astype(np.int64)
        counts = np.diff(starts)
        users = np.repeat(np.arange(graph.n_users), counts)
        ranks = np.arange(len(users)) - starts[users]
        self._stride = graph.n_items + 1  # s_k - k is in 0..I
        self._keys = users * self._stride + graph.seen.indices - ranks
        self._starts = starts
        self._n_unseen: Rows = graph.n_items - counts

    def draw(self, users: Rows, rng: np.random.Generator) -> Rows:
        """One unseen item for each user, (B,); every user must have one."""
        r = rng.integers(0, self._n_unseen[users])
        before = np.searchsorted(self._keys, users * self._stride + r, side="right") - self._starts[users]
        return r + before


class PoolSampler:
    """Draws items that a whole group of users is compared with.

    The catalogue is cut into ``size`` strata of equal width and a pool takes one item of each: no item twice, all
    about equally often.  And a seen item can stand in one slot only, so that finding the seen ones costs a look at each
    item that the group's users took, not at each member of the pool.
    """

    def __init__(self, graph: BipartiteGraph, size: int) -> None:
        self.size = min(size, graph.n_items)
        bounds = np.arange(self.size + 1) * graph.n_items // self.size
        self._low, self._width = bounds[:-1], np.diff(bounds)
        self._stratum = np.repeat(np.arange(self.size), self._width)
        self._starts, self._items = graph.seen.indptr.astype(np.int64), graph.seen.indices

    def draw(self, n_groups: int, rng: np.random.Generator) -> Rows:
        """One pool a group, (G, size)."""
        return self._low + (rng.random((n_groups, self.size)) * self._width).astype(np.int64)

    def seen(self, users: Rows, groups: Rows, pools: Rows) -> tuple[Rows, Rows]:
        """Where pools hold what users took: indices b of ``users`` and slots of their pool ``groups[b]``."""
        first = self._starts[users]
        counts = self._starts[users + 1] - first
        owners = np.repeat(np.arange(len(users)), counts)
        shifts = first - np.cumsum(counts) + counts
        items = self._items[np.arange(len(owners)) + np.repeat(shifts, counts)]
        slots = self._stratum[items]
        hit = pools[groups[owners], slots] == items
        return owners[hit], slots[hit]


def edge_batches(
    graph: BipartiteGraph, batch_size: int, rng: np.random.Generator, counts: Sequence[int] | None = None
) -> Iterator[Rows]:
    """One epoch of edges in random order, (B,) each.  Users who have seen everything have no negative: left out.

    counts: usable edges of all ranks, this one among them, where there are several; then a batch holds this rank's
    part of ``batch_size``, in proportion, and may be empty.
    """
    usable = usable_edges(graph)
    total = sum(counts) if counts is not None else len(usable)
    order = usable.astype(np.int32 if graph.n_edges < 2**31 else np.int64)  # twice, of millions of edges
    if _repeats(total) > 1:
        order = np.tile(order, _repeats(total))
    rng.shuffle(order)
    done = 0
    for cut in _cuts(len(usable), total, batch_size):
        yield order[done:cut].astype(np.int64)
        done = cut


def pairs_in_batches(counts: Sequence[int], batch_size: int) -> Iterator[int]:
    """Sizes of the batches of all ranks together."""
    done = 0
    for cuts in zip(*(_cuts(count, sum(counts), batch_size) for count in counts), strict=True):
        yield sum(cuts) - done
        done = sum(cuts)


def _cuts(count: int, total: int, batch_size: int) -> Iterator[int]:
    """How many edges a rank has done after each step of an epoch."""
    repeats = _repeats(total)
    for start in range(0, total * repeats, batch_size):
        yield min(start + batch_size, total * repeats) * count // total


def steps_in_epoch(graph: BipartiteGraph, batch_size: int) -> int:
    """Number of batches that ``edge_batches`` gives."""
    return steps_of(len(usable_edges(graph)), batch_size)


def steps_of(n_edges: int, batch_size: int) -> int:
    """Number of batches of so many usable edges."""
    return -(-n_edges * _repeats(n_edges) // batch_size)


def usable_edges(graph: BipartiteGraph) -> Rows:
    """Edges of users who have something left to see."""
    return np.flatnonzero(np.diff(graph.seen.indptr)[graph.edge_users()] < graph.n_items)


def _repeats(n_edges: int) -> int:
    return max(1, LEAST_DRAWS // max(n_edges, 1))
