import numpy as np

from app.graph.bipartite import BipartiteGraph
from app.graph.normalise import normalised_adjacency, reverse_positions
from tests.support.graphs import dense_adjacency, random_graph


def test_every_entry_is_the_weight_over_the_root_of_both_degrees() -> None:
    graph = random_graph(weighted=True)
    adjacency = normalised_adjacency(graph).toarray()
    np.testing.assert_allclose(adjacency, dense_adjacency(graph), atol=1e-7)
    assert (adjacency == adjacency.T).all()


def test_rows_of_isolated_nodes_are_empty() -> None:
    graph = BipartiteGraph.from_pairs(np.array([0]), np.array([1]), n_users=2, n_items=3)
    adjacency = normalised_adjacency(graph)
    assert np.diff(adjacency.indptr).tolist() == [1, 0, 0, 1, 0]
    assert adjacency.data.tolist() == [1.0, 1.0]


def test_reverse_positions_point_at_the_same_edge_from_the_item() -> None:
    graph = random_graph(weighted=True)
    adjacency = normalised_adjacency(graph)
    positions = reverse_positions(graph)
    rows = np.repeat(np.arange(graph.n_nodes), np.diff(adjacency.indptr))
    assert (adjacency.indices[positions] == graph.edge_users()).all()
    assert (rows[positions] == graph.user_items.indices + graph.n_users).all()
    assert (adjacency.data[positions] == adjacency.data[: graph.n_edges]).all()
