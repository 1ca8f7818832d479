"""Whether training has given up: every vector near zero, every score the same, the loss that of guessing.

L2 can win over data in which nobody's taste tells anything of anybody else's.  Such a model ranks by rounding errors,
which may by luck be no worse than most-popular, so it is looked for by itself.
"""

import numpy as np

from app.domain.embeddings import Embeddings
from app.errors import CollapsedError
from app.training.result import FitResult

LEAST_SPREAD = 1e-3  # of a user's scores; the least tasteful data that teach anything have 0.03, most more than 1
SAMPLE = 500  # users and items at most


def check_not_collapsed(fitted: FitResult) -> None:
    """Raises CollapsedError when the scores of no user tell one item from another."""
    found = spread(fitted.embeddings)
    if found < LEAST_SPREAD:
        raise CollapsedError(found, fitted.losses[-1])


def collapsed(embeddings: Embeddings) -> bool:
    """Whether the scores of no user tell one item from another."""
    return spread(embeddings) < LEAST_SPREAD


def spread(embeddings: Embeddings) -> float:
    """Mean over users of the standard deviation of their scores, of an even sample."""
    users, items = (
        vectors[np.linspace(0, len(vectors) - 1, min(SAMPLE, len(vectors))).astype(np.int64)].astype(np.float64)
        for vectors in (embeddings.user_vectors, embeddings.item_vectors)
    )
    return float((users @ items.T).std(axis=1).mean())
