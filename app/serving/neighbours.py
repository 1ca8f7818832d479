"""Courses and users that resemble each other, and users for a course."""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain.contents import pair_weights
from app.domain.ranking import top_n
from app.serving.catalogue import CatalogueView
from app.serving.content import FIELDS
from app.serving.live import LiveModel
from app.serving.shelf import Shelf

POOL_PER_USER = 5  # users by standard score of whom the exact rank is computed, for each that is asked for
LEAST_POOL = 100


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
    """Questions to a live model that look at all of its users; milliseconds each."""

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
        user = self._live.users.get(user_id)
        if user is None:
            return []
        similarities = _cosines(self._live.index.user_products(user.vector), self._live.index.user_lengths, user.vector)
        allowed = self._known_users()
        row = self._live.index.users.row(user_id)
        if row is not None:
            allowed[row] = False
        ids = self._live.index.users.ids
        return [SimilarUser(ids[near], float(similarities[near])) for near in top_n(similarities, allowed, n).tolist()]

    def users_for(self, course_id: str, n: int) -> list[UserForCourse]:
        """Users of the model who have not taken the course and in whose lists it stands highest."""
        return best_of(self.ranking_users(course_id, n), n)

    def ranking_users(self, course_id: str, n: int) -> Iterator[UserForCourse]:
        """Those among whom these are, one by one in the order of their standard scores; ``best_of`` them are wanted.

        Each takes as long as scoring all courses does.  They are exact ranks of those users for whom the course's
        score is farthest above the mean of all items' scores, in standard deviations:
        (e . v + f - e . m) / sqrt(e' C e), m and C mean and covariance of the item vectors, f what an item filter adds.
        """
        shelf = self._live.shelf
        row = shelf.view.row(course_id)
        vector = np.zeros(0, np.float32) if row is None else shelf.course_vectors([row])[0]
        if row is None or not vector.any():
            return
        means, deviations = self._live.index.score_moments
        standard = (self._live.index.user_products(vector) + self._filtered(row) - means) / deviations
        pool = top_n(standard, self._untaken(course_id), max(LEAST_POOL, POOL_PER_USER * n))
        ids = self._live.index.users.ids
        for user in pool.tolist():
            ranked = self._rank(shelf, ids[user], row)
            if ranked is not None:  # else deleted while the others were looked at
                yield ranked

    # ---

    def _filtered(self, row: int) -> NDArray[np.float64] | float:
        """What the item filter added to the course's score for each user of the model, (U,)."""
        item_filter, contents = self._live.index.item_filter, self._contents
        if item_filter is None or row >= item_filter.n_items:
            return 0.0
        edge = pair_weights(contents.seen_types, contents.type_weights) > 0
        added = np.where(edge, item_filter.column(row)[contents.seen_items], 0.0).astype(np.float64)
        total = np.concatenate([[0.0], np.cumsum(added)])
        sums: NDArray[np.float64] = total[contents.seen_indptr[1:]] - total[contents.seen_indptr[:-1]]
        return sums

    def _rank(self, shelf: Shelf, user_id: str, row: int) -> UserForCourse | None:
        user = self._live.users.get(user_id)
        if user is None:
            return None
        scores = self._live.scores(user_id, user)
        allowed = shelf.view.eligible[: len(scores)].copy()
        taken = self._live.overlay.taken(user_id)
        allowed[taken.rows] = False
        allowed[[other for other in shelf.view.rows(taken.others) if other < len(scores)]] = False
        above = np.count_nonzero(allowed & (scores > scores[row]))
        ties = np.count_nonzero(allowed[:row] & (scores[:row] == scores[row]))
        return UserForCourse(user_id, int(above + ties) + 1, float(scores[row]))

    def _shared(self, row: int) -> NDArray[np.intp]:
        """(I,) users who had each item and this one."""
        starts, items = self._contents.seen_indptr, self._contents.seen_items
        theirs = [items[starts[user] : starts[user + 1]] for user in self._takers(row).tolist()]
        return np.bincount(np.concatenate(theirs) if theirs else items[:0], minlength=len(self._live.index.items))

    def _takers(self, row: int) -> NDArray[np.intp]:
        places = np.flatnonzero(self._contents.seen_items == row)
        return np.searchsorted(self._contents.seen_indptr, places, side="right") - 1

    def _known_users(self) -> NDArray[np.bool_]:
        """(U,) bool, fresh: users with a vector of their own who are still there."""
        known = self._contents.user_degrees > 0
        overlay, users = self._live.overlay, self._live.index.users
        known[users.rows(id_ for id_ in overlay.touched_users() if overlay.forgotten(id_))] = False
        return known

    def _untaken(self, course_id: str) -> NDArray[np.bool_]:
        """(U,) bool, fresh: of those, who has not taken the course."""
        untaken = self._known_users()
        row = self._live.index.items.row(course_id)
        if row is not None:
            untaken[self._takers(row)] = False
        overlay, users = self._live.overlay, self._live.index.users
        for user_id in overlay.touched_users():
            user = users.row(user_id)
            if user is not None and self._contents.user_degrees[user] > 0 and not overlay.forgotten(user_id):
                untaken[user] = course_id not in overlay.types_by_course(user_id)
        return untaken


def best_of(users: Iterable[UserForCourse], n: int) -> list[UserForCourse]:
    """The n of the lowest ranks; of equal ones those that came first."""
    return sorted(users, key=lambda user: user.rank)[:n]


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
