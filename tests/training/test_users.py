"""The users' vectors after a fit, of one process that has them all."""

import numpy as np
import pytest

from app.graph.bipartite import BipartiteGraph
from tests.support.content import alone

GRAPH = BipartiteGraph.from_pairs(np.array([0, 1, 2]), np.array([0, 1, 1]), n_users=3, n_items=2)


@pytest.mark.parametrize(("largest", "fits"), [(1.0, True), (60_000.0, True), (1e6, False), (np.nan, False)])
def test_what_is_too_large_for_half_precision_stays_as_it_is(largest: float, fits: bool) -> None:
    vectors = np.ones((3, 4), np.float32)
    vectors[2, 1] = -largest
    users = alone(vectors.copy(), GRAPH)
    assert users.to_half() is fits
    assert users.own.vectors.dtype == (np.float16 if fits else np.float32)
    np.testing.assert_allclose(users.rows(np.arange(3)), vectors, rtol=1e-3)
