"""Simple recommenders that a model has to beat."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.graph.bipartite import BipartiteGraph
from app.training.evaluate import Rows, Scores

DENSE_ITEMS = 10_000  # an item-item matrix of 400 MB; above, most pairs of items have no user in common


def popular_scores(graph: BipartiteGraph) -> Scores:
    """Number of users who took the item, the same for everybody."""
    popularity = np.bincount(graph.user_items.indices, minlength=graph.n_items).astype(np.float32)
    return lambda users: np.tile(popularity, (len(users), 1))


def item_cosine_scores(graph: BipartiteGraph) -> Scores:
    """Sum of the cosine similarities, by who took them, to the items that the user took, themselves too."""
    taken = taken_items(graph)
    lengths = np.sqrt(np.bincount(taken.indices, minlength=graph.n_items)).astype(np.float32)
    unit_columns = csr_array((1.0 / lengths[taken.indices], taken.indices, taken.indptr), shape=taken.shape)
    return filter_scores(taken, (unit_columns.T.tocsr() @ unit_columns).tocsr())


def taken_items(graph: BipartiteGraph) -> csr_array:
    """R: 1 where a user took an item, whatever the weight; (U, I) float32."""
    ones = np.ones(graph.n_edges, np.float32)
    return csr_array((ones, graph.user_items.indices, graph.user_items.indptr), shape=graph.user_items.shape)


def filter_scores(taken: csr_array, similarity: csr_array) -> Scores:
    """r_u S, for an (I, I) item-item matrix."""
    if similarity.shape[0] <= DENSE_ITEMS:
        dense = similarity.toarray()
        return lambda users: np.asarray(taken[users] @ dense, np.float32)

    def scores(users: Rows) -> NDArray[np.float32]:
        return np.asarray((taken[users] @ similarity).toarray(), np.float32)

    return scores
