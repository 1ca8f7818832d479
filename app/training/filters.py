"""Closed-form item filters: item-item matrices that need no training.

EASE: Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", and on a normalised matrix: Park et al. 2025,
"Why is Normalization Necessary for Linear Recommenders?".  GF-CF: Shen et al. 2021, "How Powerful is Graph Convolution
for Recommendation?"; its linear part only, since what its low-pass part adds, the main directions of the graph, is what
embeddings carry already, but for a few users of a large catalogue, who do not teach them.  Both are cut to the entries
of greatest weight for each item, so that a published filter stays small: a cut to 300 costs catalogues of 1,500 to
2,700 items up to 3 % of NDCG beside embeddings, one to 1,000 nothing.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.sparse import csr_array, vstack

from app.graph.bipartite import BipartiteGraph
from app.graph.normalise import normalised_user_items
from app.graph.spectral import right_singular_vectors

ENTRIES = 3_000_000  # of a filter, 24 MB
LEAST_NEIGHBOURS, MOST_NEIGHBOURS = 100, 1_000
BLOCK_PRODUCTS = 2e7  # multiplications whose results are held at once, some 300 MB
LOW_PASS_RANK, LOW_PASS_WEIGHT = 256, 0.3  # as of GF-CF's authors
LOW_PASS_ITEMS = 6_000, 20_000  # from where there is no EASE to where all pairs of items would take too long
DENSE_ROWS = 500  # of all pairs of items that are made at a time
MOST_PRODUCTS = 5e9  # multiplications for all two-hop pairs, about a minute; one user with 70,000 items has as many


def ease(graph: BipartiteGraph, l2: float, power: float = 0.0) -> NDArray[np.float32]:
    """B_ij = -P_ij / P_jj with zero diagonal, P = (R'R + l2 I)^-1 and R = 1 where taken; (I, I).

    With a power p: (d_j / d_i)^p B_ij of X = Du^-p R Di^-p instead of R, D the numbers of taken items and of takers,
    and l2 times the ratio of the mean diagonals of X'X and R'R, so that it means about the same.
    I^3 operations and 8 I^2 bytes.
    """
    taken = taken_items(graph).astype(np.float64)
    lengths, takers = np.diff(taken.indptr), np.bincount(taken.indices, minlength=graph.n_items)
    of_users, of_items = (np.maximum(counts, 1.0) ** -power for counts in (lengths, takers))
    taken.data *= np.repeat(of_users, lengths) * of_items[taken.indices]
    gram = (taken.T @ taken).toarray(order="F")
    gram[np.diag_indices_from(gram)] += l2 * (np.trace(gram) / graph.n_edges if graph.n_edges else 1.0)
    factor, failed = dpotrf(gram, lower=1, overwrite_a=1)
    assert not failed, "R'R + l2 I is positive definite"
    inverse, _ = dpotri(factor, lower=1, overwrite_c=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    filter_: NDArray[np.float32] = (-inverse / np.diag(inverse)).astype(np.float32)
    np.fill_diagonal(filter_, 0.0)
    if power:
        filter_ *= (of_items[:, None] / of_items).astype(np.float32)
    return filter_


def two_hop_products(graph: BipartiteGraph) -> float:
    """Multiplications for all pairs of items that a user has in common."""
    return float((np.diff(graph.user_items.indptr).astype(np.float64) ** 2).sum())


def gf_cf(graph: BipartiteGraph) -> csr_array:
    """N'N, cut to neighbours, (I, I) float32; of LOW_PASS_ITEMS that are more than the users with the low-pass part."""
    least, most = LOW_PASS_ITEMS
    if not max(least, graph.n_users) < graph.n_items <= most:
        return two_hop(graph)
    right = normalised_user_items(graph)
    left, (into, back) = right.T.tocsr(), low_pass(graph, right, np.random.default_rng(0))
    n, parts = n_neighbours(graph.n_items), []
    for low in range(0, graph.n_items, DENSE_ROWS):
        rows = slice(low, low + DENSE_ROWS)
        pairs = (left[rows] @ right).toarray() + into[rows] @ back
        parts.append(csr_array(cut_columns(pairs.T, n).T))
    matrix = csr_array(vstack(parts, format="csr"))
    matrix.sort_indices()
    return matrix


def low_pass(
    graph: BipartiteGraph, normalised: csr_array, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Di^-1/2 V (I, D) and 0.3 V' Di^1/2 (D, I), whose product it is; V the first 256 right singular vectors of N."""
    _, right = right_singular_vectors(normalised, LOW_PASS_RANK, rng)
    roots = np.sqrt(graph.item_degrees).astype(np.float32)[:, None]
    inverse = np.divide(1.0, roots, out=np.zeros_like(roots), where=roots > 0)
    return right * inverse, (LOW_PASS_WEIGHT * right * roots).T


def two_hop(graph: BipartiteGraph) -> csr_array:
    """N'N of N = Du^-1/2 R Di^-1/2, cut to neighbours, (I, I) float32."""
    right = normalised_user_items(graph)
    left = right.T.tocsr()
    lengths = np.diff(right.indptr).astype(np.float64)
    products = np.add.reduceat(np.append(lengths[left.indices], 0.0), np.minimum(left.indptr[:-1], left.nnz))
    products[np.diff(left.indptr) == 0] = 0.0  # reduceat gives the next value for an empty row
    blocks = (np.cumsum(products) // BLOCK_PRODUCTS).astype(np.int64)
    bounds = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), graph.n_items]
    parts = [cut_rows((left[low:high] @ right).tocsr(), n_neighbours(graph.n_items)) for low, high in pairwise(bounds)]
    matrix = csr_array(vstack(parts, format="csr"))
    matrix.sort_indices()
    return matrix


def n_neighbours(n_items: int) -> int:
    """Entries that are kept of a row or column."""
    return min(max(ENTRIES // max(n_items, 1), LEAST_NEIGHBOURS), MOST_NEIGHBOURS)


def cut_columns(matrix: NDArray[np.float32], n: int) -> csr_array:
    """The n entries of greatest absolute value in each column."""
    if len(matrix) > n:
        kept = np.argpartition(np.abs(matrix), -n, axis=0)[-n:]
        cut = np.zeros_like(matrix)
        np.put_along_axis(cut, kept, np.take_along_axis(matrix, kept, 0), 0)
        matrix = cut
    return csr_array(matrix)


def cut_rows(matrix: csr_array, n: int) -> csr_array:
    """The n greatest of the positive entries in each row, and those equal to the n-th."""
    for start, end in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        if end - start > n:
            row = matrix.data[start:end]
            row[row < np.partition(row, -n)[-n]] = 0.0
    matrix.eliminate_zeros()
    return matrix


def taken_items(graph: BipartiteGraph) -> csr_array:
    """R: 1 where a user took an item, whatever the weight; (U, I) float32."""
    ones = np.ones(graph.n_edges, np.float32)
    return csr_array((ones, graph.user_items.indices, graph.user_items.indptr), shape=graph.user_items.shape)
