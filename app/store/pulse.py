"""Whether the database answers, asked again and again by a thread of its own.

Neither calls that take long, nor threads of the driver that all wait, nor an event loop that is busy can make a
database look gone that is there.
"""

import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from app.store.client import Document, client_options

BEAT_SECONDS = 0.25
LOOK_MS = 500  # between two looks whether a server that was gone is back, the least that the driver takes
PATIENCE = 0.6  # of the time in which a call must be answered: the rest is for noticing it and saying so


class Pulse:
    """When the database last answered."""

    def __init__(self, timeout_seconds: float) -> None:
        self._patience_seconds = PATIENCE * timeout_seconds
        self._heard = time.monotonic()
        self._stop = threading.Event()

    def is_silent(self) -> bool:
        """Whether it has not answered for so long that callers must be told."""
        return time.monotonic() - self._heard > self._patience_seconds

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()

    def beat(self, uri: str) -> None:
        """Ask until stopped; blocks."""
        patience_ms = int(self._patience_seconds * 1000)
        options = client_options(self._patience_seconds, "coursegraph-pulse")
        options |= {"socketTimeoutMS": patience_ms, "heartbeatFrequencyMS": LOOK_MS}
        with MongoClient[Document](uri, **options) as client:
            while not self._stop.wait(BEAT_SECONDS):
                try:
                    client.admin.command("ping")
                except PyMongoError:
                    continue  # silence says it
                self._heard = time.monotonic()


@asynccontextmanager
async def feel_pulse(uri: str, timeout_seconds: float) -> AsyncIterator[Pulse]:
    """The pulse of a database while the block runs; the thread ends with its last question, which nobody waits for."""
    pulse = Pulse(timeout_seconds)
    threading.Thread(target=pulse.beat, args=(uri,), name="pulse", daemon=True).start()
    try:
        yield pulse
    finally:
        pulse.stop()
