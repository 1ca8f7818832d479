"""What serving needs to know of a course."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class CourseFacts:
    """The fields of a course that filters and lists look at; equal facts are listed alike but for the time."""

    title: str | None = None
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    level: str | None = None
    language: str | None = None
    prerequisites: tuple[str, ...] = ()
    available: bool = True
    published_at: datetime | None = field(default=None, compare=False)
