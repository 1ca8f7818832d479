"""Reading request bodies: content type, gzip, and a bound on size, before anything is parsed."""

import asyncio
import zlib
from collections.abc import AsyncIterator

import orjson
from fastapi import Request

from app.errors import MalformedBodyError, TooLargeError, UnsupportedMediaError

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")

READ_BYTES = 2**18  # of a body that was put aside, read at once
INFLATE_BYTES = 2**18  # of a compressed body taken out at once, so that a small one cannot fill the memory


def media_type(request: Request) -> str:
    """Content type without its parameters, lower case; empty when there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_json(request: Request, limit_bytes: int) -> bytes:
    """The whole body.  Raises TooLargeError, UnsupportedMediaError, MalformedBodyError."""
    body = bytearray()
    async for chunk in read_chunks(request):
        body += chunk
        if len(body) > limit_bytes:
            raise TooLargeError(f"the body has more than {limit_bytes} bytes; send less at once, or lines of NDJSON")
    return bytes(body)


async def read_chunks(request: Request) -> AsyncIterator[bytes]:
    """The body as it arrives, unpacked.  Raises UnsupportedMediaError, MalformedBodyError."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in {"", "identity"}:
        async for chunk in request.stream():
            yield chunk
    elif encoding in {"gzip", "x-gzip"}:
        async for chunk in _inflate(request.stream()):
            yield chunk
    else:
        raise UnsupportedMediaError(encoding, "gzip or identity", header="Content-Encoding")


async def read_lines(request: Request, limit_bytes: int) -> AsyncIterator[bytes]:
    """Lines that are not blank.  Of a longer one than ``limit_bytes`` only the first ``limit_bytes`` + 1 are given."""
    rest = b""
    async for chunk in read_chunks(request):
        if (not rest and not chunk.strip()) or (len(rest) > limit_bytes and b"\n" not in chunk):
            continue  # gzip makes gigabytes of nothing at all
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if stripped := line[: limit_bytes + 1].strip():
                yield stripped
        rest = rest[: limit_bytes + 1]
    if rest := rest.strip():
        yield rest


async def _inflate(packed: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Members of a gzip file that follow each other are one content."""
    member = zlib.decompressobj(wbits=31)
    started = False
    try:
        async for chunk in packed:
            rest, more = chunk, True
            while rest or more:
                if member.eof:
                    member, started = zlib.decompressobj(wbits=31), False
                started = started or bool(rest)
                data = member.decompress(rest, INFLATE_BYTES)
                yield data
                await asyncio.sleep(0)  # others have their turn, however much comes out of what is here already
                rest = member.unconsumed_tail or member.unused_data
                more = len(data) == INFLATE_BYTES and not member.eof
        if started and not member.eof:
            raise MalformedBodyError("the body ends in the middle of its gzip content")
    except zlib.error as error:
        raise MalformedBodyError(f"the body is not the gzip content that Content-Encoding says: {error}") from None


def parse_json(body: bytes) -> object:
    """The document.  Raises MalformedBodyError that says where it breaks off."""
    if not body.strip():
        raise MalformedBodyError("the body is empty; wanted a JSON document")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedBodyError(f"the body is not JSON: {describe_json_error(error)}") from None


def describe_json_error(error: orjson.JSONDecodeError) -> str:
    """What is wrong and where."""
    return f"{error.msg} at line {error.lineno}, column {error.colno}"


class ParsedRequest(Request):
    """A request whose body has been read and parsed, so that FastAPI does not do it in its own way."""

    def __init__(self, request: Request, body: bytes, document: object) -> None:
        super().__init__(request.scope, request.receive)
        self._raw = body
        self._document = document

    async def body(self) -> bytes:
        """The bytes."""
        return self._raw

    async def json(self) -> object:
        """What they say."""
        return self._document
