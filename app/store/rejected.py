"""The last rejected rows of batches: whoever sent them need not be the one who looks after the data."""

from collections.abc import Sequence

from app.schemas.reports import Kind, NotedRow, RejectedRow
from app.store.bulk import translated
from app.store.client import Database, Document
from app.store.records import utc_now

KEPT = 500  # newest rows of all batches
NOTED = 100  # first rows of a batch; its sender was told all of them


class RejectedStore:
    """Every method may raise one of ``client.UNAVAILABLE_ERRORS``."""

    def __init__(self, db: Database) -> None:
        self._rows = db["rejected_rows"]

    async def note(self, kind: Kind, rows: Sequence[RejectedRow]) -> None:
        """Keep the first rejected rows of a batch, and let go of the oldest that are kept."""
        at = utc_now()
        with translated():
            await self._rows.insert_many([{"at": at, "kind": kind, **row.model_dump()} for row in rows[:NOTED]])
        oldest = await self._rows.find({}, {"_id": 1}).sort("_id", -1).skip(KEPT).limit(1).to_list(None)
        if oldest:
            await self._rows.delete_many({"_id": {"$lte": oldest[0]["_id"]}})

    async def newest(self, limit: int, kind: Kind | None = None) -> list[NotedRow]:
        """Those that are kept, the last batch first."""
        condition: Document = {} if kind is None else {"kind": kind}
        order = [("at", -1), ("_id", 1)]
        found = await self._rows.find(condition, {"_id": 0}).sort(order).limit(limit).to_list(None)
        return [NotedRow.model_construct(**document) for document in found]

    async def forget_user(self, user_id: str) -> int:
        """Erase what names the user; how many rows did."""
        # The id of a row is what can be read of user/course/type, and an id holds no slash; "0" comes after "/".
        named = {"$or": [{"id": user_id}, {"id": {"$gte": f"{user_id}/", "$lt": f"{user_id}0"}}]}
        return (await self._rows.delete_many({"kind": {"$ne": "courses"}, **named})).deleted_count
