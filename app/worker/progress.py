"""Carry a run's progress from the training thread to its document, and a wish to cancel back."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

from app.schemas.training import Progress
from app.store.client import UNAVAILABLE_ERRORS
from app.store.runs import RunStore

REPORT_SECONDS = 0.5  # a person watching sees it move, and a run of an hour costs 7,200 small writes


class ProgressReporter:
    """Epochs are noted by the training thread (``on_epoch``); an asyncio task writes them down now and then."""

    def __init__(self, runs: RunStore, run_id: str, fence: int) -> None:
        self.cancelled = threading.Event()
        self._runs, self._run_id, self._fence = runs, run_id, fence
        self._latest: Progress | None = None
        self._losses: list[float] = []

    def on_epoch(self, epoch: int, epochs: int, loss: float, seconds: float) -> None:
        """Note an epoch; called in the training thread."""
        self._losses.append(loss)
        self._latest = Progress(
            epoch=epoch, epochs=epochs, loss=loss, seconds_left=round(seconds / epoch * (epochs - epoch), 1)
        )

    @contextlib.asynccontextmanager
    async def reporting(self) -> AsyncIterator[None]:
        """Report while the block runs, and once more at its end.  The block's error wins over a lost lease here."""
        over = asyncio.Event()
        task = asyncio.create_task(self._keep_reporting(over))
        try:
            yield
        finally:
            over.set()  # a report that is under way is not broken off: the next would tell its losses again
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._report()

    async def _keep_reporting(self, over: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPORT_SECONDS):
                    await over.wait()
            if over.is_set():
                return
            with contextlib.suppress(*UNAVAILABLE_ERRORS):  # the next report tells all that this one would have
                await self._report()

    async def _report(self) -> None:
        latest, n_losses = self._latest, len(self._losses)
        if latest is None:  # an epoch may take long, and so may what comes before the first
            if await self._runs.cancel_requested(self._run_id, self._fence):
                self.cancelled.set()
            return
        if await self._runs.progress(self._run_id, self._fence, latest, self._losses[:n_losses]):
            self.cancelled.set()
        del self._losses[:n_losses]
