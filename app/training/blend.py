"""Embeddings and a closed-form item filter as one score.

    s_ui = e_u . e_i + w (sd_e / sd_f) sum_j F_ji,

sd_e and sd_f the standard deviations of both parts over a sample of users and all items, so that w means the same
whatever the lengths of the vectors.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.domain.item_filter import ItemFilter
from app.graph.bipartite import BipartiteGraph
from app.training.config import Filter, Recipe
from app.training.evaluate import Rows, Scores, add_sparse
from app.training.filters import cut_columns, ease, gf_cf, n_neighbours, taken_items
from app.training.users import Sums

IMAGE_RIDGE = 1e-3  # of the mean eigenvalue
SAMPLE_USERS = 500  # of whom scores are looked at for their standard deviation


@dataclass(frozen=True, slots=True)
class FilterKind:
    """Which filter.  l2, power: of EASE, see there."""

    name: Filter
    l2: float = 0.0
    power: float = 0.0

    @classmethod
    def of(cls, recipe: Recipe) -> "FilterKind":
        """That of a recipe."""
        return cls(recipe.item_filter, recipe.filter_l2, recipe.filter_power)

    def matrix(self, graph: BipartiteGraph) -> csr_array:
        """The (I, I) matrix of a graph."""
        if self.name == "ease":
            return cut_columns(ease(graph, self.l2, self.power), n_neighbours(graph.n_items))
        return gf_cf(graph)


def matrix_scores(graph: BipartiteGraph, matrix: csr_array) -> Scores:
    """Sums of the rows of the items that a user took."""
    taken = taken_items(graph)

    def scores(users: Rows) -> NDArray[np.float32]:
        return add_sparse(np.zeros((len(users), graph.n_items), np.float32), taken[users] @ matrix)

    return scores


def kept_scores(graph: BipartiteGraph, matrix: csr_array, users: NDArray[np.integer]) -> Scores:
    """The same for these users alone, ascending, computed once."""
    kept = csr_array(taken_items(graph)[users] @ matrix)

    def scores(rows: Rows) -> NDArray[np.float32]:
        places = np.searchsorted(users, rows)
        return add_sparse(np.zeros((len(rows), graph.n_items), np.float32), kept[places])

    return scores


def plus(scores: Scores, added: Scores, weight: float) -> Scores:
    """Their sum, the second times ``weight``."""

    def total(users: Rows) -> NDArray[np.float32]:
        result: NDArray[np.float32] = scores(users) + np.float32(weight) * added(users)
        return result

    return total


def unit_weight(scores: Scores, added: Scores, users: NDArray[np.integer]) -> float:
    """sd_e / sd_f over some of these users, ascending rows; 0 where the filter says nothing."""
    sample = sample_of(users)
    spread = float(added(sample).std())
    return float(scores(sample).std()) / spread if spread > 0 else 0.0


def sample_of(users: NDArray[np.integer]) -> Rows:
    """Whom ``unit_weight`` looks at."""
    return users[np.linspace(0, len(users) - 1, min(SAMPLE_USERS, len(users))).astype(np.int64)].astype(np.int64)


def strengthened(matrix: csr_array, strength: float) -> ItemFilter | None:
    """The filter as it is published, with sorted rows; None when it counts nothing."""
    if not strength > 0:
        return None
    values = (matrix.data * strength).astype(np.float32)
    return ItemFilter(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), values)


def linear_image(matrix: csr_array, users: Sums) -> NDArray[np.float32]:
    """Item vectors G whose inner products with the users' come nearest to the filter's scores, (I, D).

    Ridge regression over all users: (E'E + c 1)^-1 E'R F, c small beside the mean of the eigenvalues.  Of few users, or
    of users who are much alike, some directions are next to nothing, and without c the vectors would be endless there.
    """
    sent = matrix.T @ users.received  # (I, D)
    products = users.products
    shrink = max(IMAGE_RIDGE * float(np.trace(products)) / len(products), np.finfo(np.float64).tiny)
    image: NDArray[np.float32] = np.linalg.solve(products + shrink * np.eye(len(products)), sent.T).T.astype(np.float32)
    return image


def filter_matrix(item_filter: ItemFilter) -> csr_array:
    """The filter as a matrix, (I, I)."""
    n = item_filter.n_items
    return csr_array((item_filter.values, item_filter.items, item_filter.starts), shape=(n, n))
