"""What the content vectors of users tell of their places in the model."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.contents import ArtifactContents
from app.domain.interactions import Features

LEAST_USERS = 20  # with features and interactions, to learn from
MOST_USERS = 20_000  # enough for 4,096 numbers each, and the fit takes seconds
VectorsOf = Callable[[NDArray[np.integer]], NDArray[np.floating[Any]]]
RIDGE = 10.0  # users who say nothing new, in whose company the weights are learned


def with_feature_weights(
    contents: ArtifactContents, features: Features, vectors_of: VectorsOf | None = None
) -> ArtifactContents:
    """The same model with weights that make a vector of the features of a user who has no interactions.

    A ridge regression, min_W |(F - f) W - (V - v)|^2 + RIDGE s |W|^2, over the users with interactions; f and v are the
    means of features F and vectors V, s the mean square of a centred feature.
    vectors_of: gives the vectors of users, (n, D), by their rows; None: they are in ``contents``.
    """
    rows = features.rows[contents.user_degrees[features.rows] > 0] if len(features.rows) else features.rows
    if len(rows) < LEAST_USERS:
        return contents
    rows = rows[:: -(-len(rows) // MOST_USERS)]
    given = features.values[np.searchsorted(features.rows, rows)].astype(np.float64)  # (F, C)
    found = contents.user_vectors[rows] if vectors_of is None else vectors_of(rows)
    vectors = found.astype(np.float64)  # (F, D)
    weights = _ridge(given - given.mean(axis=0), vectors - vectors.mean(axis=0))
    constant = vectors.mean(axis=0) - given.mean(axis=0) @ weights
    return replace(contents, user_feature_weights=np.vstack([weights, constant]).astype(np.float32))


def _ridge(given: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    size = given.shape[1]
    strength = RIDGE * max(float(np.mean(given**2)), np.finfo(np.float64).tiny)
    weights = np.linalg.solve(given.T @ given + strength * np.eye(size), given.T @ wanted)
    return weights.astype(np.float64)
