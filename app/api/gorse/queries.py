"""Reading query strings of lists."""

import re
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from app.schemas.fields import Id, Label, NewId
from app.schemas.recommendations import MAX_OFFSET
from app.serving.options import Options

DEFAULT_N = 10  # as Gorse's
Absent = Literal[""]  # what is empty in a query is absent
MOST_ROWS = 10_000  # in an answer; Gorse sets no limit
QUERIES_KEPT = 1_000
QUERY_BYTES = 500  # of the longest that is kept

# As many digits as stay within what a timestamp may be: six parts of 9999h are 7 years, of 99999999s 19 years.
_NUMBERS = r"[0-9]{1,4}(\.[0-9]{1,9})?h|[0-9]{1,6}(\.[0-9]{1,9})?m|[0-9]{1,8}(\.[0-9]{1,9})?(s|ms|us|µs)|[0-9]{1,16}ns"
DURATION = rf"^(0|-?({_NUMBERS}){{1,6}})$"
_DURATION = re.compile(DURATION)
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


_Duration = Annotated[str, Field(pattern=DURATION.replace("^(", "^(|"))]


def _read_duration(value: Any) -> Any:
    """Go's way to write a duration: ``10m``, ``1h30m``."""
    if not isinstance(value, str):
        return value
    if not _DURATION.fullmatch(value):
        raise PydanticCustomError("duration", "wanted a duration such as 10m or 1h30m")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))
    return timedelta(seconds=-seconds if value.startswith("-") else seconds)


def _at_most(limit: int) -> BeforeValidator:
    """A shorter list is no error, so a larger number stands for the limit."""
    return BeforeValidator(
        lambda value: str(limit) if isinstance(value, str) and _exceeds(value, limit) else value,
        json_schema_input_type=Annotated[int, Field(ge=0)] | Absent,
    )


def _documented(type_: Any) -> BeforeValidator:
    """What the document says of a value that is validated as it is."""
    return BeforeValidator(lambda value: value, json_schema_input_type=type_)


def _exceeds(value: str, limit: int) -> bool:
    return value.isascii() and value.isdigit() and (len(value) > len(str(limit)) or int(value) > limit)


class GorseListOptions(BaseModel):
    """Which part of which list."""

    model_config = ConfigDict(extra="ignore")

    n: Annotated[int, _at_most(MOST_ROWS)] = Field(DEFAULT_N, ge=0, description="Most entries in the list")
    offset: Annotated[int, _at_most(MAX_OFFSET)] = Field(0, ge=0, description="Entries to pass over")
    category: Annotated[list[Label], _documented(list[Label | Absent] | Label | Absent)] = Field(
        [], description="Only items in any of these", examples=[["Programming"]]
    )

    def options(self, exclude: tuple[str, ...] = ()) -> Options:
        """What serving needs to know; for a list of none one, as serving knows no empty list."""
        return Options(n=self.n or 1, offset=self.offset, categories=tuple(self.category), exclude=exclude)


Given = TypeVar("Given", bound=GorseListOptions)


class GorseUnreadOptions(GorseListOptions):
    """Of lists that are the same for all."""

    user_id: Annotated[Id | None, _documented(Id | Absent)] = Field(
        None, alias="user-id", description="Leave out what this user has taken"
    )


class GorseRecommendOptions(GorseListOptions):
    """Of lists that may be noted as read."""

    write_back_type: Annotated[NewId | None, _documented(NewId | Absent)] = Field(
        None, alias="write-back-type", description="Write what is listed as feedback of this type"
    )
    write_back_delay: Annotated[timedelta, BeforeValidator(_read_duration, json_schema_input_type=_Duration)] = Field(
        default_factory=timedelta,
        alias="write-back-delay",
        description="With a timestamp so much later",
        examples=["10m"],
    )


def read_list_query(model: type[Given], query: bytes, category: str | None) -> Given:
    """What the query string and the category in the path say; what is empty is absent.

    Raises RequestValidationError.
    """
    return (_read if len(query) > QUERY_BYTES else _read_once)(model, query, category)


def _read(model: type[Given], query: bytes, category: str | None) -> Given:
    values: dict[str, Any] = {}
    categories: list[str] = []
    for name, value in parse_qsl(query.decode("latin-1")):
        if name == "category":
            categories.append(value)
        else:
            values[name] = value
    if not categories and category:
        categories = [category]
    try:
        return model.model_validate({**values, "category": categories})
    except ValidationError as error:
        problems = [{**problem, "loc": ("query", *problem["loc"])} for problem in error.errors(include_url=False)]
        raise RequestValidationError(problems) from None


_read_once = lru_cache(QUERIES_KEPT)(_read)
