"""The right to train and publish: one holder at a time, by the server's clock.

The lease is one document, and every takeover raises its fence by one.  A process may always be slower than it
believes, so no clock of its own decides: what must not be done without the lease happens in a transaction that
touches the document (``touch_lease``), and the server refuses it once the fence has moved on.

The server's clock may be set back, and then a lease whose holder is gone would seem to last long: one that stood still
for its whole length, while a contender watched, can be taken whatever the clock says.
"""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime

from pymongo import ReturnDocument

from app.errors import LeaseLostError
from app.store.client import UNAVAILABLE_ERRORS, Database, Document, Session

KEY = {"_id": "lease"}
POINTER = {"_id": "current_model"}  # the served model and the fence that published it
RENEWALS = 3  # in the length of a lease: two may be missed
LAPSED = {"$expr": {"$lte": ["$expires_at", "$$NOW"]}}
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Lease:
    """One contender.

    holder: names this process and no other, such as host, process id and a random part.
    seconds: without a renewal for so long, the lease can be taken over.
    """

    def __init__(self, db: Database, holder: str, seconds: float) -> None:
        self.holder = holder
        self.seconds = seconds
        self.fence: int | None = None
        self._settings = db["settings"]
        self._watched: Document | None = None  # the lease of another, and since when it has stood still
        self._since = 0.0

    async def acquire(self) -> int | None:
        """Take the lease if nobody holds it; its fence, or None while another holds it: ask again, of this object."""
        lease = await self._take()
        if lease is None and await self._settings.find_one(KEY) is None:
            await self._create()
            lease = await self._take()
        if lease is None:
            lease = await self._take_if_it_stands_still()
        self.fence = None if lease is None else int(lease["fence"])
        return self.fence

    async def renew(self) -> None:
        """Begin the lease's length anew; also after it lapsed, if nobody took it.  Raises LeaseLostError."""
        fence = self._held_fence()
        extended = [{"$set": {"expires_at": self._expiry()}}]
        result = await self._settings.update_one(self._mine(fence), extended)
        if not result.matched_count:
            self.fence = None
            raise LeaseLostError(fence)

    async def keep(self) -> None:
        """Renew until cancelled.  Raises LeaseLostError.

        An outage of the database is waited out: nobody can take the lease over meanwhile.
        """
        while True:
            await asyncio.sleep(self.seconds / RENEWALS)
            with suppress(*UNAVAILABLE_ERRORS):
                await self.renew()

    async def release(self) -> None:
        """Let another take the lease at once; nothing happens when it is lost already."""
        if self.fence is not None:
            await self._settings.update_one(self._mine(self.fence), {"$set": {"holder": None, "expires_at": LONG_AGO}})
            self.fence = None

    async def _create(self) -> None:
        """The first lease, or one to replace a lost document: no fence is given twice."""
        pointer = await self._settings.find_one(POINTER) or {"fence": 0}
        first = {"holder": None, "fence": pointer["fence"], "expires_at": LONG_AGO}
        await self._settings.update_one(KEY, {"$setOnInsert": first}, upsert=True)

    async def _take(self, condition: Document = LAPSED) -> Document | None:
        taken = {
            "holder": {"$literal": self.holder},
            "fence": {"$add": ["$fence", 1]},
            "expires_at": self._expiry(),
            "seconds": self.seconds,
        }
        lease: Document | None = await self._settings.find_one_and_update(
            KEY | condition, [{"$set": taken}], return_document=ReturnDocument.AFTER
        )
        return lease

    async def _take_if_it_stands_still(self) -> Document | None:
        """The lease, if its holder has not renewed it for its length by the clock of this process."""
        fields = {"holder": 1, "fence": 1, "expires_at": 1, "seconds": 1}
        asked = time.monotonic()
        seen: Document | None = await self._settings.find_one(KEY, fields)
        if seen is None or seen != self._watched:
            self._watched, self._since = seen, time.monotonic()
        elif asked - self._since > seen.get("seconds", self.seconds):  # a lease of an earlier release has none
            self._watched = None
            return await self._take(seen)
        return None

    def _expiry(self) -> Document:
        return {"$add": ["$$NOW", round(self.seconds * 1000)]}

    def _mine(self, fence: int) -> Document:
        return KEY | {"holder": self.holder, "fence": fence}

    def _held_fence(self) -> int:
        if self.fence is None:
            raise RuntimeError("a lease must be acquired before it is renewed")
        return self.fence


async def touch_lease(db: Database, fence: int, session: Session) -> None:
    """Let the session's transaction commit only if the lease still has this fence.  Raises LeaseLostError.

    The document is changed and not only read: of this transaction and a takeover at the same moment, one fails.
    """
    held = KEY | {"fence": fence, "holder": {"$ne": None}}
    result = await db["settings"].update_one(held, {"$inc": {"touched": 1}}, session=session)
    if not result.matched_count:
        raise LeaseLostError(fence)
