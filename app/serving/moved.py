"""The best courses of a user whose edges have changed, from the list published for the user's trained vector.

With e the trained vector, e' the present one, b the last score of the published list and L the length of the longest
item vector, an item i that is not in the list scores at most

    e' . i = e . i + (e' - e) . i <= b + |e' - e| L,

so what scores more is among the listed ones, and no other needs to be looked at.  Items to which an item filter now
adds something else, and those that the user has given up, are looked at too.
"""

import math

import numpy as np
from numpy.typing import NDArray

from app.serving.fold_in import EdgeChange
from app.serving.index import ServingIndex
from app.serving.top_lists import LENGTH, TopList

LEAST = 20  # items of the new list: the usual ten, and some that may have become unavailable
FORTH = 8  # listed items that may have fallen behind, when it is guessed how many must be looked at
ROUNDING = 1e-5  # of a score of 32 bits, relative to the largest that there can be


def moved_list(
    index: ServingIndex,
    published: TopList,
    vectors: tuple[NDArray[np.float32], NDArray[np.float32]],
    change: EdgeChange,
    taken: NDArray[np.int32],
) -> TopList | None:
    """The list, at least LEAST items if there are so many; None when it cannot be told from the published one.

    vectors: the trained and the present one, (D,) each.  taken: (S,) rows to leave out.
    """
    length = _needed(index, published, vectors[1] - vectors[0])
    if length is None:
        return None
    head = published
    if length < len(published.rows):
        scores = published.scores[:length]
        head = TopList(published.rows[:length], scores, whole=False, last=float(scores[-1]))
    return _moved(index, head, vectors, change, taken)


def _needed(index: ServingIndex, published: TopList, step: NDArray[np.float32]) -> int | None:
    """How many of the listed items are probably enough, None when even all of them are not.

    Most scores change by little, so the LEAST best of the new list score about as much as those of the old one; it
    takes as many as until the bound of all others is below that.  A wrong guess costs time, nothing else.
    """
    if published.whole or len(published.rows) <= LEAST + 2 * FORTH:
        return len(published.rows)
    reached = float(published.scores[LEAST + FORTH]) - math.sqrt(step @ step) * index.longest_item
    needed = int((-published.scores).searchsorted(-reached, side="right")) + 1
    if needed > len(published.scores):  # of the others the scores are not known, only that of the last
        return None if published.last > reached else len(published.rows)
    return max(needed, LEAST + 2 * FORTH)


def _moved(
    index: ServingIndex,
    published: TopList,
    vectors: tuple[NDArray[np.float32], NDArray[np.float32]],
    change: EdgeChange,
    taken: NDArray[np.int32],
) -> TopList | None:
    before, now = vectors
    rows = _candidates(index, published, change, taken)
    scores = index.item_vectors[rows] @ now  # (C,)
    if index.item_filter is not None:
        scores += index.item_filter.scores(change.rows[change.now > 0])[rows]
    order = (-scores).argsort(kind="stable")
    rows, scores = rows[order], scores[order]
    if published.whole:
        return TopList(rows, scores, whole=True)
    if len(rows) < LEAST:
        return None
    step = now - before
    longest = index.longest_item
    largest = math.sqrt(now @ now) * longest + max(abs(float(scores[0])), abs(float(scores[-1])))
    bound = published.last + math.sqrt(step @ step) * longest + ROUNDING * largest
    certain = min(int(np.count_nonzero(scores > bound)), LENGTH)
    if certain < LEAST:
        return None
    return TopList(rows[:certain].copy(), scores[:certain].copy(), whole=False)  # not views, which keep the whole


def _candidates(
    index: ServingIndex, published: TopList, change: EdgeChange, taken: NDArray[np.int32]
) -> NDArray[np.int32] | NDArray[np.uint16]:
    """Rows that may be among the best, ascending."""
    parts: list[NDArray[np.integer]] = [published.rows]
    if len(taken) < len(change.rows):
        parts.append(np.setdiff1d(change.rows, taken, assume_unique=True))  # given up
    if index.item_filter is not None:
        parts.append(index.item_filter.entries(change.rows[(change.before > 0) != (change.now > 0)])[0])
    rows = np.unique(np.concatenate(parts)) if len(parts) > 1 else np.sort(published.rows)
    is_taken = np.zeros(len(index.items), np.bool_)
    is_taken[taken] = True
    kept: NDArray[np.int32] | NDArray[np.uint16] = rows[~is_taken[rows]]
    return kept
