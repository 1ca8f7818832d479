"""One pure ASGI middleware round every request: its id, its metrics, its line in the log, and bugs as 500."""

import logging
import time
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.addresses import check_address
from app.api.at_once import AtOnce
from app.api.compression import compressing
from app.api.exception_handlers import bug_response, problem_response
from app.api.gate import GIVEN
from app.api.heads import NOSNIFF, REQUEST_ID, is_answered, new_request_id, read_headers, without_body
from app.errors import MalformedAddressError
from app.telemetry.logging import request_id
from app.telemetry.metrics import Metrics

logger = logging.getLogger("app.request")

_CLOSED = 499  # the caller went away before there was an answer; nginx's number for it
_CLOSED_TRANSPORT = "the handler is closed"  # what uvloop says to who writes before it has told that the other is gone
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class RequestMiddleware:
    """Outermost of ours, and the only one: each more would cost every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics, at_once: AtOnce) -> None:
        """at_once: asked first."""
        self._app, self._metrics, self._at_once = app, metrics, at_once

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reply = self._at_once(scope)
        if reply is not None:
            await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
            await send({"type": "http.response.body", "body": reply.body})
            return
        began = time.perf_counter()
        given = read_headers(scope["headers"])
        scope[GIVEN] = given.key
        id_ = given.id or new_request_id()
        token = request_id.set(id_.decode())
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                took = b"app;dur=%.2f" % ((time.perf_counter() - began) * 1000)
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID, id_), (b"server-timing", took), NOSNIFF]
            try:
                await send(message)
            except RuntimeError as error:
                if _CLOSED_TRANSPORT not in str(error):
                    raise
                raise ClientDisconnect from error

        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        answer = without_body(send_with_id) if asked is not scope else send_with_id
        try:
            check_address(scope)
            await self._app(asked, receive, compressing(answer) if given.packs else answer)
        except MalformedAddressError as error:
            await problem_response(Request(asked), error)(asked, receive, answer)
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
