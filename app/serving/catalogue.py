"""The courses as they are now, beside a model that knows those of its training."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.domain.changes import CourseChanged
from app.domain.courses import CourseFacts
from app.domain.vocabulary import Vocabulary
from app.serving.index import ServingIndex
from app.serving.options import Field

MASKS_KEPT = 100  # combinations of labels, a byte a course each
NO_ITEMS = Vocabulary(())


class Catalogue:
    """Facts of every course.

    What the change stream tells is the state.  What this process wrote itself holds on top until the stream has come
    past the write, so that the order of the stream is what remains.
    """

    def __init__(self, courses: Iterable[tuple[str, CourseFacts]] = (), position: int = 0) -> None:
        """courses: a listing that began no earlier than the cluster time ``position``."""
        self._facts = dict(courses)
        self._local: dict[str, tuple[CourseFacts | None, int]] = {}
        self.position = position
        self.version = 0
        self._alone: CatalogueView | None = None

    def __len__(self) -> int:
        return sum(1 for _ in self.items())

    def __contains__(self, course_id: object) -> bool:
        return isinstance(course_id, str) and self.get(course_id) is not None

    def get(self, course_id: str) -> CourseFacts | None:
        """Facts of a course, None when there is none."""
        local = self._local.get(course_id)
        return self._facts.get(course_id) if local is None else local[0]

    def items(self) -> Iterable[tuple[str, CourseFacts]]:
        """All courses, in no order."""
        if not self._local:
            return self._facts.items()
        now: dict[str, CourseFacts | None] = {**self._facts}
        now.update({course_id: facts for course_id, (facts, _) in self._local.items()})
        return [(course_id, facts) for course_id, facts in now.items() if facts is not None]

    def alone(self) -> "CatalogueView":
        """The present version without a model."""
        if self._alone is None or self._alone.version != self.version:
            self._alone = CatalogueView(self, None)
        return self._alone

    def apply(self, change: CourseChanged) -> None:
        """Take in what the change stream tells; what it has told already is passed over."""
        if change.cluster_time <= self.position:
            return
        before = self.get(change.course_id)
        if change.facts is None:
            self._facts.pop(change.course_id, None)
        else:
            self._facts[change.course_id] = change.facts
        self._note(change.course_id, before)

    def apply_local(self, change: CourseChanged) -> None:
        """Take in a write of this process, whose cluster time it carries."""
        held = self._local.get(change.course_id)
        if change.cluster_time <= self.position or (held is not None and held[1] > change.cluster_time):
            return
        before = self.get(change.course_id)
        self._local[change.course_id] = change.facts, change.cluster_time
        self._note(change.course_id, before)

    def advance(self, position: int) -> None:
        """The stream has told everything up to here."""
        self.position = max(self.position, position)
        for course_id in [id_ for id_, (_, time) in self._local.items() if time <= self.position]:
            before = self.get(course_id)
            del self._local[course_id]
            self._note(course_id, before)

    def _note(self, course_id: str, before: CourseFacts | None) -> None:
        after = self.get(course_id)
        if after != before or _published(after) != _published(before):
            self.version += 1


def _published(facts: CourseFacts | None) -> datetime | None:
    return None if facts is None else facts.published_at


class CatalogueView:
    """One version of the catalogue, in the rows of a model; nothing in it ever changes.

    Rows 0..I-1 are the model's items, also those that are gone; the courses that it does not know follow in id order.
    ids: (R,).  eligible: (R,) bool, there and available.
    """

    def __init__(self, catalogue: Catalogue, index: ServingIndex | None) -> None:
        self.version = catalogue.version
        self._items = NO_ITEMS if index is None else index.items
        self.n_indexed = len(self._items)
        new = sorted((id_, facts) for id_, facts in catalogue.items() if id_ not in self._items)
        self.ids: Sequence[str] = [*self._items.ids, *(id_ for id_, _ in new)]
        self._rows = {id_: row for row, id_ in enumerate(self.ids)}  # a few MB, and found in a tenth of the time
        self._facts = [*map(catalogue.get, self._items.ids), *(facts for _, facts in new)]
        self.eligible = np.fromiter(
            (facts is not None and facts.available for facts in self._facts), np.bool_, len(self._facts)
        )
        self.eligible.flags.writeable = False
        self.eligible_bytes = self.eligible.tobytes()  # one of them costs less to look at
        self._fitting: dict[tuple[tuple[Field, tuple[str, ...]], ...], NDArray[np.bool_]] = {}
        self._rows_by_label: dict[Field, Mapping[str, NDArray[np.intp]]] = {}
        self._prerequisites: tuple[NDArray[np.intp], NDArray[np.intp]] | None = None  # courses, what each needs
        self._absent_rows: dict[str, int] = {}

    def rows(self, course_ids: Collection[str]) -> list[int]:
        """Rows of those courses that are known here."""
        return [row for row in map(self.row, course_ids) if row is not None]

    def places(self, course_ids: Collection[str]) -> NDArray[np.int32]:
        """Row of each of the courses in the order given, R for one that is not known here."""
        beyond = len(self.ids)
        return np.array([self._rows.get(course_id, beyond) for course_id in course_ids], np.int32)

    def labelled(self, field: Field, labels: Collection[str]) -> NDArray[np.bool_]:
        """(R,) bool: the course has any of the labels."""
        mask = np.zeros(len(self.ids), np.bool_)
        rows = self.rows_by_label(field)
        for label in rows.keys() & set(labels):
            mask[rows[label]] = True
        return mask

    def fitting(self, wanted: tuple[tuple[Field, tuple[str, ...]], ...]) -> NDArray[np.bool_]:
        """(R,) bool, read-only: eligible, and in each of these fields with any of the labels."""
        mask = self._fitting.get(wanted)
        if mask is None:
            mask = self.eligible.copy()
            for field, labels in wanted:
                mask &= self.labelled(field, labels)
            mask.flags.writeable = False
            if len(self._fitting) >= MASKS_KEPT:
                self._fitting.clear()
            self._fitting[wanted] = mask
        return mask

    def rows_by_label(self, field: Field) -> Mapping[str, NDArray[np.intp]]:
        """Rows of the courses with each label, ascending."""
        if field not in self._rows_by_label:  # few services filter by all fields
            rows: dict[str, list[int]] = {}
            for row, facts in enumerate(self._facts):
                for label in () if facts is None else labels_of(facts, field):
                    rows.setdefault(label, []).append(row)
            self._rows_by_label[field] = {label: np.array(members, np.intp) for label, members in rows.items()}
        return self._rows_by_label[field]

    def unmet(self, completed: Collection[str]) -> NDArray[np.intp]:
        """Rows of the courses that have a prerequisite other than these courses."""
        if self._prerequisites is None:
            pairs = [(row, id_) for row, facts in enumerate(self._facts) if facts for id_ in facts.prerequisites]
            # Those that are not in the catalogue stand beyond the last row.
            absent = dict.fromkeys(id_ for _, id_ in pairs if self.row(id_) is None)
            self._absent_rows = {id_: row for row, id_ in enumerate(absent, len(self.ids))}
            required = [self.row(id_) for _, id_ in pairs]
            places = [
                self._absent_rows[id_] if row is None else row for row, (_, id_) in zip(required, pairs, strict=True)
            ]
            self._prerequisites = np.array([row for row, _ in pairs], np.intp), np.array(places, np.intp)
        is_completed = np.zeros(len(self.ids) + len(self._absent_rows), np.bool_)
        is_completed[self.rows(completed)] = True
        is_completed[[row for row in map(self._absent_rows.get, completed) if row is not None]] = True
        rows, required_rows = self._prerequisites
        return rows[~is_completed[required_rows]]

    @cached_property
    def published(self) -> NDArray[np.float64]:
        """(R,) seconds since 1970 when each course came out, 0 where that is not known."""
        times = map(_published, self._facts)
        return np.array([0.0 if time is None else time.timestamp() for time in times], np.float64)

    def facts(self, row: int) -> CourseFacts | None:
        """Facts of a course, None when it is gone."""
        return self._facts[row]

    def row(self, course_id: str) -> int | None:
        """Row of a course that the model or the catalogue knows."""
        return self._rows.get(course_id)


def labels_of(facts: CourseFacts, field: Field) -> Sequence[str]:
    """What a course has in a field; nothing, one or several."""
    match field:
        case "categories":
            return facts.categories
        case "tags":
            return facts.tags
        case "level":
            return () if facts.level is None else (facts.level,)
        case "language":
            return () if facts.language is None else (facts.language,)
