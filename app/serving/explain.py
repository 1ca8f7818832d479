"""Why a course is in a list: its score as a sum over what the user has taken."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from app.serving.fold_in import VectorParts
from app.serving.options import Reason


def explain(parts: VectorParts, course_vectors: NDArray[np.float32], ids: Sequence[str]) -> list[list[Reason]]:
    """For each of the courses the contributions, largest first, and the user's own part last.

    course_vectors: (C, D).  ids: of the model's items, by row.  The contributions of a course add up to its score,
    which is (own + sum of parts) . v: exactly, but for the rounding of the score to 32 bits.
    """
    targets = course_vectors.astype(np.float64).T  # (D, C)
    contributions = np.vstack([parts.parts @ targets, parts.own @ targets])  # (S + 1, C)
    totals = np.abs(contributions).sum(axis=0)
    percents = 100.0 * contributions / np.where(totals > 0, totals, 1.0)
    names = [*(ids[row] for row in parts.rows.tolist()), None]
    order = np.argsort(-contributions[:-1], axis=0, kind="stable")  # (S, C)
    order = np.vstack([order, np.full(contributions.shape[1], len(parts.rows))])
    columns = (np.take_along_axis(table, order, axis=0).T.tolist() for table in (contributions, percents))
    return [
        [Reason(names[place], *values) for place, *values in zip(places, *both, strict=True)]
        for places, *both in zip(order.T.tolist(), *columns, strict=True)
    ]


def only_of(course_ids: Collection[str], reasons: Sequence[Reason]) -> list[Reason]:
    """The same sum with reasons of these courses only; what others contribute goes to the user's own part."""
    kept = [reason for reason in reasons if reason.course_id in course_ids]
    own = sum(reason.contribution for reason in reasons if reason.course_id not in course_ids)
    total = sum(abs(reason.contribution) for reason in kept) + abs(own) or 1.0
    summed = [*((reason.course_id, reason.contribution) for reason in kept), (None, own)]
    return [Reason(course_id, amount, 100.0 * amount / total) for course_id, amount in summed]
