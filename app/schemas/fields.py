"""Types of fields that several schemas share, with their limits."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

MAX_ID_LENGTH = 128  # characters; longer ids are nearly always a mistake, such as a URL or a JSON document
MAX_TEXT_LENGTH = 100_000  # characters; a long course description is about 10,000
MAX_TITLE_LENGTH = 1_000  # characters
MAX_LABELS = 100  # categories, tags or prerequisites of one course
MAX_INTERESTS = 1_000  # of one user
MAX_ATTRIBUTES = 1_000_000  # characters of one record; its document in MongoDB may have 16 MiB
MAX_FEATURES = 4_096  # numbers; the largest common text embeddings have this size

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)  # epoch times start here
LATEST = datetime(2100, 1, 1, tzinfo=UTC)  # a later one is nearly always milliseconds read as seconds


def _check_id(value: str) -> str:
    if not value.isprintable() or "/" in value:
        raise PydanticCustomError("invalid_id", "an id has 1 to 128 printable characters and no '/'")
    return value


def _check_new_id(value: str) -> str:
    """In a path these two are steps, and whatever tidies addresses up takes them out before we see them."""
    if value in {".", ".."}:
        raise PydanticCustomError("invalid_id", "an id must not be '.' or '..', which no address can hold")
    return value


def _check_text(value: str) -> str:
    if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise PydanticCustomError("invalid_text", "text must be valid Unicode without NUL characters")
    return value


def _to_utc_milliseconds(value: datetime) -> datetime:
    """A naive time is read as UTC; finer than a millisecond is cut off, as MongoDB keeps no more."""
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if not EARLIEST <= value < LATEST:
        raise PydanticCustomError("time_out_of_range", "a time must lie between 1970 and 2100")
    finer = value.microsecond % 1000
    return value - timedelta(microseconds=finer) if finer else value  # nearly always none, and copying is dear


def _check_time_kind(value: Any) -> Any:
    """Pydantic would read true as a second after 1970, and large numbers as milliseconds."""
    if isinstance(value, bool):
        raise PydanticCustomError("datetime_type", "a time is an ISO-8601 string or epoch seconds")
    if isinstance(value, int | float) and not 0 <= value < LATEST.timestamp():
        raise PydanticCustomError("time_out_of_range", "a time must lie between 1970 and 2100")
    return value


def _weigh_interests(value: Any) -> Any:
    """A list of tags is a mapping in which each weighs 1."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if not all(isinstance(tag, str) for tag in value):
            raise PydanticCustomError("interests_type", "interests are {tag: weight} or [tag, ...]")
        return dict.fromkeys(value, 1.0)
    return value


def _check_json(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Attributes are kept as given, so whatever MongoDB could not give back is refused."""
    pending: list[tuple[Any, int, str]] = [(value, 0, "")]
    n_characters = 0
    while pending:
        item, depth, name = pending.pop()
        n_characters += len(item) if isinstance(item, str) else 24  # of a number at most
        if n_characters > MAX_ATTRIBUTES:
            raise PydanticCustomError("too_large", f"attributes must not have more than {MAX_ATTRIBUTES:,} characters")
        if depth > 20:  # levels; MongoDB ends at 100, and no sane attribute comes near
            raise PydanticCustomError("too_deep", "attributes must not be nested deeper than 20 levels")
        if isinstance(item, Mapping):
            for key, member in item.items():
                _check_text(key)
                n_characters += len(key)
                pending.append((member, depth + 1, key))
        elif isinstance(item, list):
            pending.extend((member, depth + 1, name) for member in item)
        elif isinstance(item, str):
            _check_text(item)
        elif (isinstance(item, int) and not -(2**63) <= item < 2**63) or (
            isinstance(item, float) and not -(2**63) < item < 2**63  # perhaps a whole one, rounded as JSON was read
        ):
            raise PydanticCustomError(
                "number_out_of_range",
                "the number of {key} must fit in 64 bits (-2^63 to 2^63 - 1); a larger one is kept as text",
                {"key": repr(name[:MAX_ID_LENGTH])},
            )
    return value


# What JSON Schema cannot say of an id (all its characters are printable) is in the name of the format.
_id_schema, _text_schema = (
    Field(json_schema_extra={"format": "id"}),
    Field(json_schema_extra={"pattern": "^[^\\u0000]*$"}),
)

Id = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=MAX_ID_LENGTH), AfterValidator(_check_id), _id_schema
]
NewId = Annotated[Id, AfterValidator(_check_new_id)]  # of what is written; what is there already keeps its id
Text = Annotated[
    str, StringConstraints(strict=True, max_length=MAX_TEXT_LENGTH), AfterValidator(_check_text), _text_schema
]
Title = Annotated[
    str, StringConstraints(strict=True, max_length=MAX_TITLE_LENGTH), AfterValidator(_check_text), _text_schema
]
Label = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=MAX_ID_LENGTH),
    AfterValidator(_check_text),
    _text_schema,
]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]  # true is not 1, and "1" is no number
EpochSeconds = Annotated[float, Field(ge=0, lt=LATEST.timestamp())]
Labels = Annotated[list[Label], Field(max_length=MAX_LABELS)]
Interests = Annotated[
    dict[Label, Number],
    BeforeValidator(_weigh_interests, json_schema_input_type=dict[Label, Number] | list[Label]),
    Field(max_length=MAX_INTERESTS),
]
FeatureVector = Annotated[list[Number], Field(min_length=1, max_length=MAX_FEATURES)]
Attributes = Annotated[dict[str, Any], AfterValidator(_check_json)]
UtcTime = Annotated[
    datetime,
    BeforeValidator(_check_time_kind, json_schema_input_type=datetime | EpochSeconds),
    AfterValidator(_to_utc_milliseconds),
]


class Record(BaseModel):
    """Base of what callers send: an unknown key is an error, since ignoring it would lose data silently."""

    model_config = ConfigDict(extra="forbid")


class ServerTimes(BaseModel):
    """When the server created a record and last wrote it."""

    created_at: datetime
    updated_at: datetime
