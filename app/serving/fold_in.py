"""A user's vector from the user's interactions.

LightGCN is linear (He et al. 2020), so with layers combined by weights a_k, all equal to a,

    e_u = a E0_u + sum_i n_ui M_i,   n_ui = w_ui / sqrt(d_u d_i),   M_i = a sum_{k<K} (A^k E0)_i

over the edges of u.  The messages M are the model's; edges that came or went since change n_ui only.  An edge's d_i
is the degree that the item has with this user's edge as it is now and everything else as it was trained.
Somebody without a trained E0_u gets the one that users of the model with such interactions have, which is linear in
them too (``app.training.newcomers``): then the whole vector is a sum over the interactions, of the model's fold-in
messages; of a model without these E0_u is one hop of the items' own, sum_i n_ui E0_i.

An item filter F of the model (see ItemFilter) adds sum_j F_ji over the same edges, whatever their weights.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain.contents import ArtifactContents, pair_weights


@dataclass(frozen=True, slots=True)
class Edges:
    """Items of one user.  rows: (S,) item rows, ascending.  weights: (S,) float64, above 0."""

    rows: NDArray[np.int32]
    weights: NDArray[np.float64]


class EdgeChange(NamedTuple):
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


class VectorParts(NamedTuple):
    """A user's vector (D,) as a sum: norms (S,) float64 times entries (S, D) of ``rows``, and the user's own part.

    has_own: whether there is such a part, which is what the others leave of the vector.
    """

    vector: NDArray[np.float32]
    rows: NDArray[np.int32]
    norms: NDArray[np.float64]
    entries: NDArray[np.float32]
    has_own: bool = True

    @property
    def own(self) -> NDArray[np.float64]:
        """The own part, (D,)."""
        return self.vector - self.norms @ self.entries if self.has_own else np.zeros(len(self.vector))

    def scores(self, targets: NDArray[np.float32]) -> NDArray[np.float64]:
        """Inner products of the vector with (C, D) others, (C,)."""
        scores: NDArray[np.float64] = targets.astype(np.float64) @ self.vector.astype(np.float64)
        return scores


def trained_edges(contents: ArtifactContents, row: int) -> Edges:
    """The edges that a user of the model had in training."""
    rows, weights = _trained(contents, row)
    return Edges(rows, weights.astype(np.float64))


def trained_parts(contents: ArtifactContents, row: int) -> VectorParts:
    """Vector of a user of the model with the edges of training.  The model has messages."""
    messages = contents.item_messages
    assert messages is not None
    weights: NDArray[np.float32] | float | None = contents.only_weight
    if weights:
        rows = contents.seen_items[_pairs_of(contents, row)]
    else:
        rows, weights = _trained(contents, row)
    norms = weights / np.sqrt(contents.item_degrees.take(rows) * contents.user_degrees.item(row))  # none of them is 0
    return VectorParts(contents.user_vector(row), rows, norms, messages.take(rows, axis=0))


def known_parts(contents: ArtifactContents, row: int, edges: Edges) -> VectorParts:
    """Vector of a user of the model with the edges that the user has now.  The model has messages."""
    messages = contents.item_messages
    assert messages is not None
    trained = trained_edges(contents, row)
    before = _norms(trained.weights, contents.item_degrees.take(trained.rows))
    norms, entries = _norms(edges.weights, _degrees(contents, edges, trained)), messages.take(edges.rows, axis=0)
    step = norms @ entries - before @ messages.take(trained.rows, axis=0)  # (D,)
    return VectorParts((contents.user_vector(row) + step).astype(np.float32), edges.rows, norms, entries)


def moved_vector(contents: ArtifactContents, row: int, change: EdgeChange) -> NDArray[np.float32]:
    """The sum of ``known_parts``, (D,), as the trained vector and a step: e_u + sum_i (n_ui - trained n_ui) M_i.

    The model has messages.
    """
    messages = contents.item_messages
    assert messages is not None
    degrees = change.weights - change.weights[0]  # by what each item's grew: not, before
    degrees += contents.item_degrees.take(change.rows)
    norms = _norms(change.weights, degrees)  # (2, S)
    steps = (norms[1] - norms[0]).astype(np.float32)  # (S,)
    vector: NDArray[np.float32] = contents.user_vector(row) + steps @ messages.take(change.rows, axis=0)
    return vector


def new_parts(contents: ArtifactContents, edges: Edges) -> VectorParts:
    """Vector of somebody whom the model does not know.  The model has messages."""
    assert contents.item_messages is not None
    if contents.fold_in_messages is not None:
        entries = contents.fold_in_messages.take(edges.rows, axis=0)  # (S, D)
    else:
        first = np.float32(contents.own_weight) * contents.initial_item.take(edges.rows, axis=0)
        entries = contents.item_messages.take(edges.rows, axis=0) + first
    norms = _norms(edges.weights, _degrees(contents, edges, NO_EDGES))
    return VectorParts((norms @ entries).astype(np.float32), edges.rows, norms, entries, has_own=False)


def _trained(contents: ArtifactContents, row: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Items of a user's edges in training, and their weights."""
    of_user = _pairs_of(contents, row)
    rows = contents.seen_items[of_user]
    if contents.seen_weights is None:
        weights = pair_weights(contents.seen_types[of_user], contents.type_weights)
    else:
        weights = contents.seen_weights[of_user]
    if np.count_nonzero(weights) == len(rows):  # nearly always
        return rows, weights
    is_edge = weights > 0
    return rows[is_edge], weights[is_edge]


def _pairs_of(contents: ArtifactContents, row: int) -> slice:
    """Where the pairs of a user are."""
    return slice(contents.seen_indptr.item(row), contents.seen_indptr.item(row + 1))


def _norms(weights: NDArray[np.float64], degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """n_ui of a user's edges, (S,), or (2, S) of two states; 0 where the weight is."""
    # An item that nobody has taken has degree 0, and then the weight is 0 too.
    products = np.add.reduce(weights, axis=-1, keepdims=True) * degrees
    norms: NDArray[np.float64] = weights / np.sqrt(np.maximum(products, TINY))
    return norms


def _degrees(contents: ArtifactContents, edges: Edges, trained: Edges) -> NDArray[np.float64]:
    """Degrees of the items of ``edges``, (S,), in which ``trained`` counts no longer and ``edges`` does."""
    places = np.searchsorted(trained.rows, edges.rows)
    places[places == len(trained.rows)] = 0
    was = np.where(trained.rows[places] == edges.rows, trained.weights[places], 0.0) if len(trained.rows) else 0.0
    degrees: NDArray[np.float64] = contents.item_degrees[edges.rows] - was + edges.weights
    return degrees
