"""Maximal marginal relevance (Carbonell and Goldstein 1998): good courses that do not resemble each other."""

import numpy as np
from numpy.typing import NDArray

POOL = 500  # best courses that are put in another order; those after them follow by score, so that pages tile


def diversify(scores: NDArray[np.floating], vectors: NDArray[np.float32], diversity: float, n: int) -> NDArray[np.intp]:
    """Places of the first n in the new order.

    scores: (P,) of the pool, best first.  vectors: (P, D).  Each step takes the greatest

        (1 - diversity) r_i - diversity max_{j taken} cos(v_i, v_j),

    r the score scaled to 0..1 in the pool; ties by place.  n steps of P D operations.
    """
    n = min(n, len(scores))
    span = float(scores[0] - scores[-1]) if len(scores) else 0.0
    relevance = (scores - scores[-1]).astype(np.float64) / span if span > 0 else np.ones(len(scores))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    value = (1.0 - diversity) * relevance
    likeness = np.full(len(scores), -np.inf)  # the greatest, to those taken
    order = np.empty(n, np.intp)
    for step in range(n):
        place = int(np.argmax(value if step == 0 else value - diversity * likeness))
        order[step] = place
        value[place] = -np.inf
        np.maximum(likeness, directions @ directions[place], out=likeness)
    return order
