"""What training makes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors whose inner product is the score of a user and an item.

    user_vectors: (U, D) float32.  item_vectors: (I, D) float32.  initial_item: (I, D) float32, the trained layer 0
    of the items, from which users met later are folded in.
    """

    user_vectors: NDArray[np.float32]
    item_vectors: NDArray[np.float32]
    initial_item: NDArray[np.float32]
