"""Users as Gorse's clients write and read them."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from app.schemas.fields import NewId, Text
from app.schemas.gorse.base import AnyJson, Changes, Fields, GorseRecord, kept, retaken, with_kept
from app.schemas.gorse.labels import fields_of_user

USER_EXAMPLE = {"UserId": "ada", "Labels": ["statistics", "python"], "Subscribe": None, "Comment": "Ada L."}


class GorseUserFields(GorseRecord):
    """All of a user but the id; in a PATCH null is the same as absent."""

    Labels: AnyJson = Field(None, description="Any JSON, kept as given; interests and features are taken from it")
    Subscribe: list[Text] | None = Field(None, description="Kept as given")
    Comment: Text = Field("", description="Kept as given")


class GorseUser(GorseUserFields):
    """A user."""

    UserId: NewId


def merge_user(fields: Fields, changes: Changes) -> Fields:
    """A user of ours with these changes."""
    own = kept(fields)
    if "Labels" in changes and changes["Labels"] != user_labels(fields):
        fields = retaken(fields, fields_of_user(own.get("Labels")), fields_of_user(changes["Labels"]))
        own["Labels"] = changes["Labels"]
    if "Subscribe" in changes:
        own["Subscribe"] = changes["Subscribe"]
    if "Comment" in changes:
        own["Comment"] = changes["Comment"] or None
    return with_kept(fields, own)


def user_labels(fields: Mapping[str, Any]) -> Any:
    """As they were given; of a user written otherwise, the interests."""
    own = kept(fields)
    return own["Labels"] if "Labels" in own else list(fields.get("interests") or ()) or None


def user_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A user of ours as Gorse shows it."""
    own = kept(fields)
    return {
        "UserId": fields["user_id"],
        "Labels": user_labels(fields),
        "Subscribe": own.get("Subscribe"),
        "Comment": own.get("Comment", ""),
    }
