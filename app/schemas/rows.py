"""Rows of a batch, checked one by one: the same rules and the same words for HTTP and for files."""

import itertools
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.errors import InvalidValueError, shown
from app.schemas.fields import MAX_ID_LENGTH
from app.schemas.interactions import Interaction
from app.schemas.reports import RejectedRow

Row = TypeVar("Row", bound=BaseModel)

ID_FIELDS = ("user_id", "course_id", "type")  # what names a row of any kind, in this order
PROBLEMS_NAMED = 3  # of one row; more hide the first one

# "String should have at most 128 characters" -> "at most 128 characters"
_WANTED = re.compile(r"^\w+ should (?:be|have|match) ")


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """Stands in for a row that could not even be parsed; ``problem`` says why."""

    problem: str


def validate_rows(
    model: type[Row],
    rows: Iterable[Any],
    *,
    types: Collection[str] | None = None,
    numbers: Iterable[int] | None = None,
) -> tuple[list[tuple[int, Row]], list[RejectedRow]]:
    """The good rows with their numbers, and the bad ones with what is wrong.

    rows: parsed JSON values; an UnreadableRow is rejected as ``malformed_row``.
    types: accepted interaction types, None: any (other models have none).
    numbers: what each row is called in the report; by default its position, from 0.
    """
    good: list[tuple[int, Row]] = []
    rejected: list[RejectedRow] = []
    validate = model.__pydantic_validator__.validate_python
    for number, row in zip(itertools.count() if numbers is None else numbers, rows, strict=False):
        if isinstance(row, UnreadableRow):
            rejected.append(RejectedRow(index=number, id=None, type="malformed_row", detail=row.problem))
            continue
        try:
            record = validate(row)
        except ValidationError as error:
            rejected.append(reject(number, row, describe(error, model)))
            continue
        if types is not None and isinstance(record, Interaction) and record.type not in types:
            rejected.append(reject(number, row, f"type has value {record.type!r}; wanted one of {', '.join(types)}"))
            continue
        good.append((number, record))
    return good, rejected


def reject(number: int, row: object, detail: str, slug: str = InvalidValueError.slug) -> RejectedRow:
    """A rejection that names the row by as much of its id as can be read."""
    return RejectedRow(index=number, id=row_id(row), type=slug, detail=_encodable(detail))


def row_id(row: object) -> str | None:
    """The id of a row; of an interaction ``user/course/type``, as an id holds no slash."""
    fields = row if isinstance(row, Mapping) else vars(row) if isinstance(row, BaseModel) else {}
    parts = [fields[field] for field in ID_FIELDS if field in fields]
    return (
        _encodable(
            "/".join(part[:MAX_ID_LENGTH] if isinstance(part, str) else shown(part)[:MAX_ID_LENGTH] for part in parts)
        )
        or None
    )


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """One sentence on what is wrong: the key, the value and what was wanted."""
    problems = error.errors(include_url=False, include_context=False)
    sentence = "; ".join(describe_problem(problem, model) for problem in problems[:PROBLEMS_NAMED])
    more = len(problems) - PROBLEMS_NAMED
    return f"{sentence}; and {more} more" if more > 0 else sentence


def describe_problem(problem: ErrorDetails, model: type[BaseModel]) -> str:
    """One problem that Pydantic found, in our words."""
    key, message = ".".join(map(str, problem["loc"]))[:MAX_ID_LENGTH], problem["msg"]
    if problem["type"] == "missing":
        return f"{key} is missing"
    if problem["type"] == "extra_forbidden":
        return f"{key} is not a known key; wanted one of {', '.join(model.model_fields)}"
    if problem["type"] == "model_type":
        return f"the row has value {shown(problem['input'])}; wanted an object"
    wanted, replaced = _WANTED.subn("wanted ", message)
    return f"{key} has value {shown(problem['input'])}; {wanted if replaced else message}"


def _encodable(text: str) -> str:
    """A report must be written as UTF-8, whatever half of a surrogate pair the row held."""
    return text.encode("utf-8", "backslashreplace").decode()
