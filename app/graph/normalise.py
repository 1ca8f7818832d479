"""D^-1/2 A D^-1/2 of the bipartite graph."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.graph.bipartite import BipartiteGraph, index_dtype


def edge_norms(graph: BipartiteGraph) -> NDArray[np.float64]:
    """w_ui / sqrt(d_u d_i) of each edge, (E,); degrees are sums of weights, nothing is added to them."""
    return _norms(graph.user_items, graph.user_degrees, graph.item_degrees)


def normalised_user_items(graph: BipartiteGraph, low: int = 0, high: int | None = None) -> csr_array:
    """N = Du^-1/2 R Di^-1/2, (U, I) float32, or its rows low..high."""
    some = slice(low, high)
    edges = graph.user_items if (low, high) == (0, None) else graph.user_items[some]
    norms = _norms(edges, graph.user_degrees[some], graph.item_degrees).astype(np.float32)
    return csr_array((norms, edges.indices, edges.indptr), shape=edges.shape)


def _norms(
    edges: csr_array, user_degrees: NDArray[np.float64], item_degrees: NDArray[np.float64]
) -> NDArray[np.float64]:
    roots = np.repeat(user_degrees, np.diff(edges.indptr))
    roots *= item_degrees[edges.indices]
    norms: NDArray[np.float64] = edges.data / np.sqrt(roots, out=roots)
    return norms


def normalised_adjacency(graph: BipartiteGraph, dtype: type[np.floating] = np.float32) -> csr_array:
    """Both directions of every edge, (N, N) with users first and then items; an isolated node's row is empty.

    The first E stored entries are the edges in the graph's order, seen from the users; ``reverse_positions`` says
    where each stands again, seen from the items.
    """
    norms = edge_norms(graph).astype(dtype)
    by_item = np.argsort(graph.user_items.indices, kind="stable")
    columns = np.concatenate([graph.user_items.indices + graph.n_users, graph.edge_users()[by_item]])
    counts = np.bincount(graph.user_items.indices, minlength=graph.n_items)
    starts = np.concatenate([graph.user_items.indptr, graph.n_edges + np.cumsum(counts)])
    kind = index_dtype(len(columns))
    return csr_array(
        (np.concatenate([norms, norms[by_item]]), columns.astype(kind, copy=False), starts.astype(kind)),
        shape=(graph.n_nodes, graph.n_nodes),
    )


def reverse_positions(graph: BipartiteGraph) -> NDArray[np.signedinteger]:
    """Position of each edge's item-to-user entry among the stored entries of ``normalised_adjacency``, (E,)."""
    positions: NDArray[np.signedinteger] = np.empty(graph.n_edges, index_dtype(2 * graph.n_edges))
    order = np.argsort(graph.user_items.indices, kind="stable")
    positions[order] = np.arange(graph.n_edges, 2 * graph.n_edges, dtype=positions.dtype)
    return positions
