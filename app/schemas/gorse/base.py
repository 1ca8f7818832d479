"""What Gorse's three kinds of records have in common."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from app.schemas.fields import EARLIEST, LATEST, Attributes, UtcTime
from app.schemas.gorse.times import parse_time

KEPT = "gorse"  # the attribute under which we keep what only Gorse's clients know

Fields = dict[str, Any]  # of a record of ours
Changes = dict[str, Any]  # of a record of Gorse's: the given fields by name


def _read_time(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(int(value))
    if not isinstance(value, str):
        return value
    try:
        return parse_time(value)
    except ValueError as error:
        raise PydanticCustomError("time", "{wanted}", {"wanted": str(error)}) from None


def _check_kept(value: Any) -> Any:
    _attributes.validate_python({KEPT: {"": value}})
    return value


_attributes = TypeAdapter(Attributes)

Seconds = Annotated[int, Field(ge=1_000_000_000, le=9_999_999_999)]  # with ten digits, as Gorse reads them
SecondsInRange = Annotated[int, Field(ge=1_000_000_000, lt=int(LATEST.timestamp()))]
Empty = Literal[""]
Time = Annotated[datetime | None, BeforeValidator(_read_time, json_schema_input_type=datetime | Seconds | Empty | None)]
TimeInRange = Annotated[
    UtcTime | None, BeforeValidator(_read_time, json_schema_input_type=datetime | SecondsInRange | Empty | None)
]
AnyJson = Annotated[Any, AfterValidator(_check_kept)]


def _null_for_absent(schema: dict[str, Any]) -> None:
    """What need not be given may be null too."""
    for name, field in schema.get("properties", {}).items():
        if name in schema.get("required", ()) or {"type": "null"} in field.get("anyOf", ()):
            continue
        if field.keys() & {"type", "anyOf"}:  # else it may be anything
            about = {key: field.pop(key) for key in ("default", "description", "title") if key in field}
            schema["properties"][name] = {"anyOf": [*field.get("anyOf", [field]), {"type": "null"}], **about}


class GorseRecord(BaseModel):
    """Keys in any case and null for absent, as Go reads them; unknown keys are passed over."""

    model_config = ConfigDict(extra="ignore", json_schema_extra=_null_for_absent)

    @model_validator(mode="before")
    @classmethod
    def _name_as_declared(cls, row: Any) -> Any:
        if not isinstance(row, Mapping):
            return row
        names = {name.lower(): name for name in cls.model_fields}
        return {names.get(key.lower(), key): value for key, value in row.items() if value is not None}


def within_range(time: datetime | None) -> datetime | None:
    """None for a time that our records cannot have."""
    return time if time is not None and EARLIEST <= time < LATEST else None


def kept(fields: Mapping[str, Any]) -> Fields:
    """What only Gorse's clients know of a record of ours."""
    own = (fields.get("attributes") or {}).get(KEPT)
    return dict(own) if isinstance(own, Mapping) else {}


def with_kept(fields: Fields, own: Fields) -> Fields:
    """The record with this kept; None needs no place."""
    attributes = {name: value for name, value in (fields.get("attributes") or {}).items() if name != KEPT}
    own = {name: value for name, value in own.items() if value is not None}
    return {**fields, "attributes": {**attributes, KEPT: own} if own else attributes}


def retaken(fields: Fields, old: Fields, new: Fields) -> Fields:
    """The record with what new labels hold, and without what only the old ones held."""
    gone: Fields = {name: None if name == "features" else type(value)() for name, value in old.items()}
    return {**fields, **gone, **new}


Merge = Callable[[Fields, Changes], Fields]
