"""What API and worker do when one of them, or the database, is in trouble and the others are not."""

import asyncio
import contextlib
import resource
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect

from app.store.client import Database, open_database, prepare_database
from app.store.embedded import EmbeddedMongod
from app.store.interactions import InteractionStore
from app.store.models import ModelStore
from app.store.runs import RunStore
from scripts.faults.proxy import Proxy
from tests.api.test_processes import process
from tests.support.processes import eventually
from tests.worker.test_checkpoints import load_tastes, worker_process

NAME = "faults"
HOW = {
    "filter": "none",
    "l2_weight": "0.0001",
    "time_budget_seconds": "0",
    "embedding_size": "512",
    "lease_seconds": "1.5",
}


@dataclass
class World:
    """An API, a database of its own, and a network to each of API and worker."""

    url: str
    uri: str
    api_network: Proxy
    worker_network: Proxy

    @property
    def worker_uri(self) -> str:
        """The database as the worker reaches it."""
        return through(self.worker_network)


def through(proxy: Proxy) -> str:
    return f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("faults")
    mongod = EmbeddedMongod(folder / "mongod")
    try:
        uri = mongod.start()
        port = int(uri.split(":")[2].split("/")[0])
        api_network, worker_network = Proxy(port), Proxy(port)
        with process(through(api_network), NAME, folder / "cache") as url:
            yield World(url, uri, api_network, worker_network)
    finally:
        mongod.stop(timeout_seconds=0)


@pytest.fixture
async def known(world: World) -> AsyncIterator[Database]:
    """The database, with something to learn from, as nobody else sees it."""
    async with open_database(world.uri, NAME, timeout_seconds=5.0, app_name="tests") as database:
        await prepare_database(database)
        await load_tastes(database)
        yield database


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=world.url, timeout=20) as client:
        await eventually(lambda: ready(client), 30)
        yield client


async def ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/health/ready")).status_code == 200


async def served(client: httpx.AsyncClient, model_id: str | None) -> bool:
    return bool((await client.get("/recommendations/u001")).json()["model_id"] == model_id)


async def ended(database: Database, run_id: str, seconds: float = 60.0) -> str:
    async def over() -> bool:
        return (await RunStore(database).get(run_id)).ended_at is not None

    await eventually(over, seconds)
    return (await RunStore(database).get(run_id)).status


async def test_a_primary_that_steps_down_is_told_and_serves_again(
    world: World, known: Database, client: httpx.AsyncClient
) -> None:
    with MongoClient[dict[str, object]](world.uri) as admin:
        with contextlib.suppress(AutoReconnect):  # it may break its connections off
            admin.admin.command("replSetStepDown", 2, force=True)
        statuses: list[int] = []
        taken: set[str] = set()
        deadline = time.monotonic() + 30
        while len(statuses) < 3 or statuses[-1] != 200 or 503 not in statuses:
            assert time.monotonic() < deadline, statuses
            course = f"stepped-{len(statuses)}"
            answer = await client.post("/interactions", json={"user_id": "stepped", "course_id": course})
            statuses.append(answer.status_code)
            taken |= {course} if answer.status_code == 200 else set()
            assert (await client.get("/recommendations/u001")).status_code == 200
            await asyncio.sleep(0.02)
    assert set(statuses) == {200, 503}
    stored = (await InteractionStore(known).page(1000, user_id="stepped")).items
    assert taken <= {row.course_id for row in stored}


@pytest.fixture(scope="module")
def worker(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    """Whose runs are too long to end, behind a network of its own.  Tests go on with it as the one before left it."""
    folder = tmp_path_factory.mktemp("slow")
    with worker_process(world.worker_uri, NAME, folder, epochs="100000", **HOW) as started:
        psutil.Process(started.pid).nice(10)  # what it computes is thrown away: let the others have the processor
        yield started


async def test_a_worker_that_is_cut_off_stops_nobody_while_the_api_that_is_cut_off_goes_on_with_lists(
    world: World, known: Database, client: httpx.AsyncClient, worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    row = {"user_id": "u001", "course_id": "c01"}
    run_id = (await client.post("/training/runs")).json()["run_id"]
    await eventually(lambda: running(known, run_id), 30)
    with worker_process(world.uri, NAME, tmp_path, epochs="3", **HOW):
        world.worker_network.set("silent")
        try:
            lapsed = {"_id": "lease", "$expr": {"$lte": ["$expires_at", "$$NOW"]}}
            await eventually(lambda: count(known, lapsed), 10)
            assert (await client.post("/interactions", json=row)).status_code == 200
            assert (await client.post("/training/runs")).status_code == 409
            assert await ended(known, run_id) == "succeeded"  # taken over by the other
        finally:
            world.worker_network.set("pass")
        first = (await RunStore(known).get(run_id)).model_id
        await eventually(lambda: served(client, first), 30)

        world.api_network.set("silent")
        try:
            run = await RunStore(known).request("request", {})
            began = time.monotonic()
            assert (await client.post("/interactions", json=row)).status_code == 503
            assert time.monotonic() - began < 2.5
            assert (await client.get("/recommendations/u001")).status_code == 200
            assert await ended(known, run.run_id) in {"succeeded", "rejected"}
        finally:
            world.api_network.set("pass")
        await eventually(lambda: ready(client), 30)
        current = await ModelStore(known).current()
        await eventually(lambda: served(client, current), 30)
        assert (await client.post("/interactions", json=row)).status_code == 200

    # The late one, which believed it was training, published nothing over it, and does the next run.
    again = await RunStore(known).request("request", {})
    await eventually(lambda: running(known, again.run_id), 30)
    await RunStore(known).request_cancel(again.run_id)
    assert await ended(known, again.run_id) == "cancelled"
    assert await ModelStore(known).current() == current
    assert worker.poll() is None


async def running(database: Database, run_id: str) -> bool:
    return (await RunStore(database).get(run_id)).status == "running"


async def count(database: Database, condition: Mapping[str, object]) -> bool:
    return bool(await database["settings"].count_documents(condition))


async def test_a_worker_without_memory_fails_its_run_and_the_old_model_stays(
    known: Database, client: httpx.AsyncClient, worker: subprocess.Popen[bytes]
) -> None:
    current = await ModelStore(known).current()
    own = psutil.Process(worker.pid)
    room = own.memory_info().vms + 2**28  # threads may start; some ten arrays of 20,000 vectors of 512 do not fit
    own.rlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
    many = [{"user_id": f"many-{number}", "course_id": f"m{number % 500}"} for number in range(20_000)]
    for half in (many[:10_000], many[10_000:]):
        assert (await client.post("/interactions", json=half)).status_code == 200
    run = await RunStore(known).request("request", {})
    assert await ended(known, run.run_id) == "failed"
    error = (await RunStore(known).get(run.run_id)).error
    assert error is not None
    assert "memory" in error.detail.lower(), error
    assert await ModelStore(known).current() == current
    assert (await client.get("/recommendations/u001")).status_code == 200
    assert worker.poll() is None, "the worker itself lives on"


WITHOUT_THREADS = """
import threading
import app.cli.work as work
from app.cli import main
work.STILL_SECONDS, work.ALIVE_SECONDS = 2.0, 0.2
begin = threading.Thread.start
def start(thread):
    if thread.name.startswith("asyncio_"):
        threading.Event().wait()  # as the interpreter does when a thread dies before it has begun
    begin(thread)
threading.Thread.start = start
main()
"""


async def test_a_worker_that_stands_still_ends_and_its_run_is_taken_over(
    database: Database, mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    await load_tastes(database)
    await RunStore(database).request("request", {})
    with worker_process(mongodb_uri, database_name, tmp_path, command=["-c", WITHOUT_THREADS, "work"]) as worker:
        await eventually(lambda: worker.poll() is not None, 60)
        assert worker.returncode == -signal.SIGALRM, (tmp_path / "log").read_text()
    assert await RunStore(database).take_over_orphans(fence=2, detail="it died") == 1
