"""What the service holds, and what a search finds."""

from datetime import datetime

from pydantic import BaseModel, Field


class LabelCount(BaseModel):
    """A label and how many courses have it."""

    label: str
    courses: int


class Labels(BaseModel):
    """What courses can be filtered by, most frequent first, at most 200 of each."""

    categories: list[LabelCount] = []
    tags: list[LabelCount] = []
    levels: list[LabelCount] = []
    languages: list[LabelCount] = []


class Limits(BaseModel):
    """How much is taken at once and in all."""

    json_rows: int = Field(description="Most rows of a JSON array")
    json_bytes: int = Field(description="Largest JSON body, unpacked")
    spool_bytes: int = Field(description="Most NDJSON with `on_error=abort`; without it there is no limit")
    users: int | None = Field(description="Users above which no new ones are taken; null: any number")
    courses: int | None = Field(description="Courses above which no new ones are taken; null: any number")
    interactions: int | None = Field(description="Interactions above which no new ones are taken; null: any number")


class Statistics(BaseModel):
    """What the service holds and how fresh it is."""

    users: int = Field(description="About how many there are")
    courses: int = Field(description="About how many there are")
    interactions: int = Field(description="About how many there are")
    model_id: str | None = Field(description="What this process serves; null before the first model")
    last_change_at: datetime | None = Field(description="Last write that this process heard of since it began")
    change_stream_lag_seconds: float = Field(description="How old what is known of other processes' writes may be")
    interaction_types: list[str]
    labels: Labels
    limits: Limits


class FoundCourse(BaseModel):
    """A course whose title or id holds the text."""

    course_id: str
    title: str | None
    categories: list[str]


class Found(BaseModel):
    """Users and courses for a text that somebody types."""

    users: list[str] = Field(description="Ids that begin with the text, in order")
    courses: list[FoundCourse] = Field(description="Titles that begin with the text first")
