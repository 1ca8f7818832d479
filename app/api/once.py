"""Batches with an ``Idempotency-Key``: done once, and whoever asks again is given the first answer."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from hashlib import blake2b
from typing import Annotated

import orjson
from fastapi import Header, Request, Response
from starlette.responses import StreamingResponse

from app.api.batches import SPOOL_BYTES, batch_place
from app.api.bodies import READ_BYTES
from app.errors import KeyInUseError, KeyReusedError, TooLargeError
from app.store.client import UNAVAILABLE_ERRORS
from app.store.given_answers import CLAIM_SECONDS, Claim, GivenAnswer, GivenAnswerStore, Refusal

REPLAYED = {"Idempotency-Replayed": "true"}

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern="^[!-~]{1,255}$",
        description="Any text that stands for this batch alone, such as a UUID: sent again with the same key and body "
        "within COURSEGRAPH_IDEMPOTENCY_SECONDS it is not done again but gets the first answer, with "
        "`Idempotency-Replayed: true`; 409 while it is in progress, 422 with another body",
        examples=["5f0c6a52-9a3e-4a55-8a3c-0d2f3b1c7e11"],
    ),
]


async def once(
    request: Request, key: str | None, answers: GivenAnswerStore, take: Callable[[Request], Awaitable[Response]]
) -> Response:
    """What ``take`` answers, or what it answered before.  Errors that it raises are not kept.

    Raises KeyInUseError, KeyReusedError, TooLargeError.
    """
    if key is None:
        return await take(request)
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
        with batch_place(request):
            digest = await _put_aside(request, spool)
        found = await answers.claim(_name(request, key), digest)
        if isinstance(found, GivenAnswer):
            return Response(found.body, found.status, REPLAYED, found.media_type)
        if found is Refusal.another_body:
            raise KeyReusedError(key)
        if not isinstance(found, Claim):
            raise KeyInUseError(key)
        try:
            async with _renewing(answers, found):
                answer = await take(SpooledRequest(request, spool))
            # A report that does not fit into memory is not kept: then the batch is done again.
            if not isinstance(answer, StreamingResponse):
                await answers.keep(found, _given(answer), _users(bytes(answer.body)))
                return answer
        except BaseException:
            with contextlib.suppress(*UNAVAILABLE_ERRORS):
                await answers.release(found)
            raise
        await answers.release(found)
        return answer


class SpooledRequest(Request):
    """The same request, whose body was put aside."""

    def __init__(self, request: Request, spool: "tempfile.SpooledTemporaryFile[bytes]") -> None:
        super().__init__(request.scope, request.receive)
        self._spool = spool

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body as it was sent."""
        await asyncio.to_thread(self._spool.seek, 0)
        while part := await asyncio.to_thread(self._spool.read, READ_BYTES):
            yield part


def _name(request: Request, key: str) -> str:
    """A digest, as people may put anything into a key."""
    return blake2b(f"{request.url.path}\n{key}".encode(), digest_size=16).hexdigest()


async def _put_aside(request: Request, spool: "tempfile.SpooledTemporaryFile[bytes]") -> bytes:
    """Digest of all that says what is to be done.  Raises TooLargeError."""
    limit_bytes, size = request.app.state.spool_limit_bytes, 0
    digest = blake2b(digest_size=32)
    for part in (request.scope["query_string"], *(_header(request, name) for name in ("type", "encoding"))):
        digest.update(b"%d:" % len(part) + part)
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit_bytes:
            raise TooLargeError(f"with an Idempotency-Key a body may have {limit_bytes} bytes; send several batches")
        digest.update(chunk)
        await asyncio.to_thread(spool.write, chunk)
    return digest.digest()


def _header(request: Request, name: str) -> bytes:
    return request.headers.get(f"content-{name}", "").encode("latin-1")


def _given(answer: Response) -> GivenAnswer:
    return GivenAnswer(answer.status_code, answer.media_type or "", bytes(answer.body))


def _users(body: bytes) -> list[str]:
    """Ids of users that rejected rows may name: what stands before the first slash of an id, which holds none."""
    rows = orjson.loads(body).get("rejected", ())
    return sorted({row["id"].partition("/")[0] for row in rows if row.get("id")})


@contextlib.asynccontextmanager
async def _renewing(answers: GivenAnswerStore, claim: Claim) -> AsyncIterator[None]:
    """While the block runs the claim does not lapse."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(CLAIM_SECONDS / 3)
            with contextlib.suppress(*UNAVAILABLE_ERRORS):
                await answers.renew(claim)

    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        task.cancel()
