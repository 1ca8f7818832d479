"""The best items of every user, computed once by the worker so that no request has to."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain.contents import ArtifactContents, no_item
from app.domain.item_filter import ItemFilter
from app.domain.ranking import top_n

LENGTH = 400  # items a user: a filter that one course in twenty passes nearly always leaves ten of them
SCORED = 64  # of them with their scores; a list in which later ones stand has theirs computed
LEAST = 20  # items; shorter lists are of little use
# A change stream is cut when publishing a model writes more than the oplog holds, so lists of many users are shorter.
MOST_BYTES = 2**27  # of all lists, or as much as the users' vectors, which millions of users have published anyway
BLOCK_SCORES = 2**22  # scores computed at once, 16 MiB
NO_SCORE = np.float32(-1e16)  # of the places that a short list leaves empty


def list_length(n_users: int, n_items: int, vectors_bytes: int = 0) -> int:
    """Items of each list, so that all lists take up to MOST_BYTES; 0 when they would be too short.

    vectors_bytes: of the users' vectors.
    """
    item, score = item_dtype(n_items).itemsize, 4
    of_user = max(MOST_BYTES, vectors_bytes) // max(n_users, 1) - score
    length = (of_user - SCORED * score) // item
    if length < SCORED:
        length = of_user // (item + score)
    return 0 if length < LEAST else min(length, LENGTH)


class Taken(NamedTuple):
    """What each of some users took: user -> items, ascending.  seen: all known pairs.  edges: those that count."""

    seen: Callable[[int], NDArray[np.int32]]
    edges: Callable[[int], NDArray[np.int32]]


class Lists(NamedTuple):
    """Of some users that follow each other; see ArtifactContents for what is in them."""

    items: NDArray[np.uint16] | NDArray[np.int32]
    scores: NDArray[np.float32]
    lasts: NDArray[np.float32]


def top_lists(
    user_vectors: NDArray[np.floating],
    taken: Taken,
    item_vectors: NDArray[np.float32],
    item_filter: ItemFilter | None,
    length: int,
) -> Iterator[Lists]:
    """Lists of some users, block after block: exact, seen items left out, ties by row.

    user_vectors: (u, D).  item_vectors: (I, D).  30 us a user at 5,000 items, 150 at 40,000, on one core.
    """
    n_items = len(item_vectors)
    block = max(1, BLOCK_SCORES // max(n_items, 1))
    allowed = np.ones(n_items, np.bool_)
    for start in range(0, len(user_vectors), block):
        vectors = user_vectors[start : start + block].astype(np.float32, copy=False)
        lists = _empty_lists(len(vectors), n_items, length)
        for place, vector_scores in enumerate(vectors @ item_vectors.T):  # (B, I)
            own = vector_scores
            if item_filter is not None:
                own = own + item_filter.scores(taken.edges(start + place))
            seen = taken.seen(start + place)
            allowed[seen] = False
            rows = top_n(own, allowed, length)
            lists.items[place, : len(rows)] = rows
            lists.scores[place, : len(rows)] = own[rows[:SCORED]]
            if len(rows) == length:
                lists.lasts[place] = own[rows[-1]]
            allowed[seen] = True
        yield lists


def with_top_lists(contents: ArtifactContents, length: int | None = None) -> ArtifactContents:
    """The same model with the lists of all its users.  length: of each; None: as ``list_length`` says."""
    n_users, n_items = len(contents.users), len(contents.items)
    if length is None:
        length = list_length(n_users, n_items, contents.user_vectors.nbytes)
    if not length:
        return contents

    def seen(user: int) -> NDArray[np.int32]:
        return contents.seen_items[contents.seen_indptr[user] : contents.seen_indptr[user + 1]]

    whole, done = _empty_lists(n_users, n_items, length), 0
    taken = Taken(seen, contents.edge_rows)
    for lists in top_lists(contents.user_vectors, taken, contents.item_vectors, contents.item_filter, length):
        for array, part in zip(whole, lists, strict=True):
            array[done : done + len(part)] = part
        done += len(lists.items)
    return replace(contents, top_items=whole.items, top_scores=whole.scores, top_lasts=whole.lasts)


def _empty_lists(n_users: int, n_items: int, length: int) -> Lists:
    items = np.empty((n_users, length), item_dtype(n_items))
    items[:] = no_item(items)
    scores = np.full((n_users, scored_length(length)), NO_SCORE, np.float32)
    return Lists(items, scores, np.full(n_users, NO_SCORE, np.float32))


def scored_length(length: int) -> int:
    """How many items of a list are there with their scores."""
    return min(length, SCORED)


def item_dtype(n_items: int) -> "np.dtype[np.uint16] | np.dtype[np.int32]":
    """Of the rows of items in lists."""
    return np.dtype(np.uint16) if n_items <= np.iinfo(np.uint16).max else np.dtype(np.int32)
