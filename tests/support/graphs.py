"""Graphs whose right answers are known without the code under test."""

import numpy as np
from numpy.typing import NDArray

from app.graph.bipartite import BipartiteGraph


def random_graph(*, weighted: bool = False, n_users: int = 30, n_items: int = 20, seed: int = 0) -> BipartiteGraph:
    """About 150 edges; the last user and the last item have none."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, n_users - 1, 200), rng.integers(0, n_items - 1, 200)
    weights = rng.choice([0.5, 1.0, 3.0], 200) if weighted else None
    return BipartiteGraph.from_pairs(users, items, n_users=n_users, n_items=n_items, weights=weights)


def dense_adjacency(graph: BipartiteGraph) -> NDArray[np.float64]:
    """D^-1/2 A D^-1/2 by the book, in float64, 0 where a degree is 0."""
    u = graph.n_users
    a = np.zeros((graph.n_nodes, graph.n_nodes))
    a[:u, u:] = graph.user_items.toarray()
    a[u:, :u] = a[:u, u:].T
    degrees = a.sum(1)
    inverse = np.divide(1.0, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    normalised: NDArray[np.float64] = inverse[:, None] * a * inverse[None, :]
    return normalised


def dense_propagation(graph: BipartiteGraph, n_layers: int, combination: str) -> NDArray[np.float64]:
    """P = sum_k a_k A^k as a matrix."""
    a = dense_adjacency(graph)
    total = sum(np.linalg.matrix_power(a, k) for k in range(n_layers + 1))
    return np.asarray(total / (n_layers + 1 if combination == "mean" else 1))


def checkerboard(n: int = 40) -> tuple[BipartiteGraph, NDArray[np.int32]]:
    """Even users took the even items and odd users the odd ones, each but one: the only right answer for that user."""
    users, items = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    mates = (users + items) % 2 == 0
    withheld = (items == users) & mates
    kept = mates & ~withheld
    return BipartiteGraph.from_pairs(users[kept], items[kept], n_users=n, n_items=n), np.arange(n, dtype=np.int32)
