"""Reading bodies: whatever their content type says, they are JSON, as Gorse's clients differ in what they say."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.api.bodies import parse_json, read_json
from app.errors import MalformedBodyError
from app.schemas.rows import describe

Row = TypeVar("Row", bound=BaseModel)
Item = TypeVar("Item")

CHUNK_ROWS = 2_000  # written at once


async def read_rows(request: Request, model: type[Row]) -> list[Row]:
    """The rows of an array; null is none, as Go writes an empty one.

    All are good, or MalformedBodyError names the first bad one and nothing is to be written.  Raises TooLargeError.
    """
    document = parse_json(await read_json(request, request.app.state.body_limit_bytes))
    if document is None:
        return []
    if not isinstance(document, list):
        raise MalformedBodyError(
            f"the body is {'an object' if isinstance(document, dict) else 'a value'}; wanted an array"
        )
    rows: list[Row] = []
    for number, row in enumerate(document):
        rows.append(_checked(row, model, f"row {number}"))
        if number % CHUNK_ROWS == CHUNK_ROWS - 1:
            await asyncio.sleep(0)  # let others have their turn
    return rows


async def read_row(request: Request, model: type[Row]) -> Row:
    """One object.  Raises MalformedBodyError, TooLargeError."""
    document = parse_json(await read_json(request, request.app.state.body_limit_bytes))
    return _checked(document, model, "body")


def given_fields(row: BaseModel) -> dict[str, Any]:
    """The fields of a PATCH that were given; null is not given."""
    return {name: value for name, value in row if name in row.model_fields_set}


def chunks(rows: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The rows, so many at a time that writing them does not stop all else."""
    return (rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS))


def _checked(row: object, model: type[Row], place: str) -> Row:
    try:
        return model.model_validate(row)
    except ValidationError as error:
        raise MalformedBodyError(f"{place}: {describe(error, model)}") from None
