"""An interaction as callers send and receive it."""

from datetime import UTC, datetime

from pydantic import BaseModel, Field

from app.schemas.fields import Id, NewId, Number, Record, Text, UtcTime


def _now() -> datetime:
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class Interaction(Record):
    """Something a user did with a course; the key is (user_id, course_id, type)."""

    user_id: NewId
    course_id: NewId
    type: NewId = "enroll"
    value: Number | None = None
    timestamp: UtcTime = Field(default_factory=_now, description="When it happened; default: now")
    recommendation_id: Id | None = Field(
        None, description="Of the list that it follows from; kept when a later row for the same key names none"
    )
    comment: Text | None = Field(None, description="Kept as given; a later row for the same key without one keeps it")
    updated_at: UtcTime | None = Field(None, exclude=True, description="Ignored: the server's own")


class StoredInteraction(BaseModel):
    """An interaction as it is stored."""

    user_id: str
    course_id: str
    type: str
    value: float | None
    timestamp: datetime
    recommendation_id: str | None
    comment: str | None
    updated_at: datetime
