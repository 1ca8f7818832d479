"""HTTP on one connection: uvicorn's, with an end to the patience and a problem document for what is no HTTP.

Uvicorn waits for ever for the rest of a request and takes a head of any size.
"""

import asyncio
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.schemas.problems import MEDIA_TYPE, problem

HEAD_BYTES = 2**17  # of a request line and headers that come in pieces; the longest list of ids in a query is shorter


def protocol_class(*, head_seconds: float, body_seconds: float) -> type[HttpToolsProtocol]:
    """A protocol that gives a client so long for a head, and between two pieces of a body."""

    class Protocol(PatientProtocol):
        pass

    Protocol.head_seconds, Protocol.body_seconds = head_seconds, body_seconds
    return Protocol


class PatientProtocol(HttpToolsProtocol):
    """A timer runs only while a piece of a request is missing, so that a request in one packet pays nothing."""

    head_seconds: float
    body_seconds: float

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """A client came, which is expected to ask something soon."""
        super().connection_made(transport)
        self._wait(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """A client went."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a request, all of it, or several."""
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
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """The last byte of a head."""
        self._in_head, self._in_body = False, True
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The last byte of a body."""
        self._in_body = False
        self._stop_waiting()
        super().on_message_complete()

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
