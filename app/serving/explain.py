"""Why a course is in a list: its score as a sum over what the user has taken."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.serving.fold_in import VectorParts
from app.serving.options import Reason

LEAST_SIZE = 1e-30  # of contributions all together, so that shares of nothing are 0


class Explanation(NamedTuple):
    """Scores of C courses as sums.  rows: of the S courses taken.  ids: of the model's items, by row.

    For each of the C courses, largest contribution first and the own part last: places in ``rows``, S for the user's
    own part, contributions, and percents.  As columns, since a list of a hundred reasons is written faster than made.
    basis: differs when the contributions to the same scores do, and is the same in every process.
    """

    rows: NDArray[np.int32]
    ids: Sequence[str]
    places: NDArray[np.intp]  # (C, S + 1)
    contributions: NDArray[np.float32]  # (C, S + 1)
    percents: NDArray[np.float32]  # (C, S + 1)
    basis: bytes

    def reasons(self) -> list[list[Reason]]:
        """The same one by one."""
        names = [*map(self.ids.__getitem__, self.rows.tolist()), None]
        columns = self.places.tolist(), self.contributions.tolist(), self.percents.tolist()
        return [
            [Reason(names[place], *values) for place, *values in zip(*row, strict=True)]
            for row in zip(*columns, strict=True)
        ]


def explain(
    parts: VectorParts,
    course_vectors: NDArray[np.float32],
    ids: Sequence[str],
    scores: Sequence[float] | NDArray[np.float64],
    filtered: NDArray[np.float32] | None = None,
) -> Explanation:
    """For each of the courses the contributions.

    course_vectors: (C, D).  ids: of the model's items, by row.  scores: (C,), (own + sum of parts) . v plus the sum of
    what an item filter adds for each of the interactions, ``filtered``, (S, C).  The contributions of a course add up
    to its score: exactly, but for the rounding of each to 32 bits.
    """
    n_courses, n_rows = len(course_vectors), len(parts.rows)
    falling = np.empty((n_courses, n_rows + 1), np.float32)  # contributions times -1, to be sorted
    of_rows = falling[:, :-1]
    np.multiply(course_vectors.dot(parts.entries.T), -parts.norms.astype(np.float32), out=of_rows)
    if filtered is not None:
        of_rows -= filtered.T
    falling[:, -1] = np.inf  # the own part comes last
    places = falling.argsort(axis=1, kind="stable")
    contributions = falling.take(places + _starts(n_courses, n_rows + 1))
    contributions[:, -1] = -np.array(scores, np.float32) - np.add.reduce(of_rows, axis=1) if parts.has_own else 0.0
    sizes = np.add.reduce(np.abs(contributions), axis=1, keepdims=True, initial=LEAST_SIZE)
    percents = np.multiply(contributions, np.float32(-100.0) / sizes, dtype=np.float32)
    np.negative(contributions, out=contributions)
    return Explanation(parts.rows, ids, places, contributions, percents, parts.rows.tobytes() + parts.norms.tobytes())


@lru_cache(maxsize=256)
def _starts(n_rows: int, length: int) -> NDArray[np.intp]:
    """Where each row of such a matrix begins, (R, 1)."""
    return np.arange(0, n_rows * length, length)[:, None]


def only_of(course_ids: Collection[str], reasons: Sequence[Reason]) -> list[Reason]:
    """The same sum with reasons of these courses only; what others contribute goes to the user's own part."""
    kept = [reason for reason in reasons if reason.course_id in course_ids]
    own = sum(reason.contribution for reason in reasons if reason.course_id not in course_ids)
    total = sum(abs(reason.contribution) for reason in kept) + abs(own) or 1.0
    summed = [*((reason.course_id, reason.contribution) for reason in kept), (None, own)]
    return [Reason(course_id, amount, 100.0 * amount / total) for course_id, amount in summed]
