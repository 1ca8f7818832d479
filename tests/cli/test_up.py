import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from pymongo import MongoClient

from tests.support.processes import eventually, is_alive, processes_in
from tests.support.up import Up

SETTINGS = {"COURSEGRAPH_AUTO_TRAIN": "false", "COURSEGRAPH_LEASE_SECONDS": "3", "COURSEGRAPH_EPOCHS": "30"}
log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each of thousands of requests
GROUPS, COURSES_OF_GROUP, USERS_OF_GROUP, TAKEN = 4, 10, 20, 6
HEALING_SECONDS = 20.0


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    with Up(tmp_path / "data", environment=SETTINGS) as started:
        yield started


def interactions() -> list[dict[str, str]]:
    """People who keep to the courses of their group, so that a model beats the most popular courses."""
    return [
        {"user_id": f"g{group}-u{user}", "course_id": f"g{group}-c{(user * 3 + place) % COURSES_OF_GROUP}"}
        for group in range(GROUPS)
        for user in range(USERS_OF_GROUP)
        for place in range(TAKEN)
    ]


async def train(client: httpx.AsyncClient) -> dict[str, Any]:
    """A run to its end, asked for until there is nothing in its way."""
    run: dict[str, Any] = {}

    async def ended() -> bool:
        nonlocal run
        run = (await client.get(f"/training/runs/{run['run_id']}")).json()
        return run["status"] not in {"queued", "running"}

    async def accepted() -> bool:
        nonlocal run
        answer = await client.post("/training/runs")
        run = answer.json()
        return answer.status_code == 202

    await eventually(accepted, HEALING_SECONDS)
    log.info("trained in %.2f s", await eventually(ended, 60))
    return run


async def first_model(client: httpx.AsyncClient) -> str:
    """Load, train, and wait until the model is served; its id."""
    answer = await client.post("/interactions", json=interactions())
    assert answer.json()["accepted"] == len(interactions())
    run = await train(client)
    assert run["status"] == "succeeded", run

    async def served() -> bool:
        return bool((await client.get("/recommendations/g0-u0")).json()["model_id"] == run["model_id"])

    await eventually(served)
    return str(run["model_id"])


class Writer:
    """Posts one batch after the other and notes what was acknowledged; repeats what was not."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.acknowledged: set[str] = set()
        self.refused = 0
        self.last_acknowledged = 0.0
        self._client = client

    async def write(self) -> None:
        number = 0
        while True:
            rows = [{"user_id": f"w{number}-{row}", "course_id": f"g{row % 4}-c{row % 10}"} for row in range(100)]
            try:
                answer = await self._client.post("/interactions", json=rows)
            except httpx.HTTPError:
                answer = httpx.Response(503)
            if answer.status_code == 200:
                assert answer.json()["accepted"] == len(rows), answer.text
                self.acknowledged |= {f"{row['user_id']}\x1f{row['course_id']}\x1fenroll" for row in rows}
                self.last_acknowledged = time.monotonic()
                number += 1
                await asyncio.sleep(0.05)
            else:
                assert answer.status_code == 503, answer.text
                self.refused += 1
                await asyncio.sleep(0.05)


class Reader:
    """Asks for recommendations without a pause and notes every kind of answer."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.answers: dict[tuple[str, str], int] = {}
        self._client = client

    async def read(self) -> None:
        while True:
            try:
                answer = await self._client.get("/recommendations/g1-u1?n=3")
                body = answer.json()
                kind = (str(body.get("source", answer.status_code)), str(body.get("model_id")))
            except httpx.HTTPError as error:
                kind = (type(error).__name__, "")
            self.answers[kind] = self.answers.get(kind, 0) + 1
            await asyncio.sleep(0.02)

    def take(self) -> dict[tuple[str, str], int]:
        """What was answered since the last call."""
        taken, self.answers = self.answers, {}
        return taken


@contextlib.asynccontextmanager
async def traffic(url: str) -> AsyncIterator[tuple[Writer, Reader]]:
    """Somebody who writes and somebody who reads; when one of them fails, so does the block."""
    async with (
        httpx.AsyncClient(base_url=url, timeout=10) as writing,
        httpx.AsyncClient(base_url=url, timeout=10) as reading,
        asyncio.TaskGroup() as group,
    ):
        writer, reader = Writer(writing), Reader(reading)
        tasks = [group.create_task(writer.write()), group.create_task(reader.read())]
        yield writer, reader
        for task in tasks:
            task.cancel()


def stored(uri: str) -> set[str]:
    with MongoClient[dict[str, str]](uri) as client:
        return {row["_id"] for row in client["coursegraph"]["interactions"].find({}, {"_id": 1})}


async def kill(up: Up, kind: str, writer: Writer) -> float:
    """kill -9; seconds until another one runs and a write that was begun after that is acknowledged."""
    victim = up.child(kind)
    victim.kill()
    started = time.monotonic()
    await eventually(lambda: victim.pid not in {child.pid for child in up.children(kind)} and bool(up.children(kind)))
    seen = time.monotonic()
    await eventually(lambda: writer.last_acknowledged > seen, HEALING_SECONDS)
    return writer.last_acknowledged - started


async def test_heals_from_every_kill_and_loses_nothing(up: Up) -> None:
    async with httpx.AsyncClient(base_url=up.url, timeout=10) as client:
        model_id = await first_model(client)
        uri = f"mongodb://127.0.0.1:{int((up.data_dir / 'port').read_text())}/?directConnection=true"
        async with traffic(up.url) as (writer, reader):
            await eventually(lambda: len(writer.acknowledged) > 1000)
            model_only = {("model", model_id)}
            assert set(reader.take()) == model_only
            for kind in ("mongod", "serve", "work", "mongod", "serve"):
                seconds = await kill(up, kind, writer)
                log.info("healed_seconds %s %.2f", kind, seconds)
                answers = reader.take()
                if kind == "serve":  # what was under way is broken off; the rest waits
                    answers = {answer: n for answer, n in answers.items() if not answer[0].endswith("Error")}
                assert set(answers) == model_only, answers
            # In mid-training.
            run = (await client.post("/training/runs")).json()

            async def running() -> bool:
                return bool((await client.get(f"/training/runs/{run['run_id']}")).json()["status"] == "running")

            await eventually(running, HEALING_SECONDS)
            await kill(up, "work", writer)

            async def ended() -> bool:
                return bool((await client.get(f"/training/runs/{run['run_id']}")).json()["ended_at"])

            log.info("run_taken_over_seconds %.2f", await eventually(ended, HEALING_SECONDS))
            run = (await client.get(f"/training/runs/{run['run_id']}")).json()
            assert run["status"] in {"succeeded", "rejected"}
            assert set(reader.take()) <= model_only | {("model", run["model_id"])}
            assert len(writer.acknowledged) > 2000
        assert writer.acknowledged <= stored(uri)
        assert (await train(client))["status"] in {"succeeded", "rejected"}
    log.info("start_seconds %.2f", up.start_seconds)
    log.info("stop_seconds %.2f", up.stop())
    assert not processes_in(up.data_dir)
    with Up(up.data_dir, environment=SETTINGS) as again:
        assert writer.acknowledged <= stored(uri)
        async with httpx.AsyncClient(base_url=again.url) as client:
            assert (await client.get("/recommendations/g1-u1")).json()["source"] == "model"


# --- start and stop


async def test_nothing_is_left_of_a_killed_parent(up: Up) -> None:
    left = processes_in(up.data_dir)
    assert len(left) == 4
    up.process.kill()
    assert await eventually(lambda: not any(map(is_alive, left))) < 2.0
    assert not processes_in(up.data_dir)


async def test_two_processes_answer_on_one_socket_and_one_is_enough(tmp_path: Path) -> None:
    with Up(tmp_path / "data", "--workers", "2", environment=SETTINGS) as up:
        first, second = up.children("serve")

        def answering() -> set[int]:
            """Processes that hold a connection, of ten that are open."""
            with contextlib.ExitStack() as stack:
                for _ in range(10):
                    client = stack.enter_context(httpx.Client(base_url=up.url))
                    assert client.get("/health/live").status_code == 200
                holders = (child for child in up.children("serve") if _is_connected(child))
                return {child.pid for child in holders}

        await eventually(lambda: answering() == {first.pid, second.pid}, 20)
        first.kill()
        for _ in range(20):
            async with httpx.AsyncClient(base_url=up.url) as client:
                assert (await client.get("/health/live")).status_code == 200
        await eventually(lambda: len(up.children("serve")) == 2)
        assert second.is_running()
        up.stop()


def _is_connected(process: psutil.Process) -> bool:
    return any(connection.status == psutil.CONN_ESTABLISHED for connection in _connections_to_us(process))


def _connections_to_us(process: psutil.Process) -> list[Any]:
    ours = {connection.laddr for connection in psutil.Process().net_connections()}
    return [connection for connection in process.net_connections() if connection.raddr in ours]


def test_stops_in_time_while_somebody_watches_and_somebody_sends(up: Up) -> None:
    httpx.post(f"{up.url}/interactions", json=interactions())
    run = httpx.post(f"{up.url}/training/runs").json()
    host, port = up.url.removeprefix("http://").split(":")
    with (
        httpx.stream("GET", f"{up.url}/training/runs/{run['run_id']}/events", timeout=20) as watching,
        socket.create_connection((host, int(port))) as sending,
    ):
        assert watching.status_code == 200
        sending.sendall(b"POST /users HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n[")
        time.sleep(0.2)
        assert up.stop() < 10.0
    assert not processes_in(up.data_dir)


def test_prints_one_line(up: Up) -> None:
    up.stop()
    assert up.process.stdout is not None
    assert up.process.stdout.read() == ""


def test_with_a_database_of_its_own_nothing_else_is_started(
    tmp_path: Path, mongodb_uri: str, database_name: str
) -> None:
    given = {"MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": database_name}
    with Up(tmp_path / "data", environment=SETTINGS | given) as up:
        assert not up.children("mongod")
        httpx.put(f"{up.url}/users/ada", json={}).raise_for_status()
        up.stop()
    with MongoClient[dict[str, str]](mongodb_uri) as client:
        assert client[database_name]["users"].count_documents({}) == 1
    assert not (tmp_path / "data" / "data").exists()


# --- what goes wrong


def fail(tmp_path: Path, *arguments: str, **environment: str) -> str:
    """What an `up` says that ends at once, with exit code 1 and nothing left behind."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("COURSEGRAPH_", "MONGODB_"))}
    ended = subprocess.run(
        [sys.executable, "-m", "app", "up", "--data-dir", str(tmp_path / "data"), *arguments],
        env=own | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout == ""
    assert not processes_in(tmp_path)
    return ended.stderr.splitlines()[-1]


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert fail(tmp_path, "--port", str(port)) == (
            f"coursegraph: cannot listen on 127.0.0.1 port {port}: Address already in use; "
            "choose another with --host and --port"
        )
    assert not (tmp_path / "data").exists()


def test_a_host_that_is_not_ours(tmp_path: Path) -> None:
    assert "cannot listen on 192.0.2.1 port 0:" in fail(tmp_path, "--host", "192.0.2.1", "--port", "0")


def test_a_wrong_setting(tmp_path: Path) -> None:
    assert fail(tmp_path, COURSEGRAPH_EPOCHS="many").startswith("coursegraph: COURSEGRAPH_EPOCHS has value 'many'")


def test_no_mongod(tmp_path: Path) -> None:
    assert "MONGOD_BIN has value '/nowhere'" in fail(tmp_path, "--port", "0", MONGOD_BIN="/nowhere")


def test_a_data_directory_in_use(up: Up) -> None:
    said = fail(up.data_dir.parent / "other", "--port", "0", "--data-dir", str(up.data_dir))
    assert f"the data directory {up.data_dir} is in use by another mongod" in said


async def test_a_port_of_mongod_that_somebody_took_meanwhile(tmp_path: Path, mongodb_uri: str) -> None:
    with Up(tmp_path / "data", environment=SETTINGS) as up:
        async with httpx.AsyncClient(base_url=up.url) as client:
            (await client.put("/users/ada", json={})).raise_for_status()
        up.stop()
    taken = str(urlsplit(mongodb_uri).port)
    kept = tmp_path / "data" / "port"
    kept.write_text(taken)
    with Up(tmp_path / "data", environment=SETTINGS) as up:
        assert "the port that mongod had is taken" in up.log
        moved = kept.read_text()
        assert moved.strip() != taken
        up.child("mongod").kill()

        async def there() -> bool:
            async with httpx.AsyncClient(base_url=up.url) as client:
                return (await client.get("/users/ada")).status_code == 200

        await eventually(there)
        assert kept.read_text() == moved
        up.stop()


def test_the_parent_is_light() -> None:
    heavy = "{'torch', 'fastapi', 'uvicorn', 'scipy', 'motor'}"
    script = f"import sys; import app.cli.up; print({heavy} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told == "set()\n"
