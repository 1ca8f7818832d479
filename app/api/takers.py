"""How many users took each course, counted in the database as long as there is no model."""

import asyncio
import time
from collections.abc import Collection, Mapping

from app.store.interactions import InteractionStore

FRESH_SECONDS = 2.0  # how old the counts may be
SHARE_OF_TIME = 10  # the counts are this many times older than counting takes, so that it is no burden


class Takers:
    """Counts of a moment ago; who asks first waits for them, later ones get the old while new ones are made."""

    def __init__(self, interactions: InteractionStore, uncounted: Collection[str], half_life_days: float) -> None:
        """uncounted: types of interactions that make no taker.  half_life_days: see ``takers`` of the store."""
        self._interactions, self._uncounted, self._half_life_days = interactions, uncounted, half_life_days
        self._counts: Mapping[str, float] | None = None
        self._until = 0.0
        self._counting: asyncio.Task[None] | None = None

    async def counts(self) -> Mapping[str, float]:
        """Users with an edge to each course.  Raises one of UNAVAILABLE_ERRORS."""
        if time.monotonic() >= self._until and self._counting is None:
            self._counting = asyncio.create_task(self._count())
        if self._counting is not None:
            await asyncio.wait([self._counting], timeout=None if self._counts is None else FRESH_SECONDS / 10)
            task = self._counting
            if task is not None and task.done():
                self._counting = None
                task.result()
        return self._counts or {}

    async def _count(self) -> None:
        began = time.monotonic()
        self._counts = await self._interactions.takers(self._uncounted, self._half_life_days)
        now = time.monotonic()
        self._until = now + max(FRESH_SECONDS, SHARE_OF_TIME * (now - began))
