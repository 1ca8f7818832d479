"""Uvicorn, which when told to stop hears out those who have just come in."""

import asyncio
import socket

import uvicorn

LATE_SECONDS = 0.25  # in which the request of a connection that was just accepted arrives


class Server(uvicorn.Server):
    """Uvicorn itself closes a connection on which no request has arrived yet, and the caller sees an error."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connections, wait a moment, and stop."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(LATE_SECONDS)
        await super().shutdown(sockets)
