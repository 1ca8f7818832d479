"""How many lists each model has answered, told to the database now and then."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator

from app.store.client import UNAVAILABLE_ERRORS
from app.store.models import ModelStore

log = logging.getLogger(__name__)

TELL_SECONDS = 5.0  # what a process counted since is lost when it is killed


class Shown:
    """Counts in memory, so that a list costs no write."""

    def __init__(self, models: ModelStore) -> None:
        self._models = models
        self._counts: Counter[str] = Counter()

    def add(self, model_id: str | None) -> None:
        """A list was answered."""
        if model_id is not None:
            self._counts[model_id] += 1

    async def tell(self) -> None:
        """Add what was counted to the database.  Raises one of UNAVAILABLE_ERRORS, and then nothing is lost."""
        counts, self._counts = self._counts, Counter()
        try:
            await self._models.count_lists(counts)
        except BaseException:
            self._counts.update(counts)
            raise

    @contextlib.asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """Tell while the block runs and at its end."""
        task = asyncio.create_task(self._keep_telling())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            with contextlib.suppress(*UNAVAILABLE_ERRORS):
                await self.tell()

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            try:
                await self.tell()
            except UNAVAILABLE_ERRORS:
                continue
            except Exception:
                log.exception("the lists that were answered could not be counted; trying again")
