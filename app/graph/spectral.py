"""The main directions of the graph."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

OVERSAMPLING = 8
ITERATIONS = 4
SMALLEST = 1e-3  # of the largest value: of smaller ones float32 leaves nothing, as it holds their squares
BLOCK_BYTES, LEAST_COLUMNS = 64 << 20, 8  # of users' vectors that are held at a time


def inverse_of(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / s of singular values, (r,), and 0 of those that are 0 to rounding: left vectors are M (right * inverse)."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > SMALLEST * values.max(initial=0.0))


def right_singular_vectors(
    matrix: csr_array, rank: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """First values (r,) and right vectors (I, r) of a matrix, r = min(rank, U, I).

    Randomised subspace iteration (Halko, Martinsson and Tropp 2011, algorithm 4.4) with M'M, so that nothing of the
    size of all users' vectors is held: they are many more than items.
    """
    width = min(rank + OVERSAMPLING, *matrix.shape)
    transposed = matrix.T.tocsr()
    step = max(LEAST_COLUMNS, BLOCK_BYTES // (4 * max(matrix.shape[0], 1)))

    def squared(basis: NDArray[np.float32]) -> NDArray[np.float32]:
        """M'M times vectors (I, r)."""
        result = np.empty_like(basis)
        for first in range(0, basis.shape[1], step):
            columns = slice(first, first + step)
            result[:, columns] = transposed @ (matrix @ np.ascontiguousarray(basis[:, columns]))
        return result

    basis = rng.standard_normal((matrix.shape[1], width), np.float32)
    for _ in range(ITERATIONS):
        basis, _ = np.linalg.qr(squared(basis))
    values, rotation = np.linalg.eigh(basis.T.astype(np.float64) @ squared(basis))
    rank = min(rank, width)
    largest = np.sqrt(np.maximum(values[::-1][:rank], 0.0)).astype(np.float32)
    return largest, basis @ rotation[:, ::-1][:, :rank].astype(np.float32)
