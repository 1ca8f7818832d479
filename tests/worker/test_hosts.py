"""Machines of their own for API, worker and database: cables that are pulled, and a database whose clock jumps.

Skipped where nobody may make network namespaces; the clock also where there is no libfaketime.  The cut is tried
always, the others with SLOW_TESTS=1 in the environment.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from app.leash import leashed
from app.store.embedded import EmbeddedMongod
from tests.support.namespaces import OUTSIDE, Hosts, needs_namespaces
from tests.support.processes import eventually

pytestmark = needs_namespaces
slow = pytest.mark.skipif(not os.environ.get("SLOW_TESTS"), reason="takes a minute: set SLOW_TESTS=1")
KEY = "a key of forty characters for this test"
PORT = 27017
LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
SETTINGS = {
    "COURSEGRAPH_ADMIN_KEY": KEY,
    "COURSEGRAPH_LEASE_SECONDS": "2",
    "COURSEGRAPH_AUTO_TRAIN": "false",
    "COURSEGRAPH_EPOCHS": "3",
    "COURSEGRAPH_EMBEDDING_SIZE": "8",
    "COURSEGRAPH_FILTER": "none",
    "COURSEGRAPH_TIME_BUDGET_SECONDS": "0",
}
ROW = {"user_id": "ada", "course_id": "ml"}


@dataclass
class World:
    """Hosts, and the file that sets the clock of the database."""

    hosts: Hosts
    url: str
    clock: Path

    def set_clock(self, offset: str) -> None:
        """Let the database's clock jump to so many seconds from the real one."""
        aside = self.clock.with_suffix(".new")
        aside.write_text(f"{offset}\n")
        aside.replace(self.clock)


@contextmanager
def started(command: list[str], log: Path, **environment: str) -> Iterator[None]:
    own = {key: value for key, value in os.environ.items() if not key.startswith(("COURSEGRAPH_", "MONGODB_"))}
    with log.open("wb") as file:
        process = subprocess.Popen(leashed(command), env=own | environment, stdout=file, stderr=file)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("hosts")
    clock = folder / "clock"
    clock.write_text("+0\n")
    with ExitStack() as stack:
        hosts = stack.enter_context(Hosts([(OUTSIDE, "api"), (OUTSIDE, "db"), ("api", "db"), ("worker", "db")]))
        command = EmbeddedMongod(folder / "mongod").command()
        command[command.index("--bind_ip") + 1], command[command.index("--port") + 1] = "0.0.0.0", str(PORT)
        faked = {} if LIBFAKETIME is None else {"LD_PRELOAD": str(LIBFAKETIME)}
        faked |= {"FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        stack.enter_context(started(hosts.command("db", ["env", *words(faked), *command]), folder / "mongod.log"))
        begin(hosts.address("db", OUTSIDE))
        app = [sys.executable, "-m", "app"]
        for name in ("worker", "api"):
            own = {"MONGODB_URI": f"mongodb://{hosts.address('db', name)}:{PORT}/?directConnection=true"}
            own |= SETTINGS | {"COURSEGRAPH_CACHE_DIR": str(folder / name)}
            what = (
                ["work"] if name == "worker" else ["serve", "--host", hosts.address("api", OUTSIDE), "--port", "8000"]
            )
            stack.enter_context(started(hosts.command(name, [*app, *what]), folder / f"{name}.log", **own))
        yield World(hosts, f"http://{hosts.address('api', OUTSIDE)}:8000", clock)


def words(environment: dict[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in environment.items()]


def begin(host: str) -> None:
    """Make the database a replica set."""
    with MongoClient[dict[str, Any]](host, PORT, directConnection=True) as client:
        members = [{"_id": 0, "host": f"127.0.0.1:{PORT}"}]
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": members})


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=world.url, timeout=20, headers={"X-API-Key": KEY}) as client:
        await eventually(lambda: status(client, "/health/ready", 200), 60)
        yield client


async def status(client: httpx.AsyncClient, path: str, wanted: int) -> bool:
    try:
        return (await client.get(path)).status_code == wanted
    except httpx.TransportError:
        return False


async def ended(client: httpx.AsyncClient) -> str:
    """How a run that is asked for now ends."""
    asked = await client.post("/training/runs")
    assert asked.status_code == 202, asked.text
    run: dict[str, Any] = {}

    async def over() -> bool:
        answer = await client.get(asked.headers["location"])
        run.update(answer.json() if answer.status_code == 200 else {})
        return run.get("ended_at") is not None

    await eventually(over, 60)
    return str(run["status"])


async def test_packets_that_vanish_hang_no_call_and_all_heals(world: World, client: httpx.AsyncClient) -> None:
    await some_learners(client)
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/interactions", {"json": ROW}),
        ("GET", "/users", {}),
        ("DELETE", "/users/nobody", {}),
        ("GET", "/recommendations/u1", {}),  # there is no model yet: it is counted in the database
    ]
    answers: list[tuple[str, int, float]] = []

    async def ask(method: str, path: str, options: dict[str, Any]) -> None:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            began = time.monotonic()
            code = (await client.request(method, path, **options)).status_code
            answers.append((f"{method} {path}", code, time.monotonic() - began))
            await asyncio.sleep(0.01)

    asking = [asyncio.create_task(ask(*call)) for call in calls]
    await asyncio.sleep(0.5)  # some are under way
    world.hosts.pull("api", "db")
    try:
        await asyncio.gather(*asking)
    finally:
        world.hosts.plug("api", "db")
    codes = {code for _, code, _ in answers}
    assert codes <= {200, 404, 503}
    assert 503 in codes
    assert not [answer for answer in answers if answer[2] > 2]  # the setting's default, of which 1.4 are meant
    await eventually(lambda: status(client, "/health/ready", 200), 30)
    assert (await client.post("/interactions", json=ROW)).status_code == 200


@slow
async def test_a_worker_whose_packets_vanish_works_again_by_itself(world: World, client: httpx.AsyncClient) -> None:
    await some_learners(client)
    await ended(client)
    world.hosts.pull("worker", "db")
    try:
        assert (await client.post("/interactions", json=ROW)).status_code == 200
        await asyncio.sleep(3)  # longer than the lease
    finally:
        world.hosts.plug("worker", "db")
    assert await ended(client) in {"succeeded", "rejected"}


@slow
@pytest.mark.skipif(LIBFAKETIME is None, reason="needs libfaketime")
async def test_a_jump_of_the_databases_clock_loses_nothing(world: World, client: httpx.AsyncClient) -> None:
    await some_learners(client)
    await ended(client)
    with MongoClient[dict[str, Any]](world.hosts.address("db", OUTSIDE), PORT, directConnection=True) as admin:
        for offset in (5000, -5000, 0):
            world.set_clock(f"{offset:+}")

            def jumped(wanted: float = offset) -> bool:
                try:
                    there: float = admin.admin.command("hello")["localTime"].replace(tzinfo=None).timestamp()
                except PyMongoError:
                    return False
                return abs(there - time.time() - wanted) < 100

            await eventually(jumped, 10)
            course = f"c{offset % 13}"
            await eventually(lambda name=f"at{offset}", course=course: taken(client, name, course), 30)  # type: ignore[misc]
            listed = (await client.get(f"/recommendations/at{offset}?n=100")).json()["items"]
            assert course not in {item["course_id"] for item in listed}
            assert await ended(client) in {"succeeded", "rejected"}
    await eventually(lambda: status(client, "/health/ready", 200), 30)


async def some_learners(client: httpx.AsyncClient) -> None:
    """Enough to train with, whichever tests ran before."""
    rows = [{"user_id": f"u{number % 40}", "course_id": f"c{number % 13}"} for number in range(200)]
    assert (await client.post("/interactions", json=rows)).status_code == 200


async def taken(client: httpx.AsyncClient, user_id: str, course_id: str) -> bool:
    answer = await client.post("/interactions", json={"user_id": user_id, "course_id": course_id})
    assert answer.status_code in {200, 503}, answer.text
    return answer.status_code == 200
