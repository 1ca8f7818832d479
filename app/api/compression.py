"""gzip for long answers to those who take it, also for answers that are sent bit by bit."""

import zlib

from starlette.types import Message, Send

LEAST_BYTES = 1400  # of an answer worth packing: shorter ones travel in one packet anyway
LEVEL = 3  # JSON to an eighth at 100 MB/s; the highest level halves the speed thrice for a tenth less
WBITS = 31  # zlib's name for the gzip format

Headers = list[tuple[bytes, bytes]]

_TEXT = (b"application/json", b"application/x-ndjson", b"application/problem+json", b"text/", b"image/svg+xml")
_STREAMED = b"text/event-stream"  # each event matters at once


def accepts_gzip(value: bytes) -> bool:
    """Whether a value of Accept-Encoding takes gzip."""
    for item in value.lower().split(b","):
        coding, *parameters = (part.strip() for part in item.split(b";"))
        if coding in {b"gzip", b"*"}:
            return not any(part.replace(b" ", b"") in {b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"} for part in parameters)
    return False


def compressing(send: Send) -> Send:
    """The same door, through which long texts go packed; the start waits for the first bytes, which tell the length."""
    start: Message | None = None
    packer: zlib._Compress | None = None

    async def send_packed(message: Message) -> None:
        nonlocal start, packer
        if message["type"] == "http.response.start":
            start = message
            return
        if message["type"] != "http.response.body":
            await send(message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if start is not None:
            if more and not body:
                return  # nothing to tell yet
            if _is_worth(start, len(body), more=more):
                packer = zlib.compressobj(LEVEL, wbits=WBITS)
                body = _pack(packer, body, more=more)
                start["headers"] = _described(start["headers"], None if more else len(body))
            await send(start)
            start = None
        elif packer is not None:
            body = _pack(packer, body, more=more)
        await send({"type": "http.response.body", "body": body, "more_body": more})

    return send_packed


def _is_worth(start: Message, size: int, *, more: bool) -> bool:
    headers = dict(start["headers"])
    kind = headers.get(b"content-type", b"")
    packable = kind.startswith(_TEXT) and not kind.startswith(_STREAMED) and b"content-encoding" not in headers
    return packable and (more or size >= LEAST_BYTES)


def _pack(packer: "zlib._Compress", body: bytes, *, more: bool) -> bytes:
    """What is given so far is always sent, so that nobody waits for the rest."""
    return packer.compress(body) + packer.flush(zlib.Z_SYNC_FLUSH if more else zlib.Z_FINISH)


def packed(headers: Headers, body: bytes) -> tuple[Headers, bytes]:
    """Headers and body of a whole text that is worth packing."""
    body = _pack(zlib.compressobj(LEVEL, wbits=WBITS), body, more=False)
    return _described(headers, len(body)), body


def _described(headers: Headers, size: int | None) -> Headers:
    headers = [(name, value) for name, value in headers if name != b"content-length"]
    if size is not None:
        headers.append((b"content-length", b"%d" % size))
    return [*headers, (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
