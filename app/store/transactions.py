"""Transactions that are tried again when another got in the way, and given up at once in an outage."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pymongo.errors import ExecutionTimeout, OperationFailure

from app.store.client import Database, Session

Result = TypeVar("Result")

ATTEMPTS = 10
LONGEST_PAUSE_SECONDS = 0.3  # all pauses together: 0.7 s on average, 1.4 at most


async def in_transaction(db: Database, work: Callable[[Session], Awaitable[Result]]) -> Result:
    """What ``work`` gives, all of its writes done or none.

    The driver's own ``with_transaction`` goes on for 120 s when the server is down; here one of
    ``client.UNAVAILABLE_ERRORS`` is raised after the usual time, and a commit may then have happened or not.
    The same when another transaction stays in the way: that of a process that was killed in it holds what it changed
    until the server gives it up (``transactionLifetimeLimitSeconds``).
    """
    session = await db.client.start_session()
    try:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with session.start_transaction():
                    return await work(session)
            except OperationFailure as error:
                if not error.has_error_label("TransientTransactionError"):
                    raise
                if attempt == ATTEMPTS:
                    raise ExecutionTimeout("another transaction holds what this one changes", error.code) from error
            await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS * attempt / ATTEMPTS))  # noqa: S311 - no secret
        raise AssertionError("the last attempt returns or raises")
    finally:
        # Not ``async with``, with which Motor ends the session in the event loop: when the commit was cancelled that
        # sends an abort and waits for the answer, and nobody is served meanwhile.
        await session.end_session()
