"""Why a course is in a list: its score as a sum over what the user has taken."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.serving.fold_in import VectorParts
from app.serving.options import Reason


@dataclass(frozen=True, slots=True)
class Explanation:
    """Scores of C courses as sums.  names: the courses taken, and None for the user's own part, (S + 1).

    For each of the C courses, largest contribution first and the own part last: places in ``names``, contributions, and
    percents.  As columns, since a list of a hundred reasons is written faster than made.
    """

    names: Sequence[str | None]
    places: NDArray[np.intp]  # (C, S + 1)
    contributions: NDArray[np.float64]  # (C, S + 1)
    percents: NDArray[np.float64]  # (C, S + 1)

    def reasons(self) -> list[list[Reason]]:
        """The same one by one."""
        columns = self.places.tolist(), self.contributions.tolist(), self.percents.tolist()
        return [
            [Reason(self.names[place], *values) for place, *values in zip(*row, strict=True)]
            for row in zip(*columns, strict=True)
        ]


def explain(
    parts: VectorParts,
    course_vectors: NDArray[np.float32],
    ids: Sequence[str],
    filtered: NDArray[np.float64] | None = None,
) -> Explanation:
    """For each of the courses the contributions.

    course_vectors: (C, D).  ids: of the model's items, by row.  filtered: (S, C), what an item filter adds for each of
    the interactions.  The contributions of a course add up to its score, which is (own + sum of parts) . v plus the sum
    of what is added: exactly, but for the rounding of the score to 32 bits.
    """
    contributions = parts.contributions(course_vectors)  # (C, S + 1)
    if filtered is not None:
        contributions[:, :-1] += filtered.T
    order = np.empty(contributions.shape, np.intp)
    order[:, :-1] = (-contributions[:, :-1]).argsort(axis=1, kind="stable")
    order[:, -1] = len(parts.rows)
    starts = np.arange(len(order))[:, None] * contributions.shape[1]
    contributions = contributions.ravel().take(starts + order)
    totals = np.abs(contributions).sum(axis=1, keepdims=True)
    totals[totals == 0] = 1.0
    percents = contributions * (100.0 / totals)
    return Explanation([*map(ids.__getitem__, parts.rows.tolist()), None], order, contributions, percents)


def only_of(course_ids: Collection[str], reasons: Sequence[Reason]) -> list[Reason]:
    """The same sum with reasons of these courses only; what others contribute goes to the user's own part."""
    kept = [reason for reason in reasons if reason.course_id in course_ids]
    own = sum(reason.contribution for reason in reasons if reason.course_id not in course_ids)
    total = sum(abs(reason.contribution) for reason in kept) + abs(own) or 1.0
    summed = [*((reason.course_id, reason.contribution) for reason in kept), (None, own)]
    return [Reason(course_id, amount, 100.0 * amount / total) for course_id, amount in summed]
