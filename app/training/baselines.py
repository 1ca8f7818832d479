"""Recommenders without training that a model has to beat."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.graph.bipartite import BipartiteGraph
from app.graph.normalise import normalised_user_items
from app.training.blend import FilterKind
from app.training.config import Filter
from app.training.evaluate import METRIC, Rows, Scores, add_sparse
from app.training.filters import (
    DENSE_ROWS,
    MOST_PRODUCTS,
    cut_columns,
    ease,
    gf_cf,
    low_pass,
    n_neighbours,
    taken_items,
    two_hop_products,
)
from app.training.result import Metrics

DENSE_ITEMS = 10_000  # an item-item matrix of 400 MB; above, most pairs of items have no user in common


def popular_scores(graph: BipartiteGraph) -> Scores:
    """Number of users who took the item, the same for everybody."""
    popularity = np.bincount(graph.user_items.indices, minlength=graph.n_items).astype(np.float32)
    return lambda users: np.tile(popularity, (len(users), 1))


def item_cosine_scores(graph: BipartiteGraph) -> Scores:
    """Sum of the cosine similarities, by who took them, to the items that the user took, themselves too.

    Similarities of a large catalogue are never held together: they may be as many as ``two_hop_products``.
    """
    taken = taken_items(graph)
    lengths = np.sqrt(np.bincount(taken.indices, minlength=graph.n_items)).astype(np.float32)
    unit_columns = csr_array((1.0 / lengths[taken.indices], taken.indices, taken.indptr), shape=taken.shape)
    transposed = unit_columns.T.tocsr()
    if graph.n_items > DENSE_ITEMS or two_hop_products(graph) < graph.n_items**2 // 8:
        return lambda users: np.asarray(((taken[users] @ transposed) @ unit_columns).toarray(), np.float32)
    similarities = np.empty((graph.n_items, graph.n_items), np.float32)
    for first in range(0, graph.n_items, DENSE_ROWS):
        rows = slice(first, first + DENSE_ROWS)
        similarities[rows] = (transposed[rows] @ unit_columns).toarray()
    return dense_scores(graph, similarities)


def dense_scores(graph: BipartiteGraph, matrix: NDArray[np.float32]) -> Scores:
    """r_u B."""
    taken = taken_items(graph)
    return lambda users: np.asarray(taken[users] @ matrix, np.float32)


def gf_cf_scores(graph: BipartiteGraph, rng: np.random.Generator) -> Scores:
    """r_u (N'N + 0.3 Di^-1/2 V V' Di^1/2), V the first 256 right singular vectors of N."""
    taken, normalised = taken_items(graph), normalised_user_items(graph)
    transposed = normalised.T.tocsr()
    into, back = low_pass(graph, normalised, rng)

    def scores(users: Rows) -> NDArray[np.float32]:
        rows = taken[users]
        result: NDArray[np.float32] = (rows @ into) @ back
        return add_sparse(result, (rows @ transposed) @ normalised)

    return scores


@dataclass(frozen=True, slots=True)
class ClosedForms:
    """What needs no training, judged, and the filters that came of it.

    metrics: of popular, item_cosine, gf_cf and ease, without those that cost too much; of EASE the best, ease_l2.
    filters: cut to neighbours.  eases: NDCG@20 of each EASE, not cut.
    """

    metrics: Mapping[str, Metrics]
    filters: Mapping[FilterKind, csr_array]
    ease_l2: float | None
    eases: Mapping[FilterKind, float]


def closed_forms(
    graph: BipartiteGraph,
    judge: Callable[[Scores], Metrics],
    *,
    filters: Collection[Filter],
    eases: Sequence[FilterKind],
    rng: np.random.Generator,
) -> ClosedForms:
    """All of a graph.  filters: which to keep.  eases: to try; each takes I^3 operations.

    Without a power they are a baseline, with one only filters.
    """
    metrics = {"popular": judge(popular_scores(graph))}
    kept: dict[FilterKind, csr_array] = {}
    if two_hop_products(graph) <= MOST_PRODUCTS:
        metrics |= {"item_cosine": judge(item_cosine_scores(graph)), "gf_cf": judge(gf_cf_scores(graph, rng))}
        if "gf_cf" in filters:
            kept[FilterKind("gf_cf")] = gf_cf(graph)
    judged: dict[FilterKind, Metrics] = {}
    for kind in eases:
        if kind.power and "ease" not in filters:
            continue
        matrix = ease(graph, kind.l2, kind.power)
        judged[kind] = judge(dense_scores(graph, matrix))
        if "ease" in filters:
            kept[kind] = cut_columns(matrix, n_neighbours(graph.n_items))
    found = {kind: each[METRIC] for kind, each in judged.items()}
    best = max((kind for kind in found if not kind.power), key=lambda kind: found[kind], default=None)
    if best is not None:
        metrics["ease"] = judged[best]
    return ClosedForms(metrics, kept, None if best is None else best.l2, found)
