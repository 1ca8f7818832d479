"""Pages of Gorse's lists of records."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Query
from pydantic import BeforeValidator

from app.api.gorse.queries import DEFAULT_N, MOST_ROWS
from app.errors import InvalidValueError
from app.schemas.pages import decode_cursor, encode_cursor
from app.store.records import Page

Read = Callable[[int, str | None], Awaitable[Page[Any]]]
Show = Callable[[dict[str, Any]], dict[str, Any]]

PART = 10_000  # records read at once of a list without pages


async def after_of(
    cursor: Annotated[str, Query(description="`Cursor` of the page before; empty: from the beginning")] = "",
    upper: Annotated[str, Query(alias="Cursor", description="The same, as the TypeScript client sends it")] = "",
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


Rows = Annotated[int, BeforeValidator(_count), Query(alias="n", ge=1, description="Most rows in the page")]
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
