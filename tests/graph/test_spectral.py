import numpy as np
import pytest

from app.graph.bipartite import BipartiteGraph
from app.graph.normalise import normalised_user_items
from app.graph.spectral import inverse_of, right_singular_vectors
from tests.support.graphs import random_graph


def test_the_main_directions_are_those_of_the_dense_decomposition() -> None:
    matrix = normalised_user_items(random_graph(weighted=True, n_users=60, n_items=40))
    _, expected, _ = np.linalg.svd(matrix.toarray())
    values, right = right_singular_vectors(matrix, 5, np.random.default_rng(0))
    left = matrix @ (right * inverse_of(values))
    np.testing.assert_allclose(values, expected[:5], rtol=0.02)
    np.testing.assert_allclose(left.T @ left, np.eye(5), atol=1e-4)
    np.testing.assert_allclose(right.T @ right, np.eye(5), atol=1e-4)
    np.testing.assert_allclose(np.diag(left.T @ matrix.toarray() @ right), values, rtol=1e-3)


@pytest.mark.parametrize(("n_users", "n_items"), [(1, 5), (5, 1), (3, 40)])
def test_ranks_above_the_size_are_cut(n_users: int, n_items: int) -> None:
    graph = BipartiteGraph.from_pairs(np.zeros(1, int), np.zeros(1, int), n_users=n_users, n_items=n_items)
    values, right = right_singular_vectors(normalised_user_items(graph), 64, np.random.default_rng(0))
    rank = min(n_users, n_items)
    assert (values.shape, right.shape) == ((rank,), (n_items, rank))
    assert values[0] == pytest.approx(1.0)


def test_what_is_0_to_rounding_has_no_inverse() -> None:
    np.testing.assert_array_equal(inverse_of(np.array([4.0, 0.5, 1e-4, 0.0], np.float32)), [0.25, 2.0, 0.0, 0.0])
    assert not inverse_of(np.zeros(3, np.float32)).any()
