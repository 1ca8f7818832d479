"""The natural key of an interaction: ``user_id`` U+001F ``course_id`` U+001F ``type``.

No id holds a control character, so the parts cannot be mistaken, and all keys that begin with the same user (or the
same user and course) are one range.
"""

from app.store.client import Document

SEPARATOR = "\x1f"
_AFTER_SEPARATOR = chr(ord(SEPARATOR) + 1)


def interaction_key(user_id: str, course_id: str, type_: str) -> str:
    """The ``_id`` of an interaction."""
    return f"{user_id}{SEPARATOR}{course_id}{SEPARATOR}{type_}"


def split_key(key: str) -> tuple[str, str, str]:
    """User, course and type of an ``_id``."""
    user_id, course_id, type_ = key.split(SEPARATOR)
    return user_id, course_id, type_


def prefix_range(start: str) -> Document:
    """Condition on a key of printable characters: it begins like this."""
    return {"$gt": start, "$lt": start + chr(0x10FFFF)}


def with_prefix(*parts: str) -> Document:
    """Condition on ``_id``: keys that begin with these parts, each of them whole."""
    start = SEPARATOR.join(parts)
    return {"$gt": start + SEPARATOR, "$lt": start + _AFTER_SEPARATOR}
