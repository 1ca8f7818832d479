"""What a caller may wish of a list, and the list."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Field = Literal["categories", "tags", "level", "language"]
Source = Literal["model", "fold_in", "content", "popular"]
PercentOver = Literal["recommended", "candidates"]


@dataclass(frozen=True, slots=True)
class Options:
    """Raises ValueError on a value that cannot be.

    n, offset: which part of the ranking.
    categories, tags, levels, languages: only courses with any of them; empty: all.
    exclude: course ids never listed.  include_only: course ids of which alone the list is made; None: all.
    exclude_seen: leave out what the user has taken.
    prerequisites_met: leave out courses whose prerequisites the user has not all completed.
    percent_over: softmax over the listed courses, or over all that could have been.
    temperature: scores are divided by it before the softmax; above 1 evens the percentages out.
    diversity: 0 ranks by score alone, towards 1 a course that resembles those above it comes later.
    labels: the wanted ones of those fields in which any are.
    is_plain: nothing is asked but n courses.
    """

    n: int = 10
    offset: int = 0
    categories: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    exclude_seen: bool = True
    percent_over: PercentOver = "recommended"
    temperature: float = 1.0
    tags: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    include_only: tuple[str, ...] | None = None
    prerequisites_met: bool = False
    diversity: float = 0.0
    labels: tuple[tuple[Field, tuple[str, ...]], ...] = field(init=False, repr=False, compare=False)
    is_plain: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.n < 1 or self.offset < 0:
            raise ValueError(f"n and offset have values {self.n} and {self.offset}; wanted at least 1 and 0")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature has value {self.temperature}; wanted a finite number above 0")
        if not 0 <= self.diversity <= 1:
            raise ValueError(f"diversity has value {self.diversity}; wanted 0 to 1")
        wanted: tuple[tuple[Field, tuple[str, ...]], ...] = (
            ("categories", self.categories),
            ("tags", self.tags),
            ("level", self.levels),
            ("language", self.languages),
        )
        object.__setattr__(self, "labels", tuple([(name, labels) for name, labels in wanted if labels]))
        is_plain = not self.labels and not self.exclude and self.include_only is None
        is_plain &= self.exclude_seen and not self.prerequisites_met and not self.offset
        is_plain &= not self.diversity and self.percent_over == "recommended"
        object.__setattr__(self, "is_plain", is_plain)


class Ranked(NamedTuple):
    """A course in a list.  rank counts from 1 at the best of all, so the first after ``offset`` is offset + 1."""

    course_id: str
    score: float
    percent: float
    rank: int


class Reason(NamedTuple):
    """What a user's interaction with a course, or the user's own part (None), adds to a score.

    percent: of the sum of all absolute contributions, with the sign of this one.
    """

    course_id: str | None
    contribution: float
    percent: float


@dataclass(frozen=True, slots=True)
class RankedList:
    """An answer, best first.  rows: of the courses on the shelf they were listed from; None: not told."""

    model_id: str | None
    source: Source
    items: Sequence[Ranked]
    rows: Sequence[int] | None = field(default=None, repr=False, compare=False)
