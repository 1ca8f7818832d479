"""Items, our courses, as Gorse's clients write and read them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field, StrictBool

from app.schemas import fields as types
from app.schemas.fields import MAX_TITLE_LENGTH, NewId, Text
from app.schemas.gorse.base import (
    AnyJson,
    Changes,
    Fields,
    GorseRecord,
    Time,
    kept,
    retaken,
    with_kept,
    within_range,
)
from app.schemas.gorse.labels import fields_of_item
from app.schemas.gorse.times import ZERO, parse_time, write_time

ITEM_EXAMPLE = {
    "ItemId": "python",
    "IsHidden": False,
    "Categories": ["Programming"],
    "Timestamp": "2026-01-15T00:00:00Z",
    "Labels": {"tags": ["python"], "hours": 12},
    "Comment": "Python Programming",
}


class GorseItemFields(GorseRecord):
    """All of an item but the id; in a PATCH null is the same as absent."""

    IsHidden: StrictBool = Field(default=False, description="true: never recommended; our `available` is the opposite")
    Categories: types.Labels = Field([], description="Our categories")
    Timestamp: Time = Field(None, description="When it came out, in nearly any form; our `published_at`")
    Labels: AnyJson = Field(None, description="Any JSON, kept as given; tags and features are taken from it")
    Comment: Text = Field("", description="Our title")


class GorseItem(GorseItemFields):
    """An item."""

    ItemId: NewId


def merge_item(fields: Fields, changes: Changes) -> Fields:
    """A course of ours with these changes."""
    own = kept(fields)
    if "Labels" in changes and changes["Labels"] != item_labels(fields):
        fields = retaken(fields, fields_of_item(own.get("Labels")), fields_of_item(changes["Labels"]))
        own["Labels"] = changes["Labels"]
    if "IsHidden" in changes:
        fields = {**fields, "available": not changes["IsHidden"]}
    if "Categories" in changes:
        fields = {**fields, "categories": changes["Categories"]}
    if "Timestamp" in changes:
        time: datetime | None = changes["Timestamp"]
        fields = {**fields, "published_at": within_range(time)}
        own["Timestamp"] = None if within_range(time) == time else write_time(time)
    if "Comment" in changes:
        comment: str = changes["Comment"]
        fields = {**fields, "title": comment[:MAX_TITLE_LENGTH] or None}
        own["Comment"] = comment if len(comment) > MAX_TITLE_LENGTH else None
    return with_kept(fields, own)


def item_labels(fields: Mapping[str, Any]) -> Any:
    """As they were given; of a course written otherwise, the tags."""
    own = kept(fields)
    return own["Labels"] if "Labels" in own else list(fields.get("tags") or ()) or None


def item_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A course of ours as Gorse shows it."""
    own, title, published = kept(fields), fields.get("title") or "", fields.get("published_at")
    comment = own.get("Comment", "")
    time = parse_time(published) if isinstance(published, str) else published
    return {
        "ItemId": fields["course_id"],
        "IsHidden": not fields.get("available", True),
        "Categories": list(fields.get("categories") or ()),
        "Timestamp": write_time(time) if time else own.get("Timestamp", ZERO),
        "Labels": item_labels(fields),
        "Comment": comment if comment.startswith(title) else title,
    }
