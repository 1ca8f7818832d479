"""D^-1/2 A D^-1/2 of the bipartite graph."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.graph.bipartite import BipartiteGraph


def edge_norms(graph: BipartiteGraph) -> NDArray[np.float64]:
    """w_ui / sqrt(d_u d_i) of each edge, (E,); degrees are sums of weights, nothing is added to them."""
    users, items = graph.edge_users(), graph.user_items.indices
    roots = np.sqrt(graph.user_degrees[users] * graph.item_degrees[items])
    norms: NDArray[np.float64] = graph.user_items.data / roots
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
    return csr_array(
        (np.concatenate([norms, norms[by_item]]), columns.astype(np.int32), starts),
        shape=(graph.n_nodes, graph.n_nodes),
    )


def reverse_positions(graph: BipartiteGraph) -> NDArray[np.signedinteger]:
    """Position of each edge's item-to-user entry among the stored entries of ``normalised_adjacency``, (E,)."""
    positions: NDArray[np.signedinteger] = np.empty(graph.n_edges, np.int32 if graph.n_edges < 2**30 else np.int64)
    order = np.argsort(graph.user_items.indices, kind="stable")
    positions[order] = np.arange(graph.n_edges, 2 * graph.n_edges, dtype=positions.dtype)
    return positions
