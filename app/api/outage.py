"""Nobody waits for a database that is known to be gone."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from app.errors import UnavailableError

CHECK_SECONDS = 0.2  # a call that needs no database has long been answered

Result = TypeVar("Result")


class Database(Protocol):
    """Whoever knows whether the database is there."""

    def database_gone(self) -> bool:
        """Whether it does not answer."""


async def unless_gone(work: Coroutine[Any, Any, Result], database: Database) -> Result:
    """What ``work`` gives.  It may take long, but not to wait for a database that is known to be gone.

    The driver notices a server that hangs, or a cut network, only after several seconds.  What was being written may be
    stored or not, as ever when nobody answers.  Raises UnavailableError.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody may ask any more
    try:
        while not (await asyncio.wait([task], timeout=CHECK_SECONDS))[0]:
            if database.database_gone():
                raise UnavailableError("the database does not answer; nothing accepted before is lost")
        return task.result()
    finally:
        task.cancel()
