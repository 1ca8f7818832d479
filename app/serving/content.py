"""What labels tell: vectors of courses that came after the model, and edges of interests."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from app.domain.contents import ArtifactContents
from app.domain.courses import CourseFacts
from app.serving.catalogue import CatalogueView, labels_of
from app.serving.fold_in import Edges, VectorParts
from app.serving.index import ServingIndex
from app.serving.options import Field

LEAST_TAKERS = 10  # of a course whose trained vector is worth learning from
MOST_LABELS = 2_000  # the most usual ones; the fit costs their third power, a second at 2,000
RIDGE = 10.0

Label = tuple[Field, str]
FIELDS: tuple[Field, ...] = get_args(Field)


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """What somebody says of herself.  interests: weights of tags or categories.  features: (C,) float32."""

    interests: Mapping[str, float]
    features: NDArray[np.float32] | None = None


NO_PROFILE = Profile({})


@dataclass(frozen=True, slots=True)
class ContentMap:
    """A ridge regression from labels to trained item vectors: v = mean + sum of the labels' rows of ``weights``.

    columns: row of each label.  weights: (L, D) float64.  mean: (D,) float64.
    """

    columns: Mapping[Label, int]
    weights: NDArray[np.float64]
    mean: NDArray[np.float64]

    @classmethod
    def fit(cls, index: ServingIndex, view: CatalogueView) -> "ContentMap | None":
        """Learn from the model's well-known courses, with their present labels; None when there are none.

        min_W |X W - (V - mean)|^2 + RIDGE |W|^2, X (C, L) with 1 where a course has a label.
        """
        learned = [row for row in np.flatnonzero(index.contents.popularity >= LEAST_TAKERS).tolist() if view.facts(row)]
        labels = [_labels(view.facts(row)) for row in learned]
        counts: dict[Label, int] = {}
        for label in (label for own in labels for label in own):
            counts[label] = counts.get(label, 0) + 1
        usual = sorted((label for label in counts if counts[label] > 1), key=lambda label: (-counts[label], label))
        columns = {label: column for column, label in enumerate(usual[:MOST_LABELS])}
        if not columns:
            return None
        vectors = index.item_vectors[learned].astype(np.float64)  # (C, D)
        mean = vectors.mean(axis=0)
        own = [np.array([columns[label] for label in course if label in columns], np.intp) for course in labels]
        products, targets = _normal_equations(own, vectors - mean, len(columns))
        products[np.diag_indices(len(columns))] += RIDGE
        return cls(columns, np.linalg.solve(products, targets).astype(np.float64), mean)

    def vectors(self, courses: Sequence[CourseFacts | None]) -> NDArray[np.float32]:
        """(C, D); zeros for a course that has no known label, which is then neither liked nor disliked."""
        found = np.zeros((len(courses), len(self.mean)))
        for place, facts in enumerate(courses):
            columns = [self.columns[label] for label in _labels(facts) if label in self.columns]
            if columns:
                found[place] = self.mean + self.weights[columns].sum(axis=0)
        return found.astype(np.float32)


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
    own = features.astype(np.float64) @ weights[:-1].astype(np.float64) + weights[-1]  # (D,)
    return VectorParts(own, np.empty(0, np.int32), np.empty((0, len(own))))


def _normal_equations(
    own: Sequence[NDArray[np.intp]], vectors: NDArray[np.float64], n_labels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """X'X (L, L) and X'V (L, D); X is never there as a whole, it would take gigabytes.

    own: columns of X with a 1, of each course.
    """
    sizes = np.array([len(columns) for columns in own], np.intp)
    entries = np.concatenate(own)  # (E,) columns, course by course
    courses = np.repeat(np.arange(len(own)), sizes)  # (E,)
    # Each entry meets each entry of its course.
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)  # (E,) where its course begins
    met = np.repeat(sizes, sizes)  # (E,) entries that it meets
    left = np.repeat(entries, met)
    places = np.arange(len(left)) - np.repeat(np.cumsum(met) - met, met) + np.repeat(starts, met)
    products = np.bincount(left * n_labels + entries[places], minlength=n_labels * n_labels).astype(np.float64)
    order = np.argsort(entries, kind="stable")
    bounds = np.searchsorted(entries[order], np.arange(n_labels + 1))
    of_label = [courses[order[start:end]] for start, end in pairwise(bounds.tolist())]
    targets = np.stack([vectors[some].sum(axis=0) for some in of_label])
    return products.reshape(n_labels, n_labels), targets


def _labels(facts: CourseFacts | None) -> list[Label]:
    return (
        []
        if facts is None
        else [(field, label) for field in FIELDS for label in dict.fromkeys(labels_of(facts, field))]
    )
