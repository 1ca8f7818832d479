"""HTTP on one connection: uvicorn's, with an end to the patience and a problem document for what is no HTTP.

Uvicorn waits for ever for the rest of a request and takes a head of any size.  For each request it makes a task, which
takes half the time of a list; what can be answered at once needs none.
"""

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api.at_once import Reply
from app.schemas.problems import MEDIA_TYPE, problem

HEAD_BYTES = 2**17  # of a request line and headers that come in pieces; the longest list of ids in a query is shorter
PLAIN = re.compile(rb"(/[\w/.~-]+)(?:\?([!-\"$-~]*))?")  # an address with nothing to decode before its query
BODIES = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})  # headers of what takes longer

AtOnce = Callable[[Scope], Reply | None]


def protocol_class(
    *, head_seconds: float, body_seconds: float, at_once: AtOnce | None = None, not_on: int | None = None
) -> type[HttpToolsProtocol]:
    """A protocol that gives a client so long for a head, and between two pieces of a body.

    at_once: answers what it can before there is a task, but not on the port ``not_on``.
    """

    class Protocol(PatientProtocol):
        pass

    Protocol.head_seconds, Protocol.body_seconds = head_seconds, body_seconds
    Protocol.heads, Protocol.not_on = Heads(at_once), not_on
    return Protocol


class Heads:
    """What begins each answer; and what answers at once, for all connections."""

    def __init__(self, at_once: AtOnce | None) -> None:
        self.at_once = at_once
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._begun: bytes | None = None

    def begun(self, headers: list[tuple[bytes, bytes]]) -> bytes | None:
        """Uvicorn's headers, a new list each second; None when connections are to be closed."""
        if headers is not self._headers:
            closing = any(name == b"connection" for name, _ in headers)
            self._begun = None if closing else _lines(headers)
            self._headers = headers
        return self._begun


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


class PatientProtocol(HttpToolsProtocol):
    """A timer runs only while a piece of a request is missing, so that a request in one packet pays nothing."""

    head_seconds: float
    body_seconds: float
    heads: Heads
    not_on: int | None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0
        self._at_once: AtOnce | None = None
        self._first = self._answered = False  # of what came together; and at once

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """A client came, which is expected to ask something soon."""
        super().connection_made(transport)
        if self.server is None or self.server[1] != self.not_on:
            self._at_once = self.heads.at_once
        self._wait(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """A client went."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a request, all of it, or several."""
        self._first = True
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the head has more than {HEAD_BYTES} bytes")
            elif self._timer is None:
                self._wait(self.head_seconds)
        elif self._in_body:
            self._wait(self.body_seconds)

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        super().on_message_begin()
        self._in_head, self._head_bytes, self._answered = True, 0, False

    def on_headers_complete(self) -> None:
        """The last byte of a head."""
        self._in_head, self._in_body = False, True
        self._stop_waiting()
        # Of several that came together the others wait for their turn, as those on other connections do.
        if self._first and self._at_once is not None:
            self._first = False
            self._answer_at_once(self._at_once)
        if not self._answered:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The last byte of a body."""
        self._in_body = False
        self._stop_waiting()
        if not self._answered:
            super().on_message_complete()

    def _answer_at_once(self, at_once: AtOnce) -> None:
        """Answer a GET without a body, if nothing stands before it and nothing is unusual about it."""
        address = PLAIN.fullmatch(self.url)
        if address is None or self.parser.get_method() != b"GET" or self.parser.get_http_version() != "1.1":
            return
        busy = (self.cycle is not None and not self.cycle.response_complete) or self.flow.write_paused
        if busy or self.root_path or not self.parser.should_keep_alive() or self.transport.is_closing():
            return
        for name, _ in self.headers:
            if name in BODIES:
                return
        begun = self.heads.begun(self.server_state.default_headers)
        if begun is None:
            return
        scope: dict[str, Any] = self.scope  # type: ignore[assignment] # as ASGI's applications take it
        path, query = address.groups(b"")
        scope["method"], scope["path"], scope["raw_path"], scope["query_string"] = "GET", path.decode(), path, query
        reply = at_once(scope)
        if reply is not None:
            self._answered = True
            head = STATUS_LINE[reply.status], begun, _lines(reply.headers)
            self.transport.write(b"".join((*head, b"\r\n", reply.body)))
            self.on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, "the request is not HTTP that can be read, or its address is too long")

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(seconds, self._give_up, seconds)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self, seconds: float) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._in_body and self.flow.read_paused:  # it is we who do not read
            self._wait(seconds)
        elif self._in_head or self._in_body:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the rest of the request did not come within {seconds:g} s")
        else:  # nothing was asked, so nothing is answered
            self.transport.close()

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer, unless an answer has begun, and close."""
        self._stop_waiting()
        begun = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not begun:
            title = status.phrase
            type_ = "malformed_request" if status == HTTPStatus.BAD_REQUEST else title.lower().replace(" ", "_")
            document = problem(type_=type_, title=title, status=status, detail=detail, instance="", request_id="")
            body = orjson.dumps(document)
            head = f"HTTP/1.1 {status.value} {title}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
