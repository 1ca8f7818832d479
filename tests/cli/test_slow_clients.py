"""Clients that are slow, send too long a head, or no HTTP, against a real server."""

import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.test_serve import started, url_told

SECONDS = {"COURSEGRAPH_HEAD_TIMEOUT_SECONDS": "1", "COURSEGRAPH_BODY_TIMEOUT_SECONDS": "1"}


@pytest.fixture(scope="module")
def address(mongodb_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    own = {key: value for key, value in os.environ.items() if not key.startswith(("COURSEGRAPH_", "MONGODB_"))}
    given = {"MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": "slow", "COURSEGRAPH_CACHE_DIR": _folder(tmp_path_factory)}
    with started(own | given | SECONDS, "serve", "--port", "0") as process:
        url = httpx.URL(url_told(process))
        assert httpx.get(f"{url}/health/ready", timeout=20).status_code == 200
        yield url.host, url.port or 80


@pytest.fixture
def environment(mongodb_uri: str, tmp_path: Path) -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith(("COURSEGRAPH_", "MONGODB_"))}
    return own | {"MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": "left", "COURSEGRAPH_CACHE_DIR": str(tmp_path)}


def _folder(factory: pytest.TempPathFactory) -> str:
    folder: Path = factory.mktemp("slow")
    return str(folder)


def answer(connection: socket.socket) -> tuple[int, dict[str, object]]:
    """Status and problem of what comes until the end of the connection; 0 when nothing comes."""
    connection.settimeout(10)
    data = b""
    while piece := connection.recv(65536):
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return (int(head.split(b" ")[1]), json.loads(body)) if head else (0, {})


def test_half_a_head_is_not_waited_for_for_ever(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET /popular HTTP/1.1\r\nHost: localhost\r\n")
        began = time.monotonic()
        status, problem = answer(connection)
        assert (status, problem["type"]) == (408, "request_timeout")
        assert 0.8 < time.monotonic() - began < 4


def test_a_head_that_drips_in_gets_no_more_time(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET /popular HTTP/1.1\r\n")
        began = time.monotonic()
        try:
            while time.monotonic() - began < 8:
                connection.sendall(b"X-A: b\r\n")
                time.sleep(0.1)
        except OSError:
            pass
        assert time.monotonic() - began < 4


def test_who_says_nothing_is_left(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        assert answer(connection) == (0, {})


def test_a_body_that_stops_is_not_waited_for_for_ever(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(
            b"POST /users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n["
        )
        began = time.monotonic()
        status, problem = answer(connection)
        assert (status, problem["type"]) == (408, "request_timeout")
        assert 0.8 < time.monotonic() - began < 4


def test_a_body_that_comes_slowly_but_steadily_is_taken(address: tuple[str, int]) -> None:
    body = b'{"user_id": "slow"}'
    with socket.create_connection(address) as connection:
        connection.sendall(b"POST /users HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")
        connection.sendall(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        for place in range(len(body)):
            connection.sendall(body[place : place + 1])
            time.sleep(0.1)
        status, report = answer(connection)
        assert (status, report["created"]) == (200, 1)


def test_a_connection_is_used_again_and_again(address: tuple[str, int]) -> None:
    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}") as client:
        for _ in range(3):
            assert client.get("/popular").status_code == 200
            time.sleep(1.2)


def test_a_head_of_any_size_is_not_taken(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET /popular HTTP/1.1\r\nHost: localhost\r\n")
        try:
            for _ in range(100):
                connection.sendall(b"X-A: " + b"a" * 10_000 + b"\r\n")
                time.sleep(0.001)
        except OSError:
            return
        status, problem = answer(connection)
        assert (status, problem["type"]) == (431, "request_header_fields_too_large")


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTX/1\r\n\r\n", b"GET /popular?q=" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n"],
)
def test_what_is_no_http_gets_a_problem_document(address: tuple[str, int], sent: bytes) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(sent)
        status, problem = answer(connection)
        assert (status, problem["type"]) == (400, "malformed_request")


def test_who_asks_much_at_once_and_leaves_is_no_bug(environment: dict[str, str]) -> None:
    """The connection breaks while an answer is written; whoever does so must not fill the log with errors."""
    request = b"GET /recommendations/a%20b?n=50 HTTP/1.1\r\nHost: localhost\r\n\r\n"  # not among those answered at once
    with started(environment, "serve", "--port", "0") as process:
        url = httpx.URL(url_told(process))
        assert httpx.get(f"{url}/health/ready", timeout=20).status_code == 200
        for _ in range(20):
            with socket.create_connection((url.host, url.port or 80)) as connection:
                connection.sendall(request * 300)
                connection.recv(10)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not closed
        assert httpx.get(f"{url}/health/ready", timeout=20).status_code == 200
        process.terminate()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
