"""Recommendations as callers ask for and receive them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from app.schemas.courses import StoredCourse
from app.schemas.fields import FeatureVector, Id, Interests, Label, Record

MAX_N = 500  # courses in a list; a page shows 10
MAX_OFFSET = 100_000
MAX_CANDIDATES = 10_000  # courses of which alone a list may be asked for
MAX_QUERY_IDS = 1_000  # of an option in a query
MAX_USERS = 1_000_000  # of a batch; their ids fill a body of the usual limit sooner

Source = Literal["model", "fold_in", "content", "popular"]
PercentOver = Literal["recommended", "candidates"]


def _as_list(value: Any) -> Any:
    """One text stands for a list of it."""
    return [value] if isinstance(value, str) else value


OneOrMoreLabels = Annotated[list[Label], BeforeValidator(_as_list, json_schema_input_type=list[Label] | Label)]
OneOrMoreIds = Annotated[list[Id], BeforeValidator(_as_list, json_schema_input_type=list[Id] | Id)]


class PopularOptions(Record):
    """Which part of which ranking."""

    n: int = Field(10, ge=1, le=MAX_N, description="Most courses in the list")
    offset: int = Field(0, ge=0, le=MAX_OFFSET, description="Courses of the ranking to pass over")
    category: OneOrMoreLabels = Field(
        [], max_length=100, description="Only courses in any of these", examples=[["Programming"]]
    )


class RecommendationOptions(PopularOptions):
    """What a caller may wish; the same in the query of GET and in the body of POST."""

    tag: OneOrMoreLabels = Field([], max_length=100, description="Only courses with any of these", examples=[["sql"]])
    level: OneOrMoreLabels = Field(
        [], max_length=100, description="Only courses of any of these levels", examples=[["beginner"]]
    )
    language: OneOrMoreLabels = Field(
        [], max_length=100, description="Only courses in any of these languages", examples=[["en"]]
    )
    exclude: OneOrMoreIds = Field([], max_length=1000, description="Ids of courses to leave out", examples=[["python"]])
    include_only: OneOrMoreIds | None = Field(
        None,
        max_length=MAX_CANDIDATES,
        description="Ids of the only courses that may be listed",
        examples=[["statistics", "ml"]],
    )
    exclude_seen: bool = Field(True, description="Leave out what the user has taken")
    prerequisites: Literal["ignore", "met"] = Field(
        "ignore", description="`met`: only courses whose prerequisites the user has all completed"
    )
    percent_over: PercentOver = Field(
        "recommended", description="Percentages are shares of the list, or of all courses that could be in it"
    )
    temperature: float = Field(
        1.0, gt=0, le=1e6, allow_inf_nan=False, description="Above 1 evens the percentages out, below 1 sharpens them"
    )
    diversity: float = Field(
        0.0, ge=0, le=1, allow_inf_nan=False, description="Towards 1 a course that resembles those above it comes later"
    )
    explain: bool = Field(False, description="Say in `because` what each course's score is made of")
    include_course: bool = Field(False, description="Give each course's record too, as it is stored")
    strict: bool = Field(False, description="404 for an unknown user instead of popular courses")


class QueryOptions(RecommendationOptions):
    """Those of GET, whose address has an end."""

    include_only: OneOrMoreIds | None = Field(
        None,
        max_length=MAX_QUERY_IDS,
        description="Ids of the only courses that may be listed; more of them can be sent with POST",
        examples=[["statistics", "ml"]],
    )


class AnonymousOptions(RecommendationOptions):
    """What is known of somebody, and the options of any list (`strict` changes nothing)."""

    course_ids: list[Id] = Field(
        [], max_length=MAX_CANDIDATES, description="Courses taken; the list leaves them out", examples=[["python"]]
    )
    interests: Interests = Field(
        {}, description="Weight of each tag or category; a list weighs each 1", examples=[{"statistics": 1.0}]
    )
    features: FeatureVector | None = Field(None, description="Content vector, as long as that of the users")


class BatchOptions(RecommendationOptions):
    """Whose lists, and the options of all of them."""

    user_ids: list[Id] = Field(max_length=MAX_USERS, description="One line each, in this order", examples=[["ada"]])


class CountOptions(Record):
    """How many."""

    n: int = Field(10, ge=1, le=MAX_N, description="Most entries in the list")


class Reason(BaseModel):
    """What one course that the user has taken, or the user's own part, adds to a score."""

    course_id: str | None = Field(description="null: the user's own part")
    contribution: float = Field(description="All contributions add up to the score")
    percent: float = Field(description="Share of all absolute contributions, with the sign of this one")


class RecommendedCourse(BaseModel):
    """A course of a list."""

    course_id: str
    rank: int = Field(description="From 1 at the best")
    score: float
    percent: float = Field(description="Softmax of score / temperature, in percent")
    because: list[Reason] | None = Field(None, description="With `explain`; largest first, the user's own part last")
    course: StoredCourse | None = Field(
        None, description="With `include_course`; without `features`, and null if it was deleted this moment"
    )


class RecommendationList(BaseModel):
    """Courses, best first; shorter than `n` when fewer are eligible."""

    user_id: str | None
    model_id: str | None = Field(description="null before the first model")
    source: Source = Field(
        description="By the trained vector, one made now from interactions, from interests or features, or by takers"
    )
    generated_at: datetime
    recommendation_id: str = Field(description="May be sent back in an interaction that follows from the list")
    percent_over: PercentOver
    items: list[RecommendedCourse]


class SimilarCourse(BaseModel):
    """A course near another."""

    course_id: str
    rank: int = Field(description="From 1 at the nearest")
    score: float = Field(description="Cosine of the vectors, or share of labels in common")
    shared_users: int = Field(description="Users who had taken both when the model was trained")


class SimilarCourses(BaseModel):
    """Courses that resemble one, nearest first."""

    course_id: str
    model_id: str | None = Field(description="null before the first model")
    source: Literal["model", "content"] = Field(description="By the model's vectors, or by labels")
    items: list[SimilarCourse]


class InterestedUser(BaseModel):
    """A user to whom a course ranks high."""

    user_id: str
    rank: int = Field(description="Place of the course in the user's list, from 1")
    score: float


class InterestedUsers(BaseModel):
    """Users who have not taken a course and to whom it ranks highest."""

    course_id: str
    model_id: str | None = Field(description="null before the first model, and then nobody is listed")
    items: list[InterestedUser]


class SimilarUser(BaseModel):
    """A user near another."""

    user_id: str
    rank: int = Field(description="From 1 at the nearest")
    score: float = Field(description="Cosine of the vectors")


class SimilarUsers(BaseModel):
    """Users who resemble one, nearest first; none for a user without a vector."""

    user_id: str
    model_id: str | None = Field(description="null before the first model, and then nobody is listed")
    items: list[SimilarUser]
