"""What the change stream tells, free of database types."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.domain.courses import CourseFacts


@dataclass(frozen=True, slots=True)
class InteractionChanged:
    """An interaction was written (also when it was there before) or removed."""

    cluster_time: int
    user_id: str
    course_id: str
    type: str
    removed: bool


@dataclass(frozen=True, slots=True)
class CourseChanged:
    """A course was written, or removed (``facts`` is None)."""

    cluster_time: int
    course_id: str
    facts: CourseFacts | None


@dataclass(frozen=True, slots=True)
class UserChanged:
    """A user was written or removed."""

    cluster_time: int
    user_id: str
    removed: bool


@dataclass(frozen=True, slots=True)
class CurrentModelChanged:
    """The pointer to the served model moved."""

    cluster_time: int
    model_id: str


@dataclass(frozen=True, slots=True)
class RunChanged:
    """A training run was asked for, moved on, or ended."""

    cluster_time: int
    run_id: str


Change = InteractionChanged | CourseChanged | UserChanged | CurrentModelChanged | RunChanged


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Changes in the order in which they happened, and how far the stream has come; empty ones tell that it lives.

    position: all changes up to this cluster time have been told, in this batch or before.
    connected: False while the database cannot be reached; the position stands still until it is back.
    as_of: all that happened before this moment (monotonic seconds of this process) has been told; None: there is more
        to tell, so it is behind by the age of ``position``.
    """

    changes: tuple[Change, ...]
    position: int
    connected: bool = True
    as_of: float | None = None

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)
