"""Principal components: the plane in which vectors are drawn."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.plots.points import CourseLabel, MapCourses, MapPoints, MapUsers

SHOWN_USERS = 50_000  # more are neither told apart in a picture nor sent quickly
DIGITS = 5


def pca(vectors: NDArray[np.floating]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """(N, D) -> (N, 2) coordinates of largest variance, and its shares along them.

    The sign is the one in which the largest number of each direction is positive.  Missing directions are 0.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64) if vectors.size else vectors
    return _in_plane(centred, centred.T @ centred)


def _in_plane(
    centred: NDArray[np.floating], scatter: NDArray[np.floating]
) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Coordinates of some points, (N, D), and shares.  scatter: (D, D) sums of products over all of them."""
    n, size = centred.shape
    if n == 0 or size == 0:
        return np.zeros((n, 2)), (0.0, 0.0)
    variances, directions = np.linalg.eigh(scatter)  # ascending; (D,), (D, D)
    directions = directions[:, ::-1][:, :2]
    directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), range(directions.shape[1])])
    plane = np.zeros((n, 2))
    plane[:, : directions.shape[1]] = centred @ directions
    total = max(float(variances.sum()), 0.0)
    shares = [max(float(value), 0.0) / total if total > 0 else 0.0 for value in variances[::-1][:2]]
    return plane, (shares[0], shares[1] if len(shares) > 1 else 0.0)


class Moments(NamedTuple):
    """Over all users.  total: (D,) sum of their vectors.  products: (D, D) sum of the outer products of each."""

    total: NDArray[np.float64]
    products: NDArray[np.float64]


def shown_users(n_users: int) -> NDArray[np.int64]:
    """Rows of those whose places are told, ascending."""
    if n_users <= SHOWN_USERS:
        return np.arange(n_users)
    return np.sort(np.random.default_rng(0).choice(n_users, SHOWN_USERS, replace=False))


def map_of(
    user_ids: Sequence[str],
    item_ids: Sequence[str],
    user_vectors: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
    *,
    model_id: str | None = None,
    labels: Mapping[str, CourseLabel] | None = None,
    moments: Moments | None = None,
) -> MapPoints:
    """Users and courses together.  user_vectors: of the users who are shown, (n, D).  item_vectors: (I, D).

    moments: of all users; None: all are shown.
    """
    shown = shown_users(len(user_ids))
    points = np.concatenate([user_vectors, item_vectors]).astype(np.float64)
    if moments is None or not points.size:
        plane, shares = pca(points)
    else:
        n, items = len(user_ids) + len(item_ids), item_vectors.astype(np.float64)
        mean = (moments.total + items.sum(axis=0)) / n
        scatter = moments.products + items.T @ items - n * np.outer(mean, mean)
        plane, shares = _in_plane(points - mean, scatter)
    users, courses = plane[: len(shown)], plane[len(shown) :]
    known = [(labels or {}).get(id_, CourseLabel()) for id_ in item_ids]
    return MapPoints(
        model_id=model_id,
        n_users=len(user_ids),
        n_courses=len(item_ids),
        explained_variance=(round(shares[0], 6), round(shares[1], 6)),
        users=MapUsers([user_ids[row] for row in shown.tolist()], *_columns(users)),
        courses=MapCourses(
            list(item_ids), [one.title for one in known], [list(one.categories) for one in known], *_columns(courses)
        ),
    )


def _columns(places: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    rounded = np.round(places, DIGITS) + 0.0  # no negative zeros
    return rounded[:, 0].tolist(), rounded[:, 1].tolist()
