"""Questions that look at all users of a model: beside the event loop, and few at once."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from app.errors import UnavailableError
from app.serving.neighbours import Steps, nothing

AT_ONCE = 1  # each looks at gigabytes where users are millions: two would only wait for the same memory
MOST_WAITING = 32  # a minute of them at 5,000,000 users

Result = TypeVar("Result")


class Scans:
    """Answers one after the other; while one is made, other requests are answered."""

    def __init__(self) -> None:
        self._turn, self._waiting = asyncio.Semaphore(AT_ONCE), 0
        self._thread = ThreadPoolExecutor(AT_ONCE, "scans")

    async def answer(self, steps: Steps[Result]) -> Result:
        """What comes of the steps.  Raises UnavailableError when too many wait already."""
        if self._waiting >= MOST_WAITING:
            raise UnavailableError("too many questions about all users wait already; try again later")
        self._waiting += 1
        try:
            async with self._turn:
                return await self._run(steps)
        finally:
            self._waiting -= 1

    async def _run(self, steps: Steps[Result]) -> Result:
        found, loop = None, asyncio.get_running_loop()
        while True:
            try:
                work = steps.send(found)
            except StopIteration as end:
                result: Result = end.value
                return result
            found = await (asyncio.sleep(0) if work is nothing else loop.run_in_executor(self._thread, work))
