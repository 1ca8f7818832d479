"""A load generator: keeps connections busy with GET requests and tells what came back.

Usage: load.py PORT CONNECTIONS SECONDS ORDER FILE, the file with one path a line, which are asked in ORDER: `random`,
over and over, or `once`, each one time, and then it ends.  Prints JSON: requests, seconds, errors, p50_ms, p99_ms.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import uvloop

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "


class Connection(asyncio.Protocol):
    """Sends a request as soon as the answer to the last one is there."""

    def __init__(self, requests: Iterator[bytes], until: float, times: list[float], errors: list[str]) -> None:
        self._requests, self._until, self._times, self._errors = requests, until, times, errors
        self._received = b""
        self._sent = 0.0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so
        self._next()

    def data_received(self, data: bytes) -> None:
        """Count a whole answer and go on."""
        received = self._received = self._received + data if self._received else data
        end = received.find(HEAD_END)
        if end < 0:
            return
        start = received.find(LENGTH, 0, end)
        length = int(received[start + len(LENGTH) : received.index(b"\r", start)])
        if len(received) < end + len(HEAD_END) + length:
            return
        self._times.append(time.perf_counter() - self._sent)
        if not received.startswith(b"HTTP/1.1 200"):
            self._errors.append(received[:200].decode(errors="replace"))
        self._received = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes."""
        if not self.ended.done():
            self._errors.append(f"connection lost: {exc}")
            self.ended.set_result(None)

    def _next(self) -> None:
        self._sent = time.perf_counter()
        request = next(self._requests, None) if self._sent < self._until else None
        if request is None:
            self.ended.set_result(None)
            self._transport.close()
        else:
            self._transport.write(request)


async def load(port: int, connections: int, seconds: float, requests: Iterator[bytes]) -> dict[str, object]:
    """Keep that many connections busy for so long, or until there is nothing more to ask."""
    times, errors = list[float](), list[str]()
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    protocols = [
        (await loop.create_connection(lambda: Connection(requests, began + seconds, times, errors), "127.0.0.1", port))[
            1
        ]
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.ended for protocol in protocols))
    took = time.perf_counter() - began
    times.sort()
    return {
        "requests": len(times),
        "seconds": took,
        "errors": len(errors),
        "first_error": errors[0] if errors else None,
        "p50_ms": 1000 * times[len(times) // 2] if times else 0.0,
        "p99_ms": 1000 * times[int(len(times) * 0.99)] if times else 0.0,
    }


def requests_of(paths: list[str], order: str) -> Iterator[bytes]:
    """Ready bytes."""
    ready = [f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() for path in paths]
    if order == "once":
        yield from ready
        return
    draw = random.Random(0)  # noqa: S311 - nothing to hide
    while True:
        yield draw.choice(ready)


if __name__ == "__main__":
    port, connections, seconds, order, file = sys.argv[1:]
    requests = requests_of(Path(file).read_text().splitlines(), order)
    print(json.dumps(uvloop.run(load(int(port), int(connections), float(seconds), requests))))
