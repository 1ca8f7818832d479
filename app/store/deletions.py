"""How those who write interactions learn that a user or a course was deleted meanwhile.

Each deletion of a record counts up one document and leaves a digest of the id there, in the same transaction.  While
the count stands still every record that was found is still there, so nobody need look twice.
"""

import hashlib
from dataclasses import dataclass

from app.store.client import Database, Document, Session

KEY = "deletions"  # in settings
LOGGED = 500  # newest deletions whose digests are kept; between two looks of a writer there are hardly ever two
DIGEST_BYTES = 12  # enough that no two ids ever share one, and no id can be read from it


def digest_of(kind: str, record_id: str) -> bytes:
    """What is noted of a deleted record."""
    return hashlib.blake2b(record_id.encode(), key=kind.encode(), digest_size=DIGEST_BYTES).digest()


async def note_deletion(db: Database, kind: str, record_id: str, session: Session) -> None:
    """Note in the transaction that deletes the record."""
    newest = {"$each": [digest_of(kind, record_id)], "$slice": -LOGGED}
    change: Document = {"$inc": {"count": 1}, "$push": {"digests": newest}}
    await db["settings"].update_one({"_id": KEY}, change, upsert=True, session=session)


async def deletion_count(db: Database, session: Session) -> int:
    """How many records have been deleted."""
    document = await db["settings"].find_one({"_id": KEY}, {"count": 1}, session=session)
    return 0 if document is None else int(document["count"])


@dataclass(frozen=True, slots=True)
class Gone:
    """Which records were deleted in a span of time; ``digests`` is None when they were too many to tell."""

    digests: frozenset[bytes] | None

    def __bool__(self) -> bool:
        """Whether there may be any."""
        return self.digests is None or bool(self.digests)

    def __contains__(self, record: tuple[str, str]) -> bool:
        """Whether this (kind, id) may be among them."""
        return self.digests is None or digest_of(*record) in self.digests


async def gone_since(db: Database, count: int, session: Session) -> Gone:
    """What was deleted since ``deletion_count`` gave ``count``."""
    if await deletion_count(db, session) == count:
        return Gone(frozenset())
    document = await db["settings"].find_one({"_id": KEY}, session=session)
    assert document is not None, "the count has moved, so there is one"
    n_new = document["count"] - count
    return Gone(frozenset(document["digests"][-n_new:]) if n_new <= len(document["digests"]) else None)
