"""The client against a real HTTP server on loopback that answers as it is told."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from app.cli.client import Client, follow_run, request_run, send_rows
from app.errors import ServiceError


class Scripted(ThreadingHTTPServer):
    """Gives its answers one after the other and notes what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, Any]] = []
        self.calls: list[tuple[str, str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.calls.append((self.command, self.path, body))
        status, content = self.server.answers.pop(0)
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as scripted:
        thread = threading.Thread(target=scripted.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield scripted
        scripted.shutdown()
        thread.join()


@pytest.fixture
def client(server: Scripted) -> Iterator[Client]:
    with Client(server.url, patience_seconds=5) as opened:
        yield opened


def test_gives_the_body_of_a_good_answer(server: Scripted, client: Client) -> None:
    server.answers = [(200, {"items": []}), (201, {"created": 1})]
    assert client.get("/users?limit=1") == {"items": []}
    assert client.post("/users", [{"user_id": "u1"}]) == {"created": 1}
    assert server.calls == [("GET", "/users?limit=1", None), ("POST", "/users", [{"user_id": "u1"}])]


def test_keeps_the_path_of_the_address(server: Scripted) -> None:
    server.answers = [(200, {})]
    with Client(server.url + "/behind/a/proxy/") as client:
        client.get("/users")
    assert server.calls[0][1] == "/behind/a/proxy/users"


def test_an_error_is_told_with_its_detail(server: Scripted, client: Client) -> None:
    server.answers = [(404, {"type": "unknown_user", "detail": "no user 'u1'"}), (500, b"<html>")]
    with pytest.raises(ServiceError, match="GET /users/u1: 404 no user 'u1'"):
        client.get("/users/u1")
    with pytest.raises(ServiceError, match="GET /users: 500 Internal Server Error"):
        client.get("/users")


def test_waits_while_the_service_is_away(server: Scripted, client: Client) -> None:
    server.answers = [(503, {"detail": "no primary"}), (200, {"ok": True})]
    assert client.get("/health/ready") == {"ok": True}


def test_patience_ends(server: Scripted) -> None:
    server.answers = [(503, {"detail": "no primary"})] * 3
    with Client(server.url, patience_seconds=0) as client, pytest.raises(ServiceError, match="503 no primary"):
        client.get("/health/ready")


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", patience_seconds=0) as client, pytest.raises(ServiceError, match="refused"):
        client.get("/users")


def test_an_address_must_be_one() -> None:
    with pytest.raises(ServiceError, match="wanted an address"):
        Client("127.0.0.1:8000")


def test_rows_go_in_batches(server: Scripted, client: Client) -> None:
    server.answers = [(200, {"rejected": []})] * 3
    rows = [{"user_id": str(number)} for number in range(4_500)]
    assert list(send_rows(client, "/users", rows)) == [2_000, 2_000, 500]
    assert [row for _, _, batch in server.calls for row in batch] == rows


def test_a_rejected_row_is_told(server: Scripted, client: Client) -> None:
    server.answers = [(200, {"rejected": [{"index": 0, "id": None, "type": "x", "detail": "user_id is missing"}]})]
    with pytest.raises(ServiceError, match="1 rows rejected, the first: user_id is missing"):
        list(send_rows(client, "/users", [{}]))


def test_a_run_in_progress_is_awaited_before_another_is_asked_for(server: Scripted, client: Client) -> None:
    server.answers = [
        (409, {"run_id": "r1", "detail": "in progress"}),
        (200, {"run_id": "r1", "status": "running"}),
        (200, {"run_id": "r1", "status": "succeeded"}),
        (202, {"run_id": "r2"}),
        (200, {"run_id": "r2", "status": "queued"}),
        (200, {"run_id": "r2", "status": "rejected"}),
    ]
    assert request_run(client) == "r2"
    assert [run["status"] for run in follow_run(client, "r2")] == ["queued", "rejected"]
