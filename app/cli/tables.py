"""Users, courses and interactions as tables: which columns there are, and how a cell is written.

A cell is text, so whatever is more than text has two spellings: one that people type, and JSON for what that cannot
say.  An empty cell is an absent value.  Reading never fails here: what is not understood stays the text that it is,
and the check of the row says what was wanted.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from pydantic import BaseModel

from app.schemas.courses import Course
from app.schemas.interactions import Interaction
from app.schemas.users import User

ALIASES = {"item_id": "course_id"}  # what the recommender field calls it


FLAGS = {
    **dict.fromkeys(("true", "yes", "1", "t", "y", "on"), True),
    **dict.fromkeys(("false", "no", "0", "f", "n", "off"), False),
}


@dataclass(frozen=True, slots=True)
class CellType:
    """How a value is read from a cell that is not empty, and written to one."""

    read: Callable[[str], Any]
    write: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of record as a table."""

    model: type[BaseModel]
    columns: Mapping[str, CellType]
    required: Sequence[str]


def _read_json(cell: str) -> Any:
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell


def _write_json(value: Any) -> str:
    return orjson.dumps(value).decode() if value else ""


def _read_text(cell: str) -> str:
    """A cell of nothing but quotes has two more than the text: ``""`` is the empty text, which is not absent."""
    return cell[2:] if len(cell) > 1 and not cell.strip('"') else cell


def _write_text(text: str) -> str:
    return text if text.strip('"') else text + '""'


def _read_labels(cell: str) -> Any:
    if cell.lstrip().startswith("["):
        return _read_json(cell)
    return [label for part in cell.split("|") if (label := part.strip())]


def _is_plain(label: str) -> bool:
    return "|" not in label and label == label.strip() != ""


def _write_labels(labels: Sequence[str]) -> str:
    plain = all(map(_is_plain, labels)) and not "".join(labels[:1]).startswith("[")
    return "|".join(labels) if plain else _write_json(labels)


def _read_number(cell: str) -> Any:
    try:
        return float(cell)
    except ValueError:
        return cell


def _read_flag(cell: str) -> Any:
    return FLAGS.get(cell.strip().lower(), cell)


def _read_numbers(cell: str) -> Any:
    if cell.lstrip().startswith("["):
        return _read_json(cell)
    return [_read_number(part) for part in re.split(r"[|\s]+", cell) if part]


def _write_numbers(numbers: Sequence[float]) -> str:
    return " ".join(map(repr, numbers))


def _read_interests(cell: str) -> Any:
    if cell.lstrip().startswith(("{", "[")):
        return _read_json(cell)
    interests: dict[str, Any] = {}
    for part in _read_labels(cell):
        tag, colon, weight = part.rpartition(":")
        interests[tag if colon else part] = _read_number(weight) if colon else 1.0
    return interests


def _write_interests(interests: Mapping[str, float]) -> str:
    plain = all(_is_plain(tag) and ":" not in tag for tag in interests)
    if not plain or next(iter(interests), "").startswith(("{", "[")):
        return _write_json(interests)
    return "|".join(f"{tag}:{weight!r}" for tag, weight in interests.items())


def _write_time(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _as_is(cell: str) -> str:
    return cell


WORD = CellType(_as_is, str)  # ids and other text that is never empty
TEXT = CellType(_read_text, _write_text)
FLAG = CellType(_read_flag, lambda flag: "true" if flag else "false")
NUMBER = CellType(_read_number, repr)
TIME = CellType(_as_is, _write_time)
LABELS = CellType(_read_labels, _write_labels)
NUMBERS = CellType(_read_numbers, _write_numbers)
INTERESTS = CellType(_read_interests, _write_interests)
JSON = CellType(_read_json, _write_json)

SERVER_TIMES = {"created_at": TIME, "updated_at": TIME}

TABLES = {
    "users": Table(
        User,
        {"user_id": WORD, "features": NUMBERS, "interests": INTERESTS, "attributes": JSON, **SERVER_TIMES},
        ["user_id"],
    ),
    "courses": Table(
        Course,
        {
            "course_id": WORD,
            "title": TEXT,
            "description": TEXT,
            "categories": LABELS,
            "tags": LABELS,
            "level": WORD,
            "language": WORD,
            "url": TEXT,
            "prerequisites": LABELS,
            "available": FLAG,
            "features": NUMBERS,
            "attributes": JSON,
            "published_at": TIME,
            **SERVER_TIMES,
        },
        ["course_id"],
    ),
    "interactions": Table(
        Interaction,
        {
            **{"user_id": WORD, "course_id": WORD, "type": WORD, "value": NUMBER, "timestamp": TIME},
            **{"recommendation_id": WORD, "comment": TEXT, "updated_at": TIME},
        },
        ["user_id", "course_id"],
    ),
}
