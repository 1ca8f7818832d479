"""Principal components: the plane in which vectors are drawn."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from app.plots.points import CourseLabel, MapCourses, MapPoints, MapUsers

SHOWN_USERS = 50_000  # more are neither told apart in a picture nor sent quickly
DIGITS = 5


def pca(vectors: NDArray[np.floating]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """(N, D) -> (N, 2) coordinates of largest variance, and its shares along them.

    The sign is the one in which the largest number of each direction is positive.  Missing directions are 0.
    """
    n, size = vectors.shape
    if n == 0 or size == 0:
        return np.zeros((n, 2)), (0.0, 0.0)
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(centred.T @ centred / n)  # ascending; (D,), (D, D)
    directions = directions[:, ::-1][:, :2]
    directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), range(directions.shape[1])])
    plane = np.zeros((n, 2))
    plane[:, : directions.shape[1]] = centred @ directions
    total = max(float(variances.sum()), 0.0)
    shares = [max(float(value), 0.0) / total if total > 0 else 0.0 for value in variances[::-1][:2]]
    return plane, (shares[0], shares[1] if len(shares) > 1 else 0.0)


def map_of(
    user_ids: Sequence[str],
    item_ids: Sequence[str],
    user_vectors: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
    *,
    model_id: str | None = None,
    labels: Mapping[str, CourseLabel] | None = None,
) -> MapPoints:
    """Users and courses together.  user_vectors: (U, D).  item_vectors: (I, D)."""
    plane, shares = pca(np.concatenate([user_vectors, item_vectors]))
    users, courses = plane[: len(user_ids)], plane[len(user_ids) :]
    shown = np.arange(len(user_ids))
    if len(shown) > SHOWN_USERS:
        shown = np.sort(np.random.default_rng(0).choice(len(user_ids), SHOWN_USERS, replace=False))
    known = [(labels or {}).get(id_, CourseLabel()) for id_ in item_ids]
    return MapPoints(
        model_id=model_id,
        n_users=len(user_ids),
        n_courses=len(item_ids),
        explained_variance=(round(shares[0], 6), round(shares[1], 6)),
        users=MapUsers([user_ids[row] for row in shown.tolist()], *_columns(users[shown])),
        courses=MapCourses(
            list(item_ids), [one.title for one in known], [list(one.categories) for one in known], *_columns(courses)
        ),
    )


def _columns(places: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    rounded = np.round(places, DIGITS) + 0.0  # no negative zeros
    return rounded[:, 0].tolist(), rounded[:, 1].tolist()
