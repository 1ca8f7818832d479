"""What of Gorse's ``Labels`` our model can learn from.

Labels are any JSON and are kept as given.  A list of texts is a list of tags; an object may hold ``tags``, ``features``
and, of a user, ``interests``, whatever the case of these keys.  What does not fit is not taken, and is no error.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.schemas.fields import MAX_INTERESTS, MAX_LABELS, FeatureVector, Interests, Label

Taken = dict[str, Any]

_label = TypeAdapter(Label)
_interests = TypeAdapter(Interests)
_features = TypeAdapter(FeatureVector)


def fields_of_item(labels: Any) -> Taken:
    """``tags`` and ``features``, those of them that are there."""
    found = _members(labels)
    return {name: value for name in ("tags", "features") if (value := found.get(name))}


def fields_of_user(labels: Any) -> Taken:
    """``interests`` and ``features``, those of them that are there."""
    found = _members(labels)
    interests = found.get("interests") or dict.fromkeys(found.get("tags", ())[:MAX_INTERESTS], 1.0)
    taken = {"interests": interests, "features": found.get("features")}
    return {name: value for name, value in taken.items() if value}


def _members(labels: Any) -> Taken:
    if isinstance(labels, list):
        return {"tags": _texts(labels)}
    if not isinstance(labels, Mapping):
        return {}
    members = {str(key).lower(): value for key, value in labels.items()}
    return {
        "tags": _texts(members.get("tags")),
        "features": _valid(_features, members.get("features")),
        "interests": _valid(_interests, members.get("interests")),
    }


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return []
    return [text for text in dict.fromkeys(value) if _valid(_label, text)][:MAX_LABELS]


def _valid(adapter: TypeAdapter[Any], value: Any) -> Any:
    if value is None:
        return None
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return None
