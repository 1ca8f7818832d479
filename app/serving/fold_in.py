"""A user's vector from the user's interactions.

LightGCN is linear (He et al. 2020), so with layers combined by weights a_k, all equal to a,

    e_u = a E0_u + sum_i n_ui M_i,   n_ui = w_ui / sqrt(d_u d_i),   M_i = a sum_{k<K} (A^k E0)_i

over the edges of u.  The messages M are the model's; edges that came or went since change n_ui only.  An edge's d_i
is the degree that the item has with this user's edge as it is now and everything else as it was trained.
Somebody without a trained E0_u starts from one hop of the items' own, E0_u = sum_i n_ui E0_i: then the whole vector is
a sum over the interactions.

An item filter F of the model (see ItemFilter) adds sum_j F_ji over the same edges, whatever their weights.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.contents import ArtifactContents, pair_weights


@dataclass(frozen=True, slots=True)
class Edges:
    """Items of one user.  rows: (S,) item rows, ascending.  weights: (S,) float64, above 0."""

    rows: NDArray[np.int32]
    weights: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EdgeChange:
    """Edges of a user of the model in training and now.

    rows: (S,) items of either, ascending.  weights: (2, S) float64, before and now, 0 where there is no edge.
    """

    rows: NDArray[np.int32]
    weights: NDArray[np.float64]

    @property
    def before(self) -> NDArray[np.float64]:
        """(S,) in training."""
        before: NDArray[np.float64] = self.weights[0]
        return before

    @property
    def now(self) -> NDArray[np.float64]:
        """(S,) now."""
        now: NDArray[np.float64] = self.weights[1]
        return now


TINY = np.finfo(np.float64).tiny
NO_EDGES = Edges(np.empty(0, np.int32), np.empty(0))


@dataclass(frozen=True, slots=True)
class VectorParts:
    """A user's vector as a sum: own (D,) and norms (S,) times entries (S, D) of ``rows``, all float64."""

    own: NDArray[np.float64]
    rows: NDArray[np.int32]
    norms: NDArray[np.float64]
    entries: NDArray[np.float64]

    @property
    def vector(self) -> NDArray[np.float32]:
        """The sum, (D,)."""
        total: NDArray[np.float64] = self.own + self.norms @ self.entries
        return total.astype(np.float32)

    def contributions(self, targets: NDArray[np.float32]) -> NDArray[np.float64]:
        """What each part adds to the inner products with (C, D) others, own last: (C, S + 1)."""
        parts = np.empty((len(self.rows) + 1, len(self.own)))
        np.multiply(self.entries, self.norms[:, None], out=parts[:-1])
        parts[-1] = self.own
        return targets.astype(np.float64) @ parts.T


def trained_edges(contents: ArtifactContents, row: int) -> Edges:
    """The edges that a user of the model had in training."""
    of_user = slice(*contents.seen_indptr[row : row + 2].tolist())
    if contents.seen_weights is None:
        weights = pair_weights(contents.seen_types[of_user], contents.type_weights)
    else:
        weights = contents.seen_weights[of_user]
    is_edge = weights > 0
    if is_edge.all():  # nearly always
        return Edges(contents.seen_items[of_user], weights.astype(np.float64))
    return Edges(contents.seen_items[of_user][is_edge], weights[is_edge].astype(np.float64))


def known_parts(contents: ArtifactContents, row: int, edges: Edges | None = None) -> VectorParts:
    """Vector of a user of the model with the edges that the user has now, None: as in training.

    The model has messages.
    """
    messages = contents.item_messages
    assert messages is not None
    trained = trained_edges(contents, row)
    norms, entries = _norms(trained.weights, contents.item_degrees.take(trained.rows)), _rows_of(messages, trained.rows)
    own = contents.user_vector(row) - norms @ entries  # (D,)
    if edges is None:
        return VectorParts(own, trained.rows, norms, entries)
    norms = _norms(edges.weights, _degrees(contents, edges, trained))
    return VectorParts(own, edges.rows, norms, _rows_of(messages, edges.rows))


def moved_vector(contents: ArtifactContents, row: int, change: EdgeChange) -> NDArray[np.float32]:
    """The sum of ``known_parts``, (D,), as the trained vector and a step: e_u + sum_i (n_ui - trained n_ui) M_i.

    The model has messages.
    """
    messages = contents.item_messages
    assert messages is not None
    degrees = np.empty_like(change.weights)
    degrees[0] = contents.item_degrees.take(change.rows)
    degrees[1] = degrees[0] - change.before + change.now
    norms = _norms(change.weights, degrees)  # (2, S)
    steps = norms[1] - norms[0]  # (S,)
    vector: NDArray[np.float32] = (contents.user_vector(row) + steps @ _rows_of(messages, change.rows)).astype(
        np.float32
    )
    return vector


def new_parts(contents: ArtifactContents, edges: Edges) -> VectorParts:
    """Vector of somebody whom the model does not know.  The model has messages."""
    assert contents.item_messages is not None
    first = contents.own_weight * _rows_of(contents.initial_item, edges.rows)  # (S, D)
    entries = _rows_of(contents.item_messages, edges.rows) + first
    norms = _norms(edges.weights, _degrees(contents, edges, NO_EDGES))
    return VectorParts(np.zeros(contents.embedding_size), edges.rows, norms, entries)


def _norms(weights: NDArray[np.float64], degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """n_ui of a user's edges, (S,), or (2, S) of two states; 0 where the weight is."""
    # An item that nobody has taken has degree 0, and then the weight is 0 too.
    products = np.add.reduce(weights, axis=-1, keepdims=True) * degrees
    norms: NDArray[np.float64] = weights / np.sqrt(np.maximum(products, TINY))
    return norms


def _rows_of(matrix: NDArray[np.float32], rows: NDArray[np.int32]) -> NDArray[np.float64]:
    return matrix.take(rows, axis=0).astype(np.float64)


def _degrees(contents: ArtifactContents, edges: Edges, trained: Edges) -> NDArray[np.float64]:
    """Degrees of the items of ``edges``, (S,), in which ``trained`` counts no longer and ``edges`` does."""
    places = np.searchsorted(trained.rows, edges.rows)
    places[places == len(trained.rows)] = 0
    was = np.where(trained.rows[places] == edges.rows, trained.weights[places], 0.0) if len(trained.rows) else 0.0
    degrees: NDArray[np.float64] = contents.item_degrees[edges.rows] - was + edges.weights
    return degrees
