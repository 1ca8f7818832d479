"""The main directions of the graph."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.graph.bipartite import BipartiteGraph
from app.graph.normalise import edge_norms

OVERSAMPLING = 8
ITERATIONS = 4


def normalised_user_items(graph: BipartiteGraph) -> csr_array:
    """N = Du^-1/2 R Di^-1/2, (U, I) float32."""
    norms = edge_norms(graph).astype(np.float32)
    return csr_array((norms, graph.user_items.indices, graph.user_items.indptr), shape=graph.user_items.shape)


def singular_vectors(
    matrix: csr_array, rank: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """First left vectors (U, r), values (r,) and right vectors (I, r) of a matrix, r = min(rank, U, I).

    Randomised subspace iteration (Halko, Martinsson and Tropp 2011, algorithm 4.4).
    """
    width = min(rank + OVERSAMPLING, *matrix.shape)
    transposed = matrix.T.tocsr()
    basis = rng.standard_normal((matrix.shape[1], width), np.float32)
    for _ in range(ITERATIONS):
        basis, _ = np.linalg.qr(matrix @ basis)
        basis, _ = np.linalg.qr(transposed @ basis)
    left, values, right = np.linalg.svd(matrix @ basis, full_matrices=False)
    rank = min(rank, width)
    return left[:, :rank], values[:rank], (basis @ right.T)[:, :rank]
