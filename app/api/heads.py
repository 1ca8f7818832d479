"""Heads of requests and answers: what is read from the one, what stands in every other, and HEAD."""

import re
from collections.abc import Iterable
from random import getrandbits

from starlette.types import Message, Send

from app.api.compression import accepts_gzip

REQUEST_ID = b"x-request-id"
DATA_AGE = "X-Data-Age"
PROMISED_SECONDS = 1.0  # within which every process knows what another stored
NOSNIFF = b"x-content-type-options", b"nosniff"  # what somebody stored is never run, whatever it looks like
_ACCEPTABLE = re.compile(rb"[!-~]{1,128}")  # printable ASCII, so that it can stand in a header and a log line


class Given:
    """What the caller gave in the head: an id if it can be used, a key, the tags of lists that it has; takes gzip."""

    __slots__ = ("id", "if_none_match", "key", "origin", "packs")

    def __init__(self) -> None:
        self.id: bytes | None = None
        self.key: bytes | None = None
        self.if_none_match: bytes | None = None
        self.origin = False  # a page of another host, or of this one
        self.packs = False


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> Given:
    """What we look at in every request; of a header that is there twice the last."""
    given = Given()
    for name, value in headers:
        if name == REQUEST_ID:
            given.id = value if _ACCEPTABLE.fullmatch(value) else None
        elif name == b"accept-encoding":
            given.packs = accepts_gzip(value)
        elif name == b"x-api-key":
            given.key = value
        elif name == b"if-none-match":
            given.if_none_match = value if given.if_none_match is None else given.if_none_match + b"," + value
        elif name == b"origin":
            given.origin = True
    return given


def data_age(lag_seconds: float) -> list[tuple[bytes, bytes]]:
    """What is said of a list by a process that has not heard of others for longer than is promised; else nothing."""
    if lag_seconds <= PROMISED_SECONDS:
        return []
    return [(DATA_AGE.lower().encode(), b"%.1f" % (lag_seconds + 0.05))]  # never less than it is


def new_request_id() -> bytes:
    """Of a request whose caller gave none."""
    return b"%016x" % getrandbits(64)


class _AnsweredError(Exception):
    """The head is out, and the rest of a long answer need not be made."""


def without_body(send: Send) -> Send:
    """The same door, which lets heads through only."""

    async def send_head(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        if message.get("more_body", False):
            raise _AnsweredError

    return send_head


def is_answered(error: BaseException) -> bool:
    """Whether this is how a long answer was broken off; groups of tasks wrap what ends them."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_answered(inner) for inner in error.exceptions)
    return isinstance(error, _AnsweredError)
