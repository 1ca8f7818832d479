"""Batches of positives with unseen negatives."""

from collections.abc import Iterator

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
        self.n_unseen: Rows = graph.n_items - counts

    def draw(self, users: Rows, rng: np.random.Generator) -> Rows:
        """One unseen item for each user, (B,); every user must have one."""
        r = rng.integers(0, self.n_unseen[users])
        before = np.searchsorted(self._keys, users * self._stride + r, side="right") - self._starts[users]
        return r + before


def batches(
    graph: BipartiteGraph, sampler: UnseenSampler, batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[Rows, Rows, Rows]]:
    """One epoch: users, positives and negatives as item rows, each (B,), over the edges in random order.

    Users who have seen everything have no negative and are left out.
    """
    edge_users = graph.edge_users()
    usable = np.flatnonzero(sampler.n_unseen[edge_users] > 0)
    order = rng.permutation(np.tile(usable, max(1, LEAST_DRAWS // max(len(usable), 1))))
    for start in range(0, len(order), batch_size):
        edges = order[start : start + batch_size]
        users = edge_users[edges].astype(np.int64)
        yield users, graph.user_items.indices[edges].astype(np.int64), sampler.draw(users, rng)
