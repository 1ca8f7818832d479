"""Feedback, our interactions, as Gorse's clients write and read it."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from app.schemas.fields import Id, NewId, Number, Text
from app.schemas.gorse.base import GorseRecord, TimeInRange
from app.schemas.gorse.times import write_time
from app.schemas.interactions import Interaction

FEEDBACK_EXAMPLE = {
    "FeedbackType": "like",
    "UserId": "ada",
    "ItemId": "python",
    "Value": 1.0,
    "Timestamp": "2026-11-24T09:30:00Z",
    "Comment": "",
}


class GorseFeedback(GorseRecord):
    """Something a user did with an item; the key is (FeedbackType, UserId, ItemId)."""

    FeedbackType: NewId = Field(description="Any; COURSEGRAPH_INTERACTION_WEIGHTS says what it weighs, by default 1")
    UserId: NewId
    ItemId: NewId
    Value: Number | None = Field(None, description="Our `value`: kept, and weighs nothing")
    Timestamp: TimeInRange = Field(None, description="In nearly any form; default: now")
    Comment: Text = Field("", description="Our `comment`")


class GorseSessionFeedback(GorseRecord):
    """What of feedback counts in a session, in which nobody need have an id."""

    FeedbackType: str = ""
    ItemId: Id


def to_interaction(given: GorseFeedback) -> Interaction:
    """An interaction of ours."""
    when = {} if given.Timestamp is None else {"timestamp": given.Timestamp}
    return Interaction.model_validate(
        {
            "user_id": given.UserId,
            "course_id": given.ItemId,
            "type": given.FeedbackType,
            "value": given.Value,
            "comment": given.Comment or None,
            **when,
        }
    )


def feedback_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    """An interaction of ours as Gorse shows it."""
    return {
        "FeedbackType": fields["type"],
        "UserId": fields["user_id"],
        "ItemId": fields["course_id"],
        "Value": fields["value"] or 0.0,
        "Timestamp": write_time(fields["timestamp"]),
        "Comment": fields["comment"] or "",
    }
