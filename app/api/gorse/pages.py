"""Pages of Gorse's lists of records."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Query
from pydantic import BeforeValidator, Field, WithJsonSchema

from app.api.gorse.queries import DEFAULT_N, MOST_ROWS, Absent
from app.errors import InvalidValueError
from app.schemas.pages import decode_cursor, encode_cursor
from app.store.records import Page

Read = Callable[[int, str | None], Awaitable[Page[Any]]]
Show = Callable[[dict[str, Any]], dict[str, Any]]

CURSOR_SCHEMA = WithJsonSchema({"anyOf": [{"type": "string", "format": "cursor"}, {"const": "", "type": "string"}]})
PART = 10_000  # records read at once of a list without pages


async def after_of(
    cursor: Annotated[
        str, CURSOR_SCHEMA, Query(description="`Cursor` of the page before; empty: from the beginning")
    ] = "",
    upper: Annotated[
        str, CURSOR_SCHEMA, Query(alias="Cursor", description="The same, as the TypeScript client sends it")
    ] = "",
) -> str | None:
    """Where the page begins.  Raises InvalidValueError."""
    given = cursor or upper
    if not given:
        return None
    try:
        return decode_cursor(given)
    except ValueError:
        raise InvalidValueError(("query", "cursor"), given, "the Cursor of an earlier page") from None


def _count(value: object) -> object:
    return value or DEFAULT_N if value == "" else value


_Count = Annotated[int, Field(ge=1)]
Rows = Annotated[
    _Count,
    BeforeValidator(_count, json_schema_input_type=_Count | Absent),
    Query(alias="n", description="Most rows in the page"),
]
After = Annotated[str | None, Depends(after_of)]


async def page(read: Read, n: int, after: str | None, name: str, show: Show) -> dict[str, Any]:
    """A page as Gorse shows it."""
    found = await read(min(n, MOST_ROWS), after)
    return {"Cursor": encode_cursor(found.after) or "", name: [show(row.__dict__) for row in found.items]}


async def whole(read: Read, show: Show) -> AsyncIterator[list[dict[str, Any]]]:
    """Everything, a part at a time."""
    after: str | None = None
    while True:
        found = await read(PART, after)
        yield [show(row.__dict__) for row in found.items]
        if (after := found.after) is None:
            return
