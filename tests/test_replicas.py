"""Three API processes in three network namespaces, behind the proxy of docker-compose.yml, and one database."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo.uri_parser import parse_uri

from app.schemas.courses import Course
from app.schemas.interactions import Interaction
from app.store.client import Database
from app.store.courses import CourseStore
from app.store.interactions import InteractionStore
from scripts.faults.proxy import Proxy
from tests.support.namespaces import OUTSIDE, Hosts, needs_namespaces
from tests.support.published import publish_model

pytestmark = [
    needs_namespaces,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy"),
    pytest.mark.timeout(120),
]
CONFIG = Path(__file__).parents[1] / "scripts/proxy/haproxy.cfg"
KEY = "k" * 32
HEADERS = {"X-API-Key": KEY}
PORT = 8000
EVERYWHERE_SECONDS = 1.0


class Replica:
    """An API process on a machine."""

    def __init__(self, hosts: Hosts, name: str, database_port: int, environment: dict[str, str]) -> None:
        uri = f"mongodb://{hosts.address(OUTSIDE, name)}:{database_port}/?directConnection=true"
        self.address = hosts.address(name, OUTSIDE)
        self.url = f"http://{self.address}:{PORT}"
        serve = [sys.executable, "-m", "app", "serve", "--host", "0.0.0.0", "--port", str(PORT)]
        self._command = hosts.command(name, serve)
        self._environment = environment | {"MONGODB_URI": uri}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Until it is ready."""
        self.begin()
        self.wait()

    def begin(self) -> None:
        """Start it, and do not wait."""
        self._process = subprocess.Popen(self._command, env=self._environment, stderr=subprocess.DEVNULL)

    def wait(self) -> None:
        """Until it is ready."""
        wait_for(lambda: status_of(f"{self.url}/health/ready") == 200)

    def end(self, number: int) -> None:
        """Until it has ended."""
        assert self._process is not None
        self._process.send_signal(number)  # `ip netns exec` has become the process itself
        self._process.wait(20)

    def close(self) -> None:
        """Leave nothing behind."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"not within {seconds} s"
        time.sleep(0.02)


def status_of(url: str) -> int | None:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=2).status_code
    return None


class Clients:
    """Ask without a pause, and keep what was not answered with 200."""

    def __init__(self, url: str) -> None:
        self.answered, self.wrong = 0, list[str]()
        self._url, self._ended = url, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(4)]

    def _ask(self, number: int) -> None:
        kept = number % 2 == 0  # half of them keep their connections
        client = httpx.Client(headers=HEADERS if kept else HEADERS | {"Connection": "close"}, timeout=10)
        with client:
            for asked in count():
                if self._ended.is_set():
                    return
                try:
                    answer = client.get(f"{self._url}/recommendations/u{asked % 20}")
                except httpx.HTTPError as error:
                    self.wrong.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.answered += 1
                else:
                    self.wrong.append(answer.text)

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def more(self, n: int = 100) -> None:
        """Until so many more were answered."""
        before = self.answered
        wait_for(lambda: self.answered >= before + n)


@contextlib.contextmanager
def proxy(replicas: list[Replica], folder: Path) -> Iterator[str]:
    """The proxy, with these machines instead of what Docker's name server knows."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    servers = "\n".join(f"  server api{n} {each.address}:{PORT}" for n, each in enumerate(replicas))
    text, n_templates = re.subn(r"^  server-template .*$", servers, CONFIG.read_text(), flags=re.MULTILINE)
    assert n_templates == 1
    path = folder / "haproxy.cfg"
    path.write_text(text.replace("bind :8080", f"bind 127.0.0.1:{port}"))
    with subprocess.Popen(
        ["haproxy", "-f", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: status_of(f"{url}/health/ready") == 200)
            yield url
        finally:
            process.kill()


def seconds_until_everywhere(url: str, replicas: list[Replica], user_id: str, course_id: str) -> float:
    """From the answer to an interaction until no process lists the course."""
    row = [{"user_id": user_id, "course_id": course_id}]
    assert httpx.post(f"{url}/interactions", json=row, headers=HEADERS, timeout=10).status_code == 200
    began = time.monotonic()
    for each in replicas:

        def is_gone(asked: str = f"{each.url}/recommendations/{user_id}?n=50") -> bool:
            answer: dict[str, Any] = httpx.get(asked, headers=HEADERS, timeout=10).json()
            return course_id not in {item["course_id"] for item in answer["items"]}

        wait_for(is_gone)
    return time.monotonic() - began


async def stored(db: Database, uri: str, folder: Path) -> None:
    await CourseStore(db).put_many([Course(course_id=f"c{number}", title=f"Course {number}") for number in range(30)])
    rows = [Interaction(user_id=f"u{n % 20}", course_id=f"c{n % 17}", type="view") for n in range(120)]
    await InteractionStore(db).write_many(rows, auto_create=True)
    await publish_model(db, uri, folder, propagated=True)


async def test_killing_draining_and_adding_under_load_nobody_notices(
    database: Database, mongodb_uri: str, tmp_path: Path
) -> None:
    await stored(database, mongodb_uri, tmp_path)
    own = {key: value for key, value in os.environ.items() if not key.startswith(("COURSEGRAPH_", "MONGODB_"))}
    own |= {"MONGODB_DATABASE": database.name, "COURSEGRAPH_ADMIN_KEY": KEY, "COURSEGRAPH_DRAIN_SECONDS": "2"}
    database_port = parse_uri(mongodb_uri)["nodelist"][0][1]
    with contextlib.ExitStack() as stack:
        names = ["api0", "api1", "api2"]
        hosts, replicas = stack.enter_context(Hosts([(name, OUTSIDE) for name in names])), []
        for name in names:
            door = Proxy(database_port, host=hosts.address(OUTSIDE, name))
            cache = {"COURSEGRAPH_CACHE_DIR": str(tmp_path / f"cache-{name}")}
            replicas.append(Replica(hosts, name, door.port, own | cache))
            stack.callback(replicas[-1].close)
        killed, drained, added = replicas
        killed.begin()
        drained.start()
        killed.wait()
        url = stack.enter_context(proxy(replicas, tmp_path))
        with Clients(url) as clients:
            clients.more()
            added.start()
            clients.more()
            seconds = [seconds_until_everywhere(url, replicas, f"u{number}", f"c{20 + number}") for number in range(5)]
            killed.end(signal.SIGKILL)
            clients.more()
            killed.start()
            clients.more()
            drained.end(signal.SIGTERM)
            clients.more()
        assert clients.wrong == []
        assert sorted(seconds)[2] < EVERYWHERE_SECONDS, seconds
