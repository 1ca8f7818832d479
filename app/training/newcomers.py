"""What items send to users who were not in training.

The vector of a user of the model is own_weight E0_u + sum_i n_ui M_i, and E0_u, which nobody else has, is most of it
where all nodes have parameters.  Of the users of the model it is told quite well by their interactions, so a ridge
regression on what these send, x_u = sum_i n_ui [E0_i, M_i], gives one to whoever comes later.  It is linear, so such a
user's vector is a sum over the interactions: W (2D, D) makes sum_i n_ui (M_i + [E0_i, M_i] W) of it.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.domain.embeddings import Embeddings
from app.training.users import Users

RIDGE = 0.1  # of the mean eigenvalue: users met later have few interactions, and what is special about ours is noise


def own_weights(embeddings: Embeddings, users: Users, item_degrees: NDArray[np.float64]) -> NDArray[np.float32] | None:
    """W, (2D, D); None where users have no own part.  item_degrees: (I,).

    users: of the model, their vectors as long as those in ``embeddings``.
    """
    if embeddings.item_messages is None or not embeddings.own_weight:
        return None
    squares, products = users.own_regression(_sent(embeddings), embeddings.item_messages, item_degrees)
    shrink = max(RIDGE * float(np.trace(squares)) / len(squares), np.finfo(np.float64).tiny)
    weights: NDArray[np.float32] = np.linalg.solve(squares + shrink * np.eye(len(squares)), products).astype(np.float32)
    return weights


def with_fold_in(embeddings: Embeddings, weights: NDArray[np.float32] | None) -> Embeddings:
    """With messages to users met later, by ``own_weights``."""
    if weights is None or embeddings.item_messages is None:
        return embeddings
    return replace(embeddings, fold_in_messages=embeddings.item_messages + _sent(embeddings) @ weights)


def _sent(embeddings: Embeddings) -> NDArray[np.float32]:
    assert embeddings.item_messages is not None
    return np.concatenate([embeddings.initial_item, embeddings.item_messages], axis=1)  # (I, 2D)
