"""What is answered before there is a task, and what is not."""

import asyncio
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.api.at_once import Reply
from app.api.protocol import protocol_class


async def road(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"road"})


def once(scope: Scope) -> Reply | None:
    return Reply(200, [(b"content-length", b"4")], b"once") if scope["path"] == "/a-b" else None


async def asked(text: str) -> list[str]:
    """Bodies of the answers to all of this, sent together."""
    config = uvicorn.Config(road, lifespan="off", log_config=None, access_log=False)
    config.load()
    made: Any = protocol_class(head_seconds=5, body_seconds=5, at_once=once)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: made(config, ServerState(), {}), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(f"{text}GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        came = (await reader.read()).decode()
        writer.close()
    return [part[:4] for part in came.split("\r\n\r\n")[1:-1]]


@pytest.mark.parametrize(
    ("text", "answered"),
    [
        ("GET /a-b?x=1 HTTP/1.1\r\nHost: a\r\n\r\n", ["once"]),
        ("GET /other HTTP/1.1\r\nHost: a\r\n\r\n", ["road"]),
        ("GET /a%2Db HTTP/1.1\r\nHost: a\r\n\r\n", ["road"]),
        ("POST /a-b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", ["road"]),
        ("GET /a-b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", ["road"]),
        (2 * "GET /a-b HTTP/1.1\r\nHost: a\r\n\r\n", ["once", "road"]),  # the others wait for their turn
    ],
)
async def test_only_the_usual_get_is_answered_before_there_is_a_task(text: str, answered: list[str]) -> None:
    assert await asked(text) == answered
