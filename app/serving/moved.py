"""The best courses of a user whose edges have changed, from the list published for the user's trained vector.

With e the trained vector, e' the present one, b the last score of the published list, L the length of the longest item
vector and g_i what an item filter adds to an item more than it did, an item i that is not in the list scores at most

    e' . i + f'_i = e . i + f_i + (e' - e) . i + g_i <= b + |e' - e| L + g_i,

so what scores more than that is among the listed ones, those that the user has given up, and the few with a large g_i;
no other needs to be looked at.
"""

import math

import numpy as np
from numpy.typing import NDArray

from app.domain.item_filter import ItemFilter
from app.serving.fold_in import EdgeChange
from app.serving.index import ServingIndex
from app.serving.top_lists import LENGTH, TopList

FORTH = 8  # listed items that may have fallen behind, when it is guessed how many must be looked at
ROUNDING = 1e-5  # of a score of 32 bits, relative to the largest that there can be

_Part = tuple[NDArray[np.int32], NDArray[np.float32]]  # items, and what an edge that came or went adds to them


def moved_list(
    index: ServingIndex,
    published: TopList,
    vectors: tuple[NDArray[np.float32], NDArray[np.float32]],
    change: EdgeChange,
    taken: NDArray[np.int32],
    *,
    least: int,
) -> TopList | None:
    """The list, at least ``least`` items if there are so many; None when it cannot be told from the published one.

    vectors: the trained and the present one, (D,) each.  taken: (S,) rows to leave out.  The fewer are wanted, the
    sooner all others are known to score less.
    """
    if not published.whole and least > LENGTH:
        return None
    now, step = vectors[1], vectors[1] - vectors[0]
    shift = math.sqrt(step.dot(step)) * index.longest_item
    length = _needed(published, shift, least)
    if length is None:
        return None
    growth: NDArray[np.float32] | None = None
    parts: list[_Part] = []
    if index.item_filter is not None:
        growth, parts = _growth(index.item_filter, change)
        length = max(length, len(published.scores))  # the lower the bound is, the fewer others can have come above it
    rows, vectors_of = published.rows[:length], index.item_vectors
    if growth is None or published.whole or length > len(published.scores):
        scores = _scores(index, rows, now, change)
    else:
        scores = published.scores + vectors_of.take(rows, axis=0).dot(step) + growth.take(rows)
    left_out, listed = set(taken.tolist()), rows.tolist()
    given_up = set(change.rows.tolist()) - left_out if len(taken) < len(change.rows) else set[int]()
    others = [*given_up.difference(listed)]
    bound = -math.inf
    if not published.whole:
        last = published.last if length == len(published.rows) else published.scores.item(length - 1)
        largest = math.sqrt(now.dot(now)) * index.longest_item + max(abs(scores.item(0)), abs(scores.item(-1)))
        last += ROUNDING * largest
        bound = last + shift
        if growth is not None:
            enough = least + 1 + len(left_out.intersection(listed))
            if len(scores) < enough:
                return None
            bound = max(bound, np.partition(scores, -enough).item(-enough))
            candidates = [*_risen(growth, parts, bound - last - shift).difference(listed, left_out, given_up)]
            if candidates:
                rise = vectors_of.take(candidates, axis=0).dot(step) + growth.take(candidates)
                others += [row for row, by in zip(candidates, rise.tolist(), strict=True) if by > bound - last]
    if others:
        more: NDArray[np.integer] = np.array(others, rows.dtype)
        rows, scores = np.concatenate([rows, more]), np.concatenate([scores, _scores(index, more, now, change)])
    return _best(rows, scores, left_out, bound, least=least, whole=published.whole)


def _needed(published: TopList, shift: float, least: int) -> int | None:
    """How many of the listed items are probably enough, None when even all of them are not.

    Most scores change by little, so the best of the new list score about as much as those of the old one; it
    takes as many as until the bound of all others is below that.  A wrong guess costs time, nothing else.
    """
    if published.whole or len(published.scores) <= least + 2 * FORTH:
        return len(published.rows)
    reached = published.scores.item(least + FORTH) - shift
    needed = int(np.count_nonzero(published.scores >= reached)) + 1
    if needed > len(published.scores):  # of the others the scores are not known, only that of the last
        return None if published.last > reached else len(published.rows)
    return max(needed, least + 2 * FORTH)


def _scores(
    index: ServingIndex, rows: NDArray[np.integer], vector: NDArray[np.float32], change: EdgeChange
) -> NDArray[np.float32]:
    """Of some items, (C,)."""
    scores: NDArray[np.float32] = index.item_vectors.take(rows, axis=0).dot(vector)
    if index.item_filter is not None:
        scores += index.item_filter.scores_of(change.rows[change.now > 0], rows)
    return scores


def _growth(item_filter: ItemFilter, change: EdgeChange) -> tuple[NDArray[np.float32], list[_Part]]:
    """What edges that came and went add to each item, (I,), and what each of them does."""
    growth, parts = np.zeros(item_filter.n_items, np.float32), []
    is_edge = change.weights > 0  # (2, S)
    for place in (is_edge[0] != is_edge[1]).nonzero()[0].tolist():
        items, values = item_filter.row(change.rows.item(place))
        parts.append((items, values if is_edge.item(1, place) else -values))
    if len(parts) == 1:
        growth[parts[0][0]] = parts[0][1]
    else:
        for items, values in parts:
            np.add.at(growth, items, values)
    return growth, parts


def _risen(growth: NDArray[np.float32], parts: list[_Part], least: float) -> set[int]:
    """Items that grew by more."""
    if len(parts) == 1:
        items, values = parts[0]
        return set(items[values > least].tolist())
    return {row for items, _ in parts for row in items[growth.take(items) > least].tolist()}


def _best(
    rows: NDArray[np.int32] | NDArray[np.uint16],
    scores: NDArray[np.float32],
    left_out: set[int],
    bound: float,
    *,
    least: int,
    whole: bool,
) -> TopList | None:
    """The list of those that score more than ``bound``, which all others do not; of equal ones the lower row first."""
    places = (scores > bound).nonzero()[0]
    if not left_out.isdisjoint(found := rows.take(places).tolist()):
        places = places[[row not in left_out for row in found]]
    rows, scores = rows.take(places), scores.take(places)
    order = np.lexsort((rows, -scores))
    if not whole:
        if len(order) < least:
            return None
        order = order[:LENGTH]
    return TopList(rows.take(order), scores.take(order), whole)
