"""`coursegraph serve` and `coursegraph work` as processes of their own, on the tests' database."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.processes import eventually, is_alive


@pytest.fixture
def environment(mongodb_uri: str, database_name: str, tmp_path: Path) -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith(("COURSEGRAPH_", "MONGODB_"))}
    return own | {
        "MONGODB_URI": mongodb_uri,
        "MONGODB_DATABASE": database_name,
        "COURSEGRAPH_CACHE_DIR": str(tmp_path / "models"),
    }


@contextmanager
def started(environment: dict[str, str], *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "app", *arguments]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def told(process: "subprocess.Popen[str]", words: str) -> str:
    """The first line of its log that holds the words."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return line
    raise AssertionError("".join(lines))


def url_told(process: "subprocess.Popen[str]") -> str:
    return told(process, "listening on ").split("listening on ")[1].strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_answers_until_it_is_told_to_stop(environment: dict[str, str], number: signal.Signals) -> None:
    with started(environment, "serve", "--port", "0") as process:
        url = url_told(process)
        assert httpx.get(f"{url}/health/ready", timeout=20).status_code == 200
        assert not psutil.Process(process.pid).children()
        process.send_signal(number)
        assert process.wait(10) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health/live")


@pytest.mark.parametrize("workers", [1, 2])
async def test_says_that_it_is_not_ready_before_it_stops(environment: dict[str, str], workers: int) -> None:
    slow = environment | {"COURSEGRAPH_DRAIN_SECONDS": "3"}
    with started(slow, "serve", "--port", "0", "--workers", str(workers)) as process:
        url = url_told(process)

        async def get(path: str) -> httpx.Response:
            """On a connection of its own."""
            async with httpx.AsyncClient(timeout=20) as client:
                return await client.get(f"{url}{path}")

        async def not_ready() -> bool:
            return (await get("/health/ready")).status_code == 503

        assert not await not_ready()
        process.terminate()
        await eventually(not_ready)
        assert (await get("/health/ready")).json()["checks"]["process"] == "stopping"
        assert (await get("/popular")).status_code == 200
        assert process.wait(15) == 0


def test_several_processes_under_one_parent(environment: dict[str, str]) -> None:
    with started(environment, "serve", "--port", "0", "--workers", "2") as process:
        url = url_told(process)
        assert httpx.get(f"{url}/health/ready", timeout=20).status_code == 200
        children = psutil.Process(process.pid).children()
        assert len(children) == 2
        process.terminate()
        assert process.wait(10) == 0
    assert not any(map(is_alive, children))


async def test_a_killed_parent_leaves_no_process_on_the_port(environment: dict[str, str]) -> None:
    with started(environment, "serve", "--port", "0", "--workers", "2") as process:
        url = url_told(process)
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            assert (await client.get("/health/ready")).status_code == 200
        children = psutil.Process(process.pid).children()
        process.kill()
        process.wait()
    await eventually(lambda: not any(map(is_alive, children)), 2.0)


def test_a_process_that_serves_has_not_loaded_torch(environment: dict[str, str]) -> None:
    with started(environment, "serve", "--port", "0") as process:
        url = url_told(process)
        assert httpx.get(f"{url}/recommendations/ada", timeout=20).status_code == 200
        assert not [file.path for file in psutil.Process(process.pid).memory_maps() if "torch" in file.path]


@pytest.mark.parametrize("command", ["serve", "work"])
def test_a_database_must_be_named(environment: dict[str, str], command: str) -> None:
    del environment["MONGODB_URI"]
    arguments = ["serve", "--port", "0"] if command == "serve" else ["work"]
    with started(environment, *arguments) as process:
        told(process, "coursegraph: MONGODB_URI has value None; wanted the address of a MongoDB replica set")
        assert process.wait(10) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_stops_when_told_to(environment: dict[str, str], number: signal.Signals) -> None:
    with started(environment, "work") as process:
        told(process, "holds the lease")
        process.send_signal(number)
        assert process.wait(10) == 0


def test_a_worker_without_its_extra_says_what_to_install(environment: dict[str, str]) -> None:
    script = "import sys; sys.modules['torch'] = None; sys.argv[1:] = ['work']; from app.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.endswith(
        "coursegraph: the Python package torch is not installed; pip install 'coursegraph[train]'\n"
    )


def test_metrics_and_documents_on_a_port_of_their_own(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment |= {"COURSEGRAPH_METRICS_PORT": str(port)}
    with started(environment, "serve", "--port", "0", "--workers", "2") as process:
        url, apart = url_told(process), f"http://127.0.0.1:{port}"
        assert httpx.get(f"{url}/health/ready", timeout=20).status_code == 200
        for path in ("/metrics", "/docs", "/redoc", "/openapi.json"):
            assert httpx.get(f"{apart}{path}").status_code == 200, path
            hidden = httpx.get(f"{url}{path}")
            assert (hidden.status_code, hidden.json()["type"]) == (404, "not_found"), path
        assert "coursegraph_http_requests" in httpx.get(f"{apart}/metrics").text
        assert httpx.get(f"{apart}/page/docs.js").status_code == 200
        for path in ("/users", "/", "/recommendations/u", "/api/users", "/docs/"):
            assert httpx.get(f"{apart}{path}").status_code == 404, path
        assert httpx.get(f"{url}/users").status_code == 200


def test_a_port_for_metrics_that_others_reach_needs_keys(environment: dict[str, str]) -> None:
    environment["COURSEGRAPH_METRICS_HOST"] = "0.0.0.0"
    with socket.create_server(("127.0.0.1", 0)) as free:
        environment["COURSEGRAPH_METRICS_PORT"] = str(free.getsockname()[1])
    with started(environment, "serve", "--port", "0") as process:
        assert process.wait(20) != 0
        assert process.stderr is not None
        assert "there are no keys" in process.stderr.read()
