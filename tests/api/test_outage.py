"""The database is dead: who needs it is told so at once, and recommendations go on."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import psutil
import pytest

from app.cli.client import Client, await_model, follow_run, request_run
from app.store.embedded import EmbeddedMongod
from scripts.faults.proxy import Proxy
from tests.support.up import Up

HOW = ("killed", "hangs", "silent")
SECONDS = 2.0  # in which a 503 must be there: the setting's default. 1.4 are meant, the rest is for a busy machine


@dataclass
class World:
    """A service, its database, and the network between them."""

    url: str
    mongod: EmbeddedMongod
    proxy: Proxy

    def break_off(self, how: str) -> None:
        """Let the database be dead."""
        assert self.mongod.process is not None
        if how == "killed":
            self.mongod.process.kill()
            self.mongod.process.wait()
        elif how == "hangs":
            self.mongod.process.send_signal(signal.SIGSTOP)
            while psutil.Process(self.mongod.process.pid).status() != psutil.STATUS_STOPPED:
                time.sleep(0.01)
        else:
            self.proxy.set("silent")

    def mend(self, how: str) -> None:
        """Let it live again."""
        assert self.mongod.process is not None
        if how == "killed":
            self.mongod.start()
        elif how == "hangs":
            self.mongod.process.send_signal(signal.SIGCONT)
        else:
            self.proxy.set("pass")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("outage")
    mongod = EmbeddedMongod(folder / "mongod")
    port = int(mongod.start().split(":")[2].split("/")[0])
    proxy = Proxy(port)
    environment = {
        "MONGODB_URI": f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true",
        "COURSEGRAPH_AUTO_TRAIN": "false",
        "COURSEGRAPH_EPOCHS": "3",
        "COURSEGRAPH_TIME_BUDGET_SECONDS": "0",
        "COURSEGRAPH_CACHE_DIR": str(folder / "cache"),
    }
    try:
        with Up(folder / "up", environment=environment) as up:
            with Client(up.url) as client:
                rows = [{"user_id": f"{how}-{row % 7}", "course_id": f"c{row}"} for how in HOW for row in range(30)]
                client.post("/interactions", rows)
                (*_, ended) = follow_run(client, request_run(client))
                assert ended["status"] == "succeeded", ended
                await_model(client, ended["model_id"], "hangs-1")
            yield World(up.url, mongod, proxy)
    finally:
        mongod.stop(timeout_seconds=0)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def calls_that_need_it(how: str) -> list[tuple[str, str, object]]:
    """Method, path and body; of Gorse's too."""
    row = {"user_id": f"{how}-1", "course_id": "c1"}
    feedback = {"FeedbackType": "enroll", "UserId": f"{how}-1", "ItemId": "c1", "Timestamp": "2026-01-07T10:00:00Z"}
    return [
        ("GET", f"/users/{how}-1", None),
        ("PUT", f"/users/{how}-1", {}),
        ("PATCH", f"/courses/{how}", {"title": "New"}),
        ("DELETE", f"/users/{how}-2", None),
        ("GET", "/interactions?limit=2", None),
        ("POST", "/interactions", [row] * 30),
        ("GET", "/statistics", None),
        ("GET", "/export/interactions", None),
        ("GET", "/training/runs", None),
        ("POST", "/training/runs", None),
        ("GET", "/pictures/loss.svg", None),
        ("GET", f"/recommendations/{how}-1?include_course=true", None),  # which nobody has asked for before
        ("GET", f"/recommendations/{how}-nobody?strict=true", None),
        ("GET", f"/api/user/{how}-1", None),
        ("POST", "/api/feedback", [feedback]),
        ("GET", f"/api/recommend/{how}-1?write-back-type=read", None),
    ]


@pytest.mark.parametrize("how", HOW)
def test_a_dead_database_is_told_within_two_seconds_and_lists_go_on(world: World, how: str) -> None:
    """Also while large batches are read and checked, which the event loop is busy with."""
    rows = [{"user_id": f"{how}-{row % 7}", "course_id": f"c{row}"} for row in range(30)]
    large = orjson.dumps([{"user_id": f"{how}-{row}", "course_id": f"c{row % 30}"} for row in range(10_000)])
    json = {"content-type": "application/json"}
    with httpx.Client(base_url=world.url, timeout=20) as client, ThreadPoolExecutor(40) as pool:
        assert client.post("/interactions", json=rows).json()["accepted"] == 30
        until(lambda: client.get("/health/ready").status_code == 200)

        def timed(method: str, path: str, **options: Any) -> tuple[str, int, float]:
            started = time.monotonic()
            status = client.request(method, path, **options).status_code
            return f"{method} {path}", status, time.monotonic() - started

        posting = [pool.submit(timed, "POST", "/interactions", content=large, headers=json) for _ in range(2)]
        world.break_off(how)
        try:
            began = time.monotonic()
            told, lists = [], []
            while time.monotonic() - began < 5:
                asked = [pool.submit(timed, method, path, json=body) for method, path, body in calls_that_need_it(how)]
                asked += [pool.submit(timed, "POST", "/interactions", content=large, headers=json) for _ in range(4)]
                listed = [pool.submit(timed, "GET", f"/recommendations/{how}-{number}") for number in range(4)]
                told += [one.result() for one in asked]
                lists += [one.result() for one in listed]
            told += [one.result() for one in posting]
            assert {status for _, status, _ in told} == {503}, told
            assert {status for _, status, _ in lists} == {200}
            assert max(seconds for *_, seconds in told) <= SECONDS, told
            assert max(seconds for *_, seconds in lists) < 1.0
        finally:
            world.mend(how)
        until(lambda: client.post("/interactions", json=rows).status_code == 200)
        assert len(client.get(f"/users/{how}-1/interactions").json()["items"]) >= 4
