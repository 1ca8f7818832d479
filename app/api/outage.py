"""Nobody waits for a database that is known to be gone.

A pulse (``app.store.pulse``) is silent after 0.6 of COURSEGRAPH_DATABASE_TIMEOUT_SECONDS, and whoever waits looks at it
every CHECK_SECONDS: by default 503 is answered after 1.4 s, plus what the event loop is late.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol, TypeVar

from app.errors import DatabaseGoneError

CHECK_SECONDS = 0.2  # a call that needs no database has long been answered

Result = TypeVar("Result")


class Database(Protocol):
    """Whoever knows whether the database is there."""

    def database_gone(self) -> bool:
        """Whether it does not answer."""


async def unless_gone(work: Coroutine[Any, Any, Result], database: Database) -> Result:
    """What ``work`` gives.  It may take long, but not to wait for a database that is known to be gone.

    The driver notices a server that hangs, or a cut network, only after several seconds.  What was being written may be
    stored or not, as ever when nobody answers.  Raises DatabaseGoneError.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody may ask any more
    try:
        while not (await asyncio.wait([task], timeout=CHECK_SECONDS))[0]:
            if database.database_gone():
                raise DatabaseGoneError
        return task.result()
    finally:
        task.cancel()


async def parts_unless_gone(parts: AsyncIterator[Result], database: Database) -> AsyncIterator[Result]:
    """The same for what is read bit by bit."""

    async def read() -> list[Result]:
        async for part in parts:
            return [part]
        return []

    while part := await unless_gone(read(), database):
        yield part[0]
