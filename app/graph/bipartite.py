"""The user-item graph: who took what, and how much it counts."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.domain.interactions import Snapshot


@dataclass(frozen=True, slots=True)
class BipartiteGraph:
    """Edges between users and items, and the pairs that are known without being edges.

    user_items: (U, I) float32, weights > 0, columns ascending in each row.
    seen: (U, I) bool, every known pair, those with weight 0 too; columns ascending.
    times: (E,) int64 milliseconds of each edge in the order of ``user_items.data``, None when unknown.
    user_degrees, item_degrees: (U,) and (I,) float64, sums of weights.
    """

    user_items: csr_array
    seen: csr_array
    times: NDArray[np.int64] | None
    user_degrees: NDArray[np.float64]
    item_degrees: NDArray[np.float64]

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot, weights: Mapping[str, float]) -> "BipartiteGraph":
        """Graph of a snapshot; a pair weighs the most that one of its interaction types does."""
        return cls.from_pairs(
            snapshot.user_rows,
            snapshot.item_rows,
            n_users=len(snapshot.users),
            n_items=len(snapshot.items),
            weights=snapshot.edge_weights(weights),
            times=snapshot.timestamps,
        )

    @classmethod
    def from_pairs(
        cls,
        user_rows: NDArray[np.integer],
        item_rows: NDArray[np.integer],
        *,
        n_users: int,
        n_items: int,
        weights: NDArray[np.floating] | None = None,
        times: NDArray[np.integer] | None = None,
    ) -> "BipartiteGraph":
        """Graph of (user, item) rows in any order.

        A pair given several times takes its largest weight and the latest of its times.  weights default to 1.
        Raises ValueError if a weight is negative or not finite.
        """
        if weights is None:
            weights = np.ones(len(user_rows), np.float32)
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise ValueError("an edge weight is negative or not a finite number")
        keys = user_rows.astype(np.int64) * n_items + item_rows
        if not (keys[1:] > keys[:-1]).all():  # sorted without repetition is the usual case, and sorting the dear one
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            starts = np.flatnonzero(np.diff(keys, prepend=-1))
            keys = keys[starts]
            weights = np.maximum.reduceat(weights[order], starts)
            times = None if times is None else np.maximum.reduceat(times[order], starts)
        shape = (n_users, n_items)
        positive = weights > 0
        edges = keys[positive]
        user_items = _csr(edges, weights[positive].astype(np.float32), shape)
        known = np.ones(len(keys), np.bool_)
        if len(edges) == len(keys):  # as they mostly are; what says where they stand is not held twice
            seen = csr_array((known, user_items.indices, user_items.indptr), shape=shape)
        else:
            seen = _csr(keys, known, shape)
        return cls(
            user_items=user_items,
            seen=seen,
            times=None
            if times is None
            else (times if positive.all() else times[positive]).astype(np.int64, copy=False),
            user_degrees=np.bincount(_rows(user_items), user_items.data, minlength=n_users).astype(np.float64),
            item_degrees=np.bincount(user_items.indices, user_items.data, minlength=n_items).astype(np.float64),
        )

    @property
    def n_users(self) -> int:
        """U, isolated users counted."""
        return int(self.user_items.shape[0])

    @property
    def n_items(self) -> int:
        """I, isolated items counted."""
        return int(self.user_items.shape[1])

    @property
    def n_nodes(self) -> int:
        """N = U + I."""
        return self.n_users + self.n_items

    @property
    def n_edges(self) -> int:
        """E, pairs with a weight above 0."""
        return len(self.user_items.data)

    def edge_users(self) -> NDArray[np.int32]:
        """User row of each edge, (E,), in the order of ``user_items.data``."""
        return _rows(self.user_items)

    def without(self, edges: NDArray[np.bool_]) -> "BipartiteGraph":
        """The graph as if these edges, an (E,) mask, had never been: neither edge nor seen.  Without times."""
        users, items = self._weightless()
        weights = np.concatenate([self.user_items.data[~edges], np.zeros(len(users), np.float32)])
        return self.from_pairs(
            np.concatenate([self.edge_users()[~edges], users]),
            np.concatenate([self.user_items.indices[~edges], items]),
            n_users=self.n_users,
            n_items=self.n_items,
            weights=weights,
        )

    def _weightless(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """User and item rows of the pairs that are seen and no edges."""
        if len(self.seen.data) == self.n_edges:
            return np.empty(0, np.int32), np.empty(0, np.int32)
        users = _rows(self.seen)
        keys = users.astype(np.int64) * self.n_items + self.seen.indices
        edges = self.edge_users().astype(np.int64) * self.n_items + self.user_items.indices
        chosen = ~np.isin(keys, edges, assume_unique=True)
        return users[chosen], self.seen.indices[chosen]


def _csr(keys: NDArray[np.int64], data: NDArray[np.generic], shape: tuple[int, int]) -> csr_array:
    """Matrix of ascending keys ``row * columns + column``."""
    rows, columns = np.divmod(keys, max(shape[1], 1))
    starts = np.zeros(shape[0] + 1, index_dtype(len(keys)))  # of which SciPy makes the columns too
    np.cumsum(np.bincount(rows, minlength=shape[0]), out=starts[1:])
    return csr_array((data, columns.astype(starts.dtype), starts), shape=shape)


def index_dtype(n_entries: int) -> type[np.signedinteger]:
    """Of the columns and starts of a sparse matrix, which are of one type."""
    return np.int32 if n_entries < 2**31 else np.int64


def _rows(matrix: csr_array) -> NDArray[np.int32]:
    """Row of each stored entry."""
    return np.repeat(np.arange(matrix.shape[0], dtype=np.int32), np.diff(matrix.indptr))
