"""Courses and users that resemble each other, and users for a course."""

from collections.abc import Callable, Collection, Generator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.domain.contents import pair_weights
from app.domain.ranking import top_n
from app.serving.catalogue import CatalogueView
from app.serving.content import FIELDS
from app.serving.index import blocks_of
from app.serving.live import LiveModel
from app.serving.shelf import Shelf
from app.serving.users import UserVector

POOL_PER_USER = 5  # users by standard score of whom the exact rank is computed, for each that is asked for
LEAST_POOL = 100
BLOCK_SEEN = 2**22  # interactions looked at at once
SCORED_AT_ONCE = 2**20  # courses for users of these: some milliseconds
TOLD_AT_ONCE = 1_000  # users who changed: a few milliseconds

Result = TypeVar("Result")
Steps = Generator[Callable[[], Any], Any, Result]
"""An answer in steps.  What is yielded looks at nothing that changes, so a thread may call it while others are told and
asked; what it gives is sent in; ``nothing`` needs no thread."""


def at_once(steps: Steps[Result]) -> Result:
    """The answer, all done here."""
    found = None
    while True:
        try:
            found = steps.send(found)()
        except StopIteration as end:
            result: Result = end.value
            return result


class SimilarCourse(NamedTuple):
    """similarity: cosine of the vectors, or share of labels in common.  shared: users with both courses in training."""

    course_id: str
    similarity: float
    shared: int


class SimilarUser(NamedTuple):
    """similarity: cosine of the vectors."""

    user_id: str
    similarity: float


class UserForCourse(NamedTuple):
    """rank: place of the course in the user's list, from 1."""

    user_id: str
    rank: int
    score: float


class Neighbours:
    """Questions to a live model that look at all of its users: milliseconds, or seconds where there are millions."""

    def __init__(self, live: LiveModel) -> None:
        self._live = live
        self._contents = live.index.contents

    def courses(self, course_id: str, n: int, categories: Collection[str] = ()) -> list[SimilarCourse]:
        """Nearest available courses, nearest first; by labels for a course without a vector, none if it is unknown.

        categories: only courses in any of these; none: all.
        """
        shelf = self._live.shelf
        row = shelf.view.row(course_id)
        if row is None:
            return []
        vector = shelf.course_vectors([row])[0]
        if not vector.any():
            return similar_by_labels(shelf.view, course_id, n, categories)
        similarities = _cosines(shelf.scores(vector), shelf.lengths, vector)
        allowed = _eligible(shelf.view, categories)[: len(similarities)].copy()
        allowed[row : row + 1] = False
        shared = self._shared(row)
        return [
            SimilarCourse(
                shelf.view.ids[near], float(similarities[near]), int(shared[near]) if near < len(shared) else 0
            )
            for near in top_n(similarities, allowed, n).tolist()
        ]

    def users(self, user_id: str, n: int) -> list[SimilarUser]:
        """Users of the model nearest to a user, nearest first; none for somebody without a vector."""
        return at_once(self.nearest_users(user_id, n))

    def nearest_users(self, user_id: str, n: int) -> Steps[list[SimilarUser]]:
        """The same in steps, with the vector as it is now: later a user who is not held here may be parted from."""
        return self._nearest_users(user_id, self._live.users.get(user_id), n)

    def _nearest_users(self, user_id: str, user: UserVector | None, n: int) -> Steps[list[SimilarUser]]:
        index = self._live.index
        if user is None:
            return []
        row, forgotten = index.users.row(user_id), self._forgotten()

        def nearest() -> list[SimilarUser]:
            similarities = _cosines(index.user_products(user.vector), index.user_lengths, user.vector)
            allowed = self._known_users(forgotten)
            if row is not None:
                allowed[row] = False
            ids = index.users.ids
            return [SimilarUser(ids[near], float(similarities[near])) for near in top_n(similarities, allowed, n)]

        found: list[SimilarUser] = yield nearest
        return [near for near in found if not self._live.overlay.forgotten(near.user_id)]

    def users_for(self, course_id: str, n: int) -> list[UserForCourse]:
        """Users of the model who have not taken the course and in whose lists it stands highest."""
        return at_once(self.ranked_users(course_id, n))

    def ranked_users(self, course_id: str, n: int) -> Steps[list[UserForCourse]]:
        """The same in steps.

        They are the best by exact rank of those users for whom the course's score is farthest above the mean of all
        items' scores, in standard deviations:
        (e . v + f - e . m) / sqrt(e' C e), m and C mean and covariance of the item vectors, f what an item filter adds.
        """
        shelf = self._live.shelf
        row = shelf.view.row(course_id)
        vector = np.zeros(0, np.float32) if row is None else shelf.course_vectors([row])[0]
        if row is None or not vector.any():
            return []
        told: list[tuple[int, bool]] = []
        touched = [*self._live.overlay.touched_users()]
        for start in range(0, len(touched), TOLD_AT_ONCE):
            told += self._told(course_id, touched[start : start + TOLD_AT_ONCE])
            yield nothing  # let others have their turn
        forgotten, ids = self._forgotten(), self._live.index.users.ids
        pool: list[int] = yield lambda: self._pool(row, vector, n, forgotten, told)
        found: list[UserForCourse] = []
        block = max(1, SCORED_AT_ONCE // max(shelf.n_scored, 1))
        for start in range(0, len(pool), block):
            ranks = [self._rank(shelf, ids[user], row) for user in pool[start : start + block]]
            found += yield partial(_called, [rank for rank in ranks if rank is not None])
        there = (user for user in found if not self._live.overlay.forgotten(user.user_id))
        return sorted(there, key=lambda user: user.rank)[:n]

    # ---

    def _pool(
        self,
        row: int,
        vector: NDArray[np.float32],
        n: int,
        forgotten: NDArray[np.int32],
        told: Collection[tuple[int, bool]],
    ) -> list[int]:
        """Rows of the users of greatest standard score who have not taken the course.  told: see ``_told``."""
        index = self._live.index
        untaken = self._known_users(forgotten)
        if row < len(index.items):
            untaken[self._takers(row)] = False
        for user, is_untaken in told:
            untaken[user] = is_untaken
        means, deviations = index.score_moments
        standard = index.user_products(vector)
        self._add_filtered(standard, row)
        standard -= means
        standard /= deviations
        pool: list[int] = top_n(standard, untaken, max(LEAST_POOL, POOL_PER_USER * n)).tolist()
        return pool

    def _add_filtered(self, scores: NDArray[np.float32], row: int) -> None:
        """Add what the item filter adds to the course's score for each user of the model, (U,), in place."""
        item_filter, contents = self._live.index.item_filter, self._contents
        if item_filter is None or row >= item_filter.n_items:
            return
        column = item_filter.column(row).astype(np.float64)
        for part in blocks_of(len(scores)):
            starts = contents.seen_indptr[part.start : part.stop + 1]
            seen = slice(int(starts[0]), int(starts[-1]))
            edge = pair_weights(contents.seen_types[seen], contents.type_weights) > 0
            total = np.concatenate([[0.0], np.cumsum(np.where(edge, column[contents.seen_items[seen]], 0.0))])
            bounds = starts - starts[0]
            scores[part] += total[bounds[1:]] - total[bounds[:-1]]

    def _rank(self, shelf: Shelf, user_id: str, row: int) -> Callable[[], UserForCourse] | None:
        """What finds the course's place for a user as she is now; None when she was deleted meanwhile."""
        user = self._live.users.get(user_id)
        if user is None:
            return None
        overlay, index = self._live.overlay, self._live.index
        edges = None if index.item_filter is None else self._live.users.edge_rows(user_id)
        taken = overlay.taken(user_id)
        left_out = [*taken.rows.tolist(), *shelf.view.rows(taken.others)]

        def rank() -> UserForCourse:
            scores = shelf.scores(user.vector)
            if index.item_filter is not None and edges is not None:
                scores[: len(index.items)] += index.item_filter.scores(edges)
            allowed = shelf.view.eligible[: len(scores)].copy()
            allowed[[other for other in left_out if other < len(scores)]] = False
            above = np.count_nonzero(allowed & (scores > scores[row]))
            ties = np.count_nonzero(allowed[:row] & (scores[:row] == scores[row]))
            return UserForCourse(user_id, int(above + ties) + 1, float(scores[row]))

        return rank

    def _shared(self, row: int) -> NDArray[np.intp]:
        """(I,) users who had each item and this one."""
        starts, items = self._contents.seen_indptr, self._contents.seen_items
        theirs = [items[starts[user] : starts[user + 1]] for user in self._takers(row).tolist()]
        return np.bincount(np.concatenate(theirs) if theirs else items[:0], minlength=len(self._live.index.items))

    def _takers(self, row: int) -> NDArray[np.intp]:
        """Rows of the users of the model who took the item."""
        seen = self._contents.seen_items
        blocks = (slice(start, start + BLOCK_SEEN) for start in range(0, len(seen), BLOCK_SEEN))
        places = [np.flatnonzero(seen[block] == row) + block.start for block in blocks]
        taken = np.concatenate(places) if places else np.empty(0, np.intp)
        return np.searchsorted(self._contents.seen_indptr, taken, side="right") - 1

    def _forgotten(self) -> NDArray[np.int32]:
        """Rows of users who are no longer there."""
        overlay = self._live.overlay
        return self._live.index.users.rows(id_ for id_ in overlay.touched_users() if overlay.forgotten(id_))

    def _known_users(self, forgotten: NDArray[np.int32]) -> NDArray[np.bool_]:
        """(U,) bool, fresh: users with a vector of their own who are still there."""
        known = self._contents.user_degrees > 0
        known[forgotten] = False
        return known

    def _told(self, course_id: str, user_ids: Collection[str]) -> list[tuple[int, bool]]:
        """Row of each of these who is in the model, as changes have it, and whether she has not taken the course."""
        overlay, users, told = self._live.overlay, self._live.index.users, list[tuple[int, bool]]()
        for user_id in user_ids:
            user = users.row(user_id)
            if user is not None and self._contents.user_degrees[user] > 0 and not overlay.forgotten(user_id):
                told.append((user, course_id not in overlay.types_by_course(user_id)))
        return told


def nothing() -> None:
    """A step with which an answer lets others have their turn."""


def _called(works: Sequence[Callable[[], Result]]) -> list[Result]:
    return [work() for work in works]


def similar_by_labels(
    view: CatalogueView, course_id: str, n: int, categories: Collection[str] = ()
) -> list[SimilarCourse]:
    """Available courses with most labels in common: |both| / |either|, those with none left out."""
    row = view.row(course_id)
    if row is None:
        return []
    both, count = np.zeros(len(view.ids)), np.zeros(len(view.ids))
    for field in FIELDS:
        for rows in view.rows_by_label(field).values():
            count[rows] += 1
            if row in rows:
                both[rows] += 1
    similarities = both / np.maximum(count + count[row] - both, 1)
    allowed = _eligible(view, categories) & (both > 0)
    allowed[row] = False
    return [SimilarCourse(view.ids[i], float(similarities[i]), 0) for i in top_n(similarities, allowed, n).tolist()]


def _eligible(view: CatalogueView, categories: Collection[str]) -> NDArray[np.bool_]:
    return view.fitting((("categories", tuple(categories)),)) if categories else view.eligible


def _cosines(
    products: NDArray[np.float32], lengths: NDArray[np.float32], vector: NDArray[np.float32]
) -> NDArray[np.float32]:
    scale = lengths * np.linalg.norm(vector)
    return np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
