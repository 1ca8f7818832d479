"""Uvicorn, which when told to stop hears out those who have just come in, and tells those who stay to go elsewhere."""

import asyncio
import socket

import uvicorn

LATE_SECONDS = 0.25  # in which the request of a connection that was just accepted arrives, or the next of a kept one
CLOSE = (b"connection", b"close")


class Server(uvicorn.Server):
    """Uvicorn itself closes a connection on which no request has arrived yet, and the caller sees an error.

    A kept connection is closed with an answer that says so, and only one that asks for nothing meanwhile without.
    drain_seconds: for so long it first goes on as before, but says that it is not ready.
    """

    def __init__(self, config: uvicorn.Config, *, drain_seconds: float = 0.0) -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connections, wait a moment, and stop."""
        services = self.lifespan.state.get("services")
        if services is not None:
            services.live.stopping = True
        if not self.force_exit:
            await asyncio.sleep(self._drain_seconds)
        for server in self.servers:
            server.close()
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]
        await asyncio.sleep(LATE_SECONDS)
        await super().shutdown(sockets)
