"""Lists of courses as bytes."""

import hashlib
import time
from array import array
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
from fastapi import Request, Response
from numpy.typing import NDArray

from app.api.heads import read_headers
from app.api.recommender import Answer
from app.domain.lists import recommendation_id
from app.schemas.recommendations import PercentOver
from app.serving.explain import Explanation

JSON = b"application/json"
NOT_MODIFIED = 304
TAG_BYTES = 12
PIECES = 4  # of which a reason is made: the course, an amount, what stands between, the other amount

_DATES = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS


class RawResponse(Response):
    """A response whose headers are ready bytes, as making them costs more than all else of it."""

    def __init__(self, body: bytes, headers: list[tuple[bytes, bytes]], status: int = 200) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = headers


class _Clock:
    """Now as JSON, made once a second."""

    def __init__(self) -> None:
        self._second, self._text = 0, b""

    def now(self) -> bytes:
        """Like ``"2026-11-24T10:00:00Z"``."""
        second = int(time.time())
        if second != self._second:
            self._second, self._text = second, orjson.dumps(datetime.fromtimestamp(second, UTC), option=_DATES)
        return self._text


_clock = _Clock()


def list_response(
    request: Request,
    user_id: str | None,
    answer: Answer,
    percent_over: PercentOver,
    courses: Mapping[str, Any] | None = None,
) -> Response:
    """The list with its tag, or 304 when the caller of GET has it already."""
    scope = request.scope
    known = read_headers(scope["headers"]).if_none_match if scope["method"] == "GET" else None
    status, headers, body = list_reply(user_id, answer, percent_over, courses, known)
    return RawResponse(body, headers, status)


def list_reply(
    user_id: str | None,
    answer: Answer,
    percent_over: PercentOver,
    courses: Mapping[str, Any] | None = None,
    known: bytes | None = None,
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body.  known: If-None-Match.

    The tag is made from the list and from what the user has taken, so it is the same in every process.
    """
    items = items_json(answer, courses)
    ranked = answer.ranked
    told = _told(answer) if courses is None and isinstance(answer.reasons, Explanation) else items
    said = b"\x1e".join((str(ranked.model_id).encode(), ranked.source.encode(), answer.taken, told))
    tag = b'W/"%b"' % hashlib.blake2b(said, digest_size=TAG_BYTES).hexdigest().encode()
    headers = [(b"etag", tag), (b"cache-control", b"private")]
    if known is not None and _names(known, tag):
        return NOT_MODIFIED, headers, b""
    body = document(user_id, answer, percent_over, items)
    return 200, [(b"content-length", b"%d" % len(body)), (b"content-type", JSON), *headers], body


def _told(answer: Answer) -> bytes:
    """What tells explained lists apart, a tenth of their JSON: the courses, their scores and what these are sums of."""
    assert isinstance(answer.reasons, Explanation)
    items = answer.ranked.items
    ids = "\x1f".join([item.course_id for item in items]).encode()
    return b"\x1e".join((ids, array("d", [item.score for item in items]).tobytes(), answer.reasons.basis))


def json_response(content: Mapping[str, Any]) -> Response:
    """200 with this."""
    body = orjson.dumps(content)
    return RawResponse(body, [(b"content-length", b"%d" % len(body)), (b"content-type", JSON)])


def items_json(answer: Answer, courses: Mapping[str, Any] | None = None) -> bytes:
    """The courses of a list.  courses: records by id, None: not wanted."""
    items: list[dict[str, Any]] = [
        {"course_id": course_id, "rank": rank, "score": score, "percent": percent}
        for course_id, score, percent, rank in answer.ranked.items
    ]
    if courses is not None:
        for item in items:
            item["course"] = courses.get(item["course_id"])
    if isinstance(answer.reasons, Explanation):
        return _explained_json(items, answer.reasons)
    if answer.reasons is not None:
        for item, because in zip(items, answer.reasons, strict=True):
            item["because"] = [reason._asdict() for reason in because]
    return orjson.dumps(items)


def _explained_json(items: Sequence[Mapping[str, Any]], reasons: Explanation) -> bytes:
    """The same, put together from pieces: hundreds of reasons are written in a third of the time of a serialiser."""
    if not items:
        return b"[]"
    pieces = [b',"percent":'] * (PIECES * reasons.places.size)
    pieces[0::PIECES] = _starts.of(reasons)
    pieces[1::PIECES], pieces[3::PIECES] = _numbers(reasons.contributions), _numbers(reasons.percents)
    size, before = PIECES * reasons.places.shape[1], b"["
    heads = orjson.dumps(items)[1:-2].split(b'},{"')  # inside of a text there is a backslash before a quote
    for head, place in zip(heads, range(0, len(pieces), size), strict=True):
        pieces[place] = b'%b%b,"because":[%b' % (before, head, pieces[place][2:])
        before = b'}]},{"'
    pieces.append(b"}]}]")
    return b"".join(pieces)


def _numbers(amounts: NDArray[np.float32]) -> list[bytes]:
    """Each as JSON; to 32 bits, as the score is."""
    return orjson.dumps(amounts.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


class _Starts:
    """What a reason begins with, of each item of the last model that was asked for: 80 bytes an item."""

    def __init__(self) -> None:
        self._ids: Sequence[str] = ()
        self._starts = np.empty(0, object)  # (I + 1,) bytes, the last of a user's own part

    def of(self, reasons: Explanation) -> list[bytes]:
        """Those of all reasons, course by course."""
        if self._ids is not reasons.ids:
            self._ids = reasons.ids
            starts = [b'},{"course_id":"%b","contribution":' % name for name in _inside(reasons.ids)]
            self._starts = np.array([*starts, b'},{"course_id":null,"contribution":'], object)
        rows = np.empty(len(reasons.rows) + 1, np.intp)
        rows[:-1], rows[-1] = reasons.rows, len(self._ids)
        found: list[bytes] = self._starts.take(rows).take(reasons.places.ravel()).tolist()
        return found


_starts = _Starts()


def _inside(texts: Sequence[str]) -> list[bytes]:
    """Each text as JSON, without the quotes."""
    return orjson.dumps([*texts])[2:-2].split(b'","') if texts else []


def document(user_id: str | None, answer: Answer, percent_over: PercentOver, items: bytes) -> bytes:
    """A list as callers get it."""
    ranked = answer.ranked
    model = b"null" if ranked.model_id is None else b'"%b"' % ranked.model_id.encode()
    return b"".join(
        (
            b'{"user_id":',
            orjson.dumps(user_id),
            b',"model_id":',
            model,
            b',"source":"',
            ranked.source.encode(),
            b'","generated_at":',
            _clock.now(),
            b',"recommendation_id":"',
            recommendation_id(ranked.model_id).encode(),
            b'","percent_over":"',
            percent_over.encode(),
            b'","items":',
            items,
            b"}",
        )
    )


def _names(known: bytes, tag: bytes) -> bool:
    """Whether If-None-Match names the tag; weakly, as RFC 9110 says."""
    opaque = tag.removeprefix(b"W/")
    return known.strip() == b"*" or opaque in {one.strip().removeprefix(b"W/") for one in known.split(b",")}
