"""Answers as Gorse's clients take them: 200 and JSON, or another status and plain text."""

from collections.abc import AsyncIterator, Iterable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import Request, Response
from starlette.responses import StreamingResponse

from app.api.answers import JSON, RawResponse

PREFIX = "/api"
TAG = "gorse"
TEXT = "text/plain; charset=utf-8"


def is_gorse(request: Request) -> bool:
    """Whether it is one of Gorse's calls."""
    return TAG in getattr(request.scope.get("route"), "tags", ())


def error_text(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error; what we call 422 is 400 to Gorse."""
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.BAD_REQUEST
    return Response(detail, status, headers, TEXT)


def ok(content: Any) -> Response:
    """200 with this."""
    body = orjson.dumps(content)
    return RawResponse(body, [(b"content-length", b"%d" % len(body)), (b"content-type", JSON)])


def affected(rows: int) -> Response:
    """How many rows were really written or removed."""
    return ok({"RowAffected": rows})


async def ok_array(parts: AsyncIterator[Iterable[Any]]) -> Response:
    """200 with one array of all of them, sent as they come; what goes wrong before the first ones is an error."""
    first = await anext(parts, None)
    return StreamingResponse(_array(first or (), parts), media_type="application/json")


async def _array(first: Iterable[Any], parts: AsyncIterator[Iterable[Any]]) -> AsyncIterator[bytes]:
    texts = [orjson.dumps(item) for item in first]
    yield b"[" + b",".join(texts)
    empty = not texts
    async for part in parts:
        texts = [orjson.dumps(item) for item in part]
        if texts:
            yield (b"" if empty else b",") + b",".join(texts)
            empty = False
    yield b"]"
