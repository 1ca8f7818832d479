"""Recommendations as callers ask for and receive them."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field

from app.schemas.fields import Id, Label, Record

MAX_N = 500  # courses in a list; a page shows 10
MAX_OFFSET = 100_000

Item = TypeVar("Item")


def _as_list(value: Any) -> Any:
    """One text stands for a list of it."""
    return [value] if isinstance(value, str) else value


OneOrMore = Annotated[list[Item], BeforeValidator(_as_list)]


class RecommendationOptions(Record):
    """What a caller may wish; the same in the query of GET and in the body of POST."""

    n: int = Field(10, ge=1, le=MAX_N, description="Most courses in the list")
    offset: int = Field(0, ge=0, le=MAX_OFFSET, description="Courses of the ranking to pass over")
    category: OneOrMore[Label] = Field([], max_length=100, description="Only courses in any of these")
    exclude: OneOrMore[Id] = Field([], max_length=1000, description="Ids of courses to leave out")
    exclude_seen: bool = Field(True, description="Leave out what the user has taken")
    percent_over: Literal["recommended", "candidates"] = Field(
        "recommended", description="Percentages are shares of the list, or of all courses that could be in it"
    )
    temperature: float = Field(
        1.0, gt=0, le=1e6, allow_inf_nan=False, description="Above 1 evens the percentages out, below 1 sharpens them"
    )
    strict: bool = Field(False, description="404 for an unknown user instead of popular courses")


class PopularOptions(Record):
    """Query of `GET /popular`."""

    n: int = Field(10, ge=1, le=MAX_N, description="Most courses in the list")
    offset: int = Field(0, ge=0, le=MAX_OFFSET, description="Courses of the ranking to pass over")
    category: OneOrMore[Label] = Field([], max_length=100, description="Only courses in any of these")


class RecommendedCourse(BaseModel):
    """A course of a list."""

    course_id: str
    rank: int = Field(description="From 1 at the best")
    score: float
    percent: float = Field(description="Softmax of score / temperature, in percent")


class RecommendationList(BaseModel):
    """Courses, best first; shorter than `n` when fewer are eligible."""

    user_id: str | None
    model_id: str | None = Field(description="null before the first model")
    source: Literal["model", "fold_in", "content", "popular"]
    generated_at: datetime
    recommendation_id: str
    percent_over: Literal["recommended", "candidates"]
    items: list[RecommendedCourse]
