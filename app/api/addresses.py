"""Addresses whose percent-encoded bytes are text; of others a reader makes replacement characters, and another id."""

from urllib.parse import unquote_to_bytes

from starlette.types import Scope

from app.errors import MalformedAddressError

REPLACED = "\ufffd"  # what the server puts for a byte that is no UTF-8; it may stand in an id, too


def check_address(scope: Scope) -> None:
    """Raises MalformedAddressError if path or query of a request are no UTF-8."""
    if REPLACED in scope["path"]:
        _check("path", scope.get("raw_path") or b"")
    query: bytes = scope["query_string"]
    if b"%" in query:
        _check("query", query)


def _check(part: str, raw: bytes) -> None:
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise MalformedAddressError(part, error.object[error.start : error.end]) from None
