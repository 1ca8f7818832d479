"""One pure ASGI middleware round every request: its id, its metrics, its line in the log, and bugs as 500."""

import logging
import re
import time
from collections.abc import Iterable
from random import getrandbits
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.compression import accepts_gzip, compressing
from app.api.exception_handlers import bug_response
from app.api.gate import GIVEN
from app.api.heads import is_answered, without_body
from app.telemetry.logging import request_id
from app.telemetry.metrics import Metrics

logger = logging.getLogger("app.request")

HEADER = b"x-request-id"
NOSNIFF = b"x-content-type-options", b"nosniff"  # what somebody stored is never run, whatever it looks like
_ACCEPTABLE = re.compile(rb"[!-~]{1,128}")  # printable ASCII, so that it can stand in a header and a log line
_CLOSED = 499  # the caller went away before there was an answer; nginx's number for it
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class RequestMiddleware:
    """Outermost of ours, and the only one: each more would cost every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        given, packs, scope[GIVEN] = _read_headers(scope["headers"])
        id_ = given or b"%016x" % getrandbits(64)
        token = request_id.set(id_.decode())
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                took = b"app;dur=%.2f" % ((time.perf_counter() - began) * 1000)
                message["headers"] = [*message.get("headers", ()), (HEADER, id_), (b"server-timing", took), NOSNIFF]
            await send(message)

        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        answer = without_body(send_with_id) if asked is not scope else send_with_id
        try:
            await self._app(asked, receive, compressing(answer) if packs else answer)
        except ClientDisconnect:
            status = _CLOSED
        except Exception as error:
            if asked is scope or not is_answered(error):
                logger.exception("%s %r failed", scope["method"], scope["path"])
                if status:  # half of an answer is out: break the connection off, so that it cannot pass for whole
                    raise
                await bug_response(Request(scope))(scope, receive, send_with_id)
        finally:
            self._note(scope, asked.get("route"), status or _CLOSED, time.perf_counter() - began)
            request_id.reset(token)

    def _note(self, scope: Scope, route: Any, status: int, seconds: float) -> None:
        method = scope["method"]
        self._metrics.count_request(
            method if method in _METHODS else "other", "unmatched" if route is None else route.path, status, seconds
        )
        quiet = status < 400 or scope["path"].startswith("/health/")  # probes ask all the time; their checks are logged
        level = logging.DEBUG if quiet else logging.INFO if status < 500 else logging.WARNING
        if logger.isEnabledFor(level):
            fields: dict[str, Any] = {"status": status, "milliseconds": round(seconds * 1000, 2)}
            logger.log(level, "%s %r", method, scope["path"], extra=fields)


def _read_headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes | None, bool, bytes | None]:
    """The id that the caller gave, if it can be used, whether the caller takes gzip, and the key."""
    id_, packs, key = None, False, None
    for name, value in headers:
        if name == HEADER:
            id_ = value if _ACCEPTABLE.fullmatch(value) else None
        elif name == b"accept-encoding":
            packs = accepts_gzip(value)
        elif name == b"x-api-key":
            key = value
    return id_, packs, key
