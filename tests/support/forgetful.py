"""A mongod that soon forgets what changed."""

import asyncio

from app.store.client import Database
from app.store.embedded import EmbeddedMongod

SECONDS = 30.0  # the longest that forgetting takes


class ForgetfulMongod(EmbeddedMongod):
    """Keeps one megabyte of history, and truncates the rest every second instead of every minute."""

    def oplog_mb(self) -> int:
        """Next to nothing."""
        return 1

    def command(self, *, any_port: bool = False) -> list[str]:
        """The same with another flag."""
        return [*super().command(any_port=any_port), "--syncdelay", "1"]


async def forget(database: Database, until_after: int) -> None:
    """Write until the server no longer knows what changed at this cluster time."""
    oplog = database.client["local"]["oplog.rs"]
    async with asyncio.timeout(SECONDS):
        while True:
            await database["other"].insert_many([{"text": "x" * 10_000} for _ in range(100)])
            oldest = await oplog.find_one(sort=[("$natural", 1)])
            if oldest is not None and oldest["ts"].time > until_after >> 32:
                return
            await asyncio.sleep(0.1)
