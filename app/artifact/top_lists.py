"""The best items of every user, computed once by the worker so that no request has to."""

from dataclasses import replace

import numpy as np

from app.domain.contents import ArtifactContents, no_item
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
    item, score = _dtype(n_items).itemsize, 4
    of_user = max(MOST_BYTES, vectors_bytes) // max(n_users, 1) - score
    length = (of_user - SCORED * score) // item
    if length < SCORED:
        length = of_user // (item + score)
    return 0 if length < LEAST else min(length, LENGTH)


def with_top_lists(contents: ArtifactContents, length: int | None = None) -> ArtifactContents:
    """The same model with the lists of all its users: exact, seen items left out, ties by row.

    length: of each; None: as ``list_length`` says.  30 us a user at 5,000 items, 150 at 40,000, on one core.
    """
    n_users, n_items = len(contents.users), len(contents.items)
    if length is None:
        length = list_length(n_users, n_items, contents.user_vectors.nbytes)
    if not length:
        return contents
    items = np.empty((n_users, length), _dtype(n_items))
    items[:] = no_item(items)
    scores = np.full((n_users, min(length, SCORED)), NO_SCORE, np.float32)
    lasts = np.full(n_users, NO_SCORE, np.float32)
    block = max(1, BLOCK_SCORES // max(n_items, 1))
    allowed, item_filter = np.ones(n_items, np.bool_), contents.item_filter
    for start in range(0, n_users, block):
        vectors = contents.user_vectors[start : start + block].astype(np.float32, copy=False)
        block_scores = vectors @ contents.item_vectors.T  # (B, I)
        for user, vector_scores in enumerate(block_scores, start):
            own = vector_scores
            if item_filter is not None:
                own = own + item_filter.scores(contents.edge_rows(user))
            seen = contents.seen_items[contents.seen_indptr[user] : contents.seen_indptr[user + 1]]
            allowed[seen] = False
            rows = top_n(own, allowed, length)
            items[user, : len(rows)] = rows
            scores[user, : len(rows)] = own[rows[:SCORED]]
            if len(rows) == length:
                lasts[user] = own[rows[-1]]
            allowed[seen] = True
    return replace(contents, top_items=items, top_scores=scores, top_lasts=lasts)


def _dtype(n_items: int) -> "np.dtype[np.uint16] | np.dtype[np.int32]":
    return np.dtype(np.uint16) if n_items <= np.iinfo(np.uint16).max else np.dtype(np.int32)
