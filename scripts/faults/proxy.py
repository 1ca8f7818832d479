"""A stretch of network that can be cut: what services and database say to each other goes through it."""

import asyncio
import contextlib
import threading
from typing import Literal

Mode = Literal["pass", "refuse", "silent"]
CHUNK_BYTES = 2**16


class Proxy:
    """Forwards connections to ``target`` on loopback, from a thread of its own.

    refuse: connections are broken off and new ones closed at once.  silent: they stay, and nothing gets through.
    """

    def __init__(self, target: int, *, host: str = "127.0.0.1") -> None:
        """host: where it listens."""
        self.target = target
        self._host = host
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._refusing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        self._started.wait()

    def set(self, mode: Mode) -> None:
        """From another thread; it is so when this returns."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(self._set, mode, done)
        done.wait()

    def _set(self, mode: Mode, done: threading.Event) -> None:
        self._refusing = mode == "refuse"
        if mode == "silent":
            self._flowing.clear()
        else:
            self._flowing.set()
        if self._refusing:
            for task in self._tasks:
                task.cancel()
        done.set()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._flowing.set()
        server = self._loop.run_until_complete(asyncio.start_server(self._connect, self._host, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self._refusing:
                return
            await self._flowing.wait()
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.target)
            pumps = [
                asyncio.create_task(self._pump(reader, other_writer)),
                asyncio.create_task(self._pump(other_reader, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                other_writer.close()
        except (OSError, asyncio.CancelledError):
            pass  # the database is down, or the connection was cut
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
