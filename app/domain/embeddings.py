"""What training makes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors whose inner product is the score of a user and an item.

    user_vectors: (U, D) float32, zeros for a user of whom nothing is known.  item_vectors: (I, D) float32.
    initial_item: (I, D) float32, the trained layer 0 of the items.
    item_messages, own_weight: what a user's vector is made of, e_u = own_weight E0_u + sum_i n_ui item_messages_i over
    the user's edges, n_ui = w_ui / sqrt(d_u d_i).  item_messages: (I, D) float32, of layers 0..K-1 the sum that
    ``item_vectors`` has of layers 0..K; own_weight: weight of layer 0, 1 for `sum` and 1 / (K + 1) for `mean`.
    None: users cannot be folded in and lists not be explained.  own_weight is 0 where users have no layer 0.
    fold_in_messages: (I, D) float32, what items send to users met later, who have no trained layer 0: e_u = sum_i n_ui
    fold_in_messages_i; None: item_messages + own_weight initial_item, as if E0_u were one hop of the items' own.
    initial_user: (U, D) float32, the trained layer 0 of the users, from which a later fit may start; None: not kept.
    """

    user_vectors: NDArray[np.float32]
    item_vectors: NDArray[np.float32]
    initial_item: NDArray[np.float32]
    item_messages: NDArray[np.float32] | None = None
    own_weight: float = 1.0
    fold_in_messages: NDArray[np.float32] | None = None
    initial_user: NDArray[np.float32] | None = None
