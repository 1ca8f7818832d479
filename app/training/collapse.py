"""Whether training has given up: every vector near zero, every score the same, the loss that of guessing.

L2 can win over data in which nobody's taste tells anything of anybody else's.  Such a model ranks by rounding errors,
which may by luck be no worse than most-popular, so it is looked for by itself.
"""

import numpy as np
from numpy.typing import NDArray

from app.errors import CollapsedError
from app.training.result import FitResult
from app.training.users import SomeUsers, Users

LEAST_SPREAD = 1e-3  # of a user's scores; the least tasteful data that teach anything have 0.03, most more than 1
SAMPLE = 500  # users and items at most


def check_not_collapsed(fitted: FitResult, users: Users) -> None:
    """Raises CollapsedError when the scores of no user tell one item from another."""
    found = spread(users, len(users), fitted.embeddings.item_vectors)
    if found < LEAST_SPREAD:
        raise CollapsedError(found, fitted.losses[-1])


def collapsed(users: SomeUsers, n_users: int, item_vectors: NDArray[np.float32]) -> bool:
    """Whether the scores of no user tell one item from another."""
    return spread(users, n_users, item_vectors) < LEAST_SPREAD


def spread(users: SomeUsers, n_users: int, item_vectors: NDArray[np.float32]) -> float:
    """Mean over users of the standard deviation of their scores, of an even sample.  item_vectors: (I, D)."""
    asked = users.rows(sample(n_users)).astype(np.float64)
    items = item_vectors[sample(len(item_vectors))].astype(np.float64)
    return float((asked @ items.T).std(axis=1).mean())


def sample(n: int) -> NDArray[np.int64]:
    """Some of n rows, evenly spread, ascending."""
    return np.linspace(0, n - 1, min(SAMPLE, n)).astype(np.int64)
