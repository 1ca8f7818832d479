"""What a caller may wish of a list, and the list."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Source = Literal["model", "popular"]
PercentOver = Literal["recommended", "candidates"]


@dataclass(frozen=True, slots=True)
class Options:
    """Raises ValueError on a value that cannot be.

    n, offset: which part of the ranking.  categories: only courses in any of them; empty: all.
    exclude: course ids never listed.  exclude_seen: leave out what the user has taken.
    percent_over: softmax over the listed courses, or over all that could have been.
    temperature: scores are divided by it before the softmax; above 1 evens the percentages out.
    """

    n: int = 10
    offset: int = 0
    categories: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    exclude_seen: bool = True
    percent_over: PercentOver = "recommended"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.n < 1 or self.offset < 0:
            raise ValueError(f"n and offset have values {self.n} and {self.offset}; wanted at least 1 and 0")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature has value {self.temperature}; wanted a finite number above 0")


class Ranked(NamedTuple):
    """A course in a list.  rank counts from 1 at the best of all, so the first after ``offset`` is offset + 1."""

    course_id: str
    score: float
    percent: float
    rank: int


@dataclass(frozen=True, slots=True)
class RankedList:
    """An answer.  n_eligible: courses that fit the options; ``items`` are the asked part of them, best first."""

    model_id: str | None
    source: Source
    items: list[Ranked]
    n_eligible: int
