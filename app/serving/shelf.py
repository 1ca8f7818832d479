"""All courses as they are now, with what a model has to say of each."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.serving.catalogue import CatalogueView
from app.serving.content import NewCourses
from app.serving.index import ServingIndex


class Shelf:
    """A view of the catalogue and the vectors of its courses; nothing in it ever changes.

    Courses that are newer than the model have vectors when there is a content map, and no scores without one.
    """

    def __init__(self, index: ServingIndex, view: CatalogueView, new_courses: NewCourses | None) -> None:
        self.view = view
        self._items = index.item_vectors  # (I, D)
        new = [facts for facts in map(view.facts, range(view.n_indexed, len(view.ids))) if facts is not None]
        self._new = np.zeros((0, index.item_vectors.shape[1]), np.float32)  # (X, D)
        if new_courses is not None and new:
            self._new = new_courses.vectors(new)
        self.has_new = len(self._new) > 0  # whether courses that the model does not know have a vector

    @property
    def n_scored(self) -> int:
        """R': courses that have a score."""
        return len(self._items) + len(self._new)

    def scores(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(D,) of a user -> (R',), or (B, D) -> (B, R'); R' = I without vectors of new courses, R with them."""
        if vectors.ndim == 1:
            known = self._items @ vectors  # (I,)
            return np.concatenate([known, self._new @ vectors]) if self.has_new else known
        known = vectors @ self._items.T  # (B, I)
        return np.concatenate([known, vectors @ self._new.T], axis=1) if self.has_new else known

    def new_scores(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """(X,) of the courses that the model does not know."""
        scores: NDArray[np.float32] = self._new @ vector
        return scores

    @cached_property
    def lengths(self) -> NDArray[np.float32]:
        """(R',) lengths of the vectors."""
        lengths: NDArray[np.float32] = np.linalg.norm(np.concatenate([self._items, self._new]), axis=1)
        return lengths

    def course_vectors(self, rows: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float32]:
        """(C, D); zeros for a course without a vector."""
        try:
            return self._items.take(rows, axis=0)  # nearly always all of them
        except (IndexError, TypeError):  # also of an empty list, whose numbers are of no kind
            places = np.asarray(rows, np.intp)
        vectors = np.zeros((len(places), self._items.shape[1]), np.float32)
        known = places < len(self._items)
        vectors[known] = self._items[places[known]]
        new = ~known & (places < len(self._items) + len(self._new))
        vectors[new] = self._new[places[new] - len(self._items)]
        return vectors
