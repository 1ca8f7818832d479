"""What words tell: vectors of courses that came after the model, and edges of interests."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from app.domain.content import ContentMap
from app.domain.contents import ArtifactContents
from app.domain.courses import CourseFacts
from app.domain.words import words_of_courses
from app.serving.catalogue import CatalogueView
from app.serving.fold_in import Edges, VectorParts
from app.serving.options import Field

FIELDS: tuple[Field, ...] = get_args(Field)


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """What somebody says of herself.  interests: weights of tags or categories.  features: (C,) float32."""

    interests: Mapping[str, float]
    features: NDArray[np.float32] | None = None


NO_PROFILE = Profile({})


class NewCourses:
    """The model's map from words to vectors, for courses that it was not trained with; each is asked once.

    Of a new course the labels and the title are known here; its description counts from the next training on.
    """

    def __init__(self, content: ContentMap) -> None:
        self._content = content
        self._vectors: dict[CourseFacts, NDArray[np.float32]] = {}  # of the courses of the last call

    def vectors(self, courses: Sequence[CourseFacts]) -> NDArray[np.float32]:
        """(C, D); zeros for a course whose words say nothing, which is then neither liked nor disliked."""
        unknown = [facts for facts in dict.fromkeys(courses) if facts not in self._vectors]
        found = self._content.vectors(words_of_courses(unknown))
        known = self._vectors | dict(zip(unknown, found, strict=True))
        self._vectors = {facts: known[facts] for facts in courses}
        return np.stack([known[facts] for facts in courses])


def known_edges(view: CatalogueView, course_ids: Collection[str], interests: Mapping[str, float]) -> Edges:
    """Edges of somebody who took these courses, and a little of each course that has a tag or category of interest.

    A course taken weighs 1.  Each interest's weight is shared among its courses; 0 or less counts for nothing.
    """
    weights = np.zeros(view.n_indexed)
    weights[[row for row in view.rows(course_ids) if row < view.n_indexed]] = 1.0
    for label, weight in interests.items():
        rows = np.flatnonzero((view.labelled("tags", [label]) | view.labelled("categories", [label]))[: view.n_indexed])
        if weight > 0:
            weights[rows] += weight / max(len(rows), 1)
    chosen = np.flatnonzero(weights)
    return Edges(chosen.astype(np.int32), weights[chosen])


def feature_parts(contents: ArtifactContents, features: NDArray[np.float32] | None) -> VectorParts | None:
    """Vector of somebody of whom nothing but features is known; None if the model has not learned from such ones."""
    weights = contents.user_feature_weights
    if features is None or weights is None or len(features) + 1 != len(weights):
        return None
    vector = features.astype(np.float64) @ weights[:-1].astype(np.float64) + weights[-1]  # (D,)
    no_entries = np.empty((0, len(vector)), np.float32)
    return VectorParts(vector.astype(np.float32), np.empty(0, np.int32), np.empty(0), no_entries)
