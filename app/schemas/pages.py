"""A page of a list, and the cursor that asks for the next one."""

import base64
import binascii
from typing import Generic, TypeVar

from pydantic import BaseModel, Field

Item = TypeVar("Item")


class PageOf(BaseModel, Generic[Item]):
    """Some rows in order; ``next_cursor`` is null on the last page."""

    items: list[Item]
    next_cursor: str | None = Field(
        None, description="Send it as `cursor` to get the next page", json_schema_extra={"format": "cursor"}
    )


def encode_cursor(after: str | None) -> str | None:
    """An opaque cursor of a place in a list."""
    return None if after is None else base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The place of a cursor.  Raises ValueError if it is none of ours."""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise ValueError("not a cursor") from error
