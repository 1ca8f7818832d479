"""How fast lists are answered, beside a bare FastAPI endpoint that returns the same bytes.

Starts a mongod, the service with a model of random vectors, and the bare endpoint behind an equal table of routes; asks
both in turn, several rounds, so that a machine with other things to do slows both.  The load comes from wrk when it is
installed, else from a generator in Python.  Exit code 1 when a ratio is missed.

"fold-in, first" are the first lists of users who have taken one course since the model, each asked for once, "again"
later ones of the same users, and "third" the first lists after the third course.
"""

import asyncio
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import click
import httpx
import numpy as np
import psutil
from numpy.typing import NDArray
from pymongo import MongoClient

from app.artifact.manifest import Description
from app.artifact.top_lists import with_top_lists
from app.artifact.write import write_artifact
from app.cli.dataset import TRAIN, read_rows
from app.domain.contents import ArtifactContents
from app.domain.item_filter import ItemFilter
from app.domain.vocabulary import Vocabulary
from app.store.client import client_options, cluster_time, open_database, prepare_database
from app.store.embedded import EmbeddedMongod
from app.store.lease import Lease
from app.store.models import ModelStore
from app.training.filters import n_neighbours

PARTS = Path(__file__).parent / "serving_parts"
DATABASE = "benchmark"
SIZE, TAKEN, CATEGORIES = 64, 20, 40  # numbers in a vector, courses a user, categories
FOLDED = 20_000  # users with an interaction after the model, then with three
CONNECTIONS = (1, 16, 64)
JUDGED = 16  # connections at which the ratios are judged
WANTED = {
    "default": (0.95, 0.95),
    "filters": (0.7, 0.7),
    "explain": (0.45, 0.45),
    "fold-in, first": (0.5, 0.2),
    "fold-in, again": (0.95, 0.95),
}  # least ratio up to 5,000 courses and above
LEAST_BATCH = 5_000  # lists a second
PLAIN = {"Accept-Encoding": "identity"}
MOST_P99 = 1.25  # of the bare endpoint's, default options
MOST_PRIVATE_MB = 150.0

WRK_SCRIPT = """
local requests = {}
init = function(args)
  for line in io.lines("%s") do requests[#requests + 1] = wrk.format("GET", line) end
  math.randomseed(os.time())
end
request = function() return requests[math.random(#requests)] end
done = function(summary, latency, requests)
  local errors = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
  io.write(string.format('JSON {"requests": %%d, "seconds": %%f, "errors": %%d, "p50_ms": %%f, "p99_ms": %%f}\\n',
    summary.requests, summary.duration / 1e6, errors + summary.errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
"""


@dataclass
class Measured:
    """Rounds of one kind of request: ours and the bare endpoint's requests a second, and latencies of both."""

    rates: list[float] = field(default_factory=list)
    bare_rates: list[float] = field(default_factory=list)
    latencies: list[tuple[float, float]] = field(default_factory=list)  # p50, p99
    bare_latencies: list[tuple[float, float]] = field(default_factory=list)
    errors: int = 0

    @property
    def ratio(self) -> float:
        """The median of the rounds', each of which had the machine for itself as much as the other."""
        return median(ours / bare for ours, bare in zip(self.rates, self.bare_rates, strict=True))


@click.command(help=__doc__)
@click.option("--courses", multiple=True, default=(5_000, 40_000), show_default=True, help="Catalogues to measure.")
@click.option("--users", default=100_000, show_default=True)
@click.option("--seconds", default=1.0, show_default=True, help="Of each load.")
@click.option("--rounds", default=9, show_default=True, help="Of ours and the bare one in turn.")
@click.option("--item-filter/--no-item-filter", default=None, help="Models with or without one; both when not given.")
@click.option("--python-load", is_flag=True, help="Load from Python even if wrk is there.")
@click.option("--swaps", type=int, help="Instead: at least so many requests during five swaps and a rolling restart.")
@click.option(
    "--batch", type=click.Path(path_type=Path), help="Instead: lists of all users of the data set in this folder."
)
def main(
    *,
    courses: tuple[int, ...],
    users: int,
    seconds: float,
    rounds: int,
    item_filter: bool | None,
    python_load: bool,
    swaps: int | None,
    batch: Path | None,
) -> None:
    """Measure and print a table."""
    if swaps is not None:
        sys.exit(0 if swap_under_load(swaps) else 1)
    if batch is not None:
        sys.exit(0 if stream_batch(batch) else 1)
    wrk = None if python_load else shutil.which("wrk")
    print(f"load from {'wrk' if wrk else 'Python'}; {users:,} users; medians of {rounds} rounds of {seconds:g} s")
    with_filter = (False, True) if item_filter is None else (item_filter,)
    met = [
        measure_catalogue(make_contents(users, n, item_filter=has), seconds, rounds, wrk)
        for n in courses
        for has in with_filter
    ]
    sys.exit(0 if all(met) else 1)


def measure_catalogue(contents: ArtifactContents, seconds: float, rounds: int, wrk: str | None) -> bool:
    """All kinds of requests on such a model; whether the targets are met."""
    with tempfile.TemporaryDirectory(prefix="coursegraph-bench-") as name:
        folder = Path(name)
        mongod = EmbeddedMongod(folder / "mongod")
        uri = mongod.start()
        try:
            publisher = Publisher(uri, folder, contents)
            publisher.store_courses()
            publisher.publish()
            with serving(uri, folder) as (process, port):
                return measure_service(Load(port, folder, seconds, rounds, wrk), publisher, process)
        finally:
            mongod.stop(timeout_seconds=0)


def measure_service(load: "Load", publisher: "Publisher", process: psutil.Process) -> bool:
    """The table of a catalogue; whether the targets are met."""
    n_courses = publisher.n_courses
    kind = "" if publisher.contents.item_filter is None else ", item filter"
    title = f"{n_courses:,} courses{kind}"
    print(
        f"\n{title:29}c      req/s       bare  ratio   p50    p99   bare p99  wanted      load {os.getloadavg()[0]:.1f}"
    )
    at_first = anonymous_mb(process)
    users = [f"/recommendations/u{number}" for number in range(publisher.n_users)]
    filtered = [f"{path}?category=k{i % CATEGORIES}&category=k{7 * i % CATEGORIES}" for i, path in enumerate(users)]
    explained = [f"{path}?explain=true" for path in users]
    met = True
    with bare_endpoint(load, users[0]) as bare_port:
        for connections in CONNECTIONS:
            met &= show("default", load.compare(users, bare_port, connections), connections, n_courses)
        with disturbance(load.url, publisher):
            show("default, writes, swaps", load.compare(users, bare_port, JUDGED), JUDGED, n_courses)
    for kind, paths in (("filters", filtered), ("explain", explained)):
        with bare_endpoint(load, paths[0]) as bare_port:
            met &= show(kind, load.compare(paths, bare_port, JUDGED), JUDGED, n_courses)
    folded = users[-FOLDED:]
    with bare_endpoint(load, folded[0]) as bare_port:
        for kind in ("fold-in, first", "fold-in, third"):
            measured = Measured()
            if kind == "fold-in, third":
                publisher.post_interactions(load.url, folded)  # the second, after which nobody asks
            for start in range(load.rounds):
                some = folded[start :: load.rounds]
                publisher.post_interactions(load.url, some)
                load.compare(some, bare_port, JUDGED, measured, once=True)
            met &= show(kind, measured, JUDGED, n_courses)
            met &= show("fold-in, again", load.compare(folded, bare_port, JUDGED), JUDGED, n_courses)
    private = anonymous_mb(process)
    print(
        f"private memory {at_first:.0f} MB with the model, {private:.0f} MB after all this, {FOLDED:,} users changed; "
        f"wanted at most {MOST_PRIVATE_MB:.0f}"
    )
    return met and private <= MOST_PRIVATE_MB


def show(kind: str, measured: Measured, connections: int, n_courses: int) -> bool:
    """A line of the table; whether it is as wanted."""
    p50, p99 = (median(values) for values in zip(*measured.latencies, strict=True))
    _, bare_p99 = (median(values) for values in zip(*measured.bare_latencies, strict=True))
    wanted = WANTED[kind][n_courses > 5_000] if kind in WANTED and connections == JUDGED else None
    met = wanted is None or measured.ratio >= wanted
    if wanted is not None and kind == "default":
        met = met and p99 <= MOST_P99 * bare_p99
    print(
        f"{kind:24} {connections:4} {median(measured.rates):10,.0f} {median(measured.bare_rates):10,.0f} "
        f"{measured.ratio:6.2f} {p50:5.2f} {p99:6.2f} {bare_p99:10.2f}  "
        + ("" if wanted is None else f">= {wanted}: {'met' if met else 'MISSED'}")
        + (f"  {measured.errors} ERRORS" if measured.errors else ""),
        flush=True,
    )
    return met and not measured.errors


class Load:
    """Where the load goes, and how much of it."""

    def __init__(self, port: int, folder: Path, seconds: float, rounds: int, wrk: str | None) -> None:
        self.port, self.folder, self.seconds, self.rounds, self._wrk = port, folder, seconds, rounds, wrk
        self.url = f"http://127.0.0.1:{port}"

    def compare(
        self,
        paths: list[str],
        bare_port: int,
        connections: int,
        measured: Measured | None = None,
        *,
        once: bool = False,
    ) -> Measured:
        """Ours and the bare endpoint in turn.  once: one round in which both are asked each path one time."""
        file = self.folder / "paths"
        file.write_text("\n".join(paths))
        measured = measured or Measured()
        for _ in range(1 if once else self.rounds):
            ours = self.run(self.port, file, connections, once=once)
            bare = self.run(bare_port, file, connections, once=once)
            measured.rates.append(ours["requests"] / ours["seconds"])
            measured.bare_rates.append(bare["requests"] / bare["seconds"])
            measured.latencies.append((ours["p50_ms"], ours["p99_ms"]))
            measured.bare_latencies.append((bare["p50_ms"], bare["p99_ms"]))
            measured.errors += ours["errors"] + bare["errors"]
            if ours.get("first_error"):
                print(ours["first_error"], file=sys.stderr)
        return measured

    def run(self, port: int, file: Path, connections: int, *, once: bool) -> dict[str, Any]:
        """One load: requests, seconds, errors and latencies."""
        if self._wrk and not once:
            script = self.folder / "load.lua"
            script.write_text(WRK_SCRIPT % file)
            command = [self._wrk, "-t1", f"-c{connections}", f"-d{max(1, round(self.seconds))}s", "-s", str(script)]
            said = subprocess.run([*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True)
            line = next(line for line in said.stdout.splitlines() if line.startswith("JSON "))
            found: dict[str, Any] = json.loads(line.removeprefix("JSON "))
            return found
        order = "once" if once else "random"
        seconds = 600 if once else self.seconds
        command = [sys.executable, str(PARTS / "load.py"), str(port), str(connections), str(seconds), order, str(file)]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        answer: dict[str, Any] = json.loads(said.stdout)
        return answer


# --- swaps and restarts


def swap_under_load(n_requests: int) -> bool:
    """Ask while models are swapped and processes restarted one by one; whether every answer was right."""
    asked = Asked()
    with tempfile.TemporaryDirectory(prefix="coursegraph-bench-") as name:
        folder = Path(name)
        mongod = EmbeddedMongod(folder / "mongod")
        uri = mongod.start()
        try:
            publisher = Publisher(uri, folder, make_contents(500, 200))
            publisher.store_courses()
            publisher.publish()
            with serving(uri, folder, "--workers", "2") as (parent, port), asking(port, asked):
                for seed in range(1, 6):
                    time.sleep(1)
                    publisher.publish(make_contents(500, 200, seed))
                for child in parent.children():
                    child.terminate()
                    child.wait(20)
                    wait_for(lambda: len(parent.children()) == 2)
                    time.sleep(3)
                wait_for(lambda: asked.requests >= n_requests, 600)
        finally:
            mongod.stop(timeout_seconds=0)
    print(f"{asked.requests:,} requests, {len(asked.models)} models, {len(asked.problems)} problems")
    print(*asked.problems[:5], sep="\n")
    return not asked.problems and len(asked.models) == 6


class Asked:
    """What was asked, and what was wrong with the answers."""

    def __init__(self) -> None:
        self.requests = 0
        self.problems: list[str] = []
        self.models: set[str] = set()
        self._lists: dict[tuple[str, str], Any] = {}  # of each model and user there is one

    def ask(self, connection: http.client.HTTPConnection, user_id: str) -> None:
        """Ask on this connection, which is opened again after the service has closed it."""
        try:
            connection.request("GET", f"/recommendations/{user_id}")
            answer = connection.getresponse()
            body = json.loads(answer.read())
            self.requests += 1
            if answer.status != 200:
                self.problems.append(str(body))
                return
            self.models.add(body["model_id"])
            if self._lists.setdefault((body["model_id"], user_id), body["items"]) != body["items"]:
                self.problems.append(f"{user_id} got two lists of {body['model_id']}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.problems.append(repr(error))
            connection.close()


@contextmanager
def asking(port: int, asked: Asked) -> Iterator[None]:
    """Ask while the block runs: half of the callers keep their connections, half open one for each request."""
    ended = threading.Event()

    def ask(*, keeps: bool) -> None:
        number = 0
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        while not ended.is_set():
            number += 1
            asked.ask(connection, f"u{number % 50}")
            if not keeps:
                connection.close()
        connection.close()

    threads = [threading.Thread(target=ask, kwargs={"keeps": number % 2 == 0}) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


# --- batches


def stream_batch(dataset: Path) -> bool:
    """Lists of all users of a data set as one batch; whether they come fast enough."""
    rows = list(read_rows(dataset / TRAIN))
    users, courses = (Vocabulary(sorted(ids)) for ids in ({row.user_id for row in rows}, {row.item_id for row in rows}))
    pairs = {(users.row(row.user_id), courses.row(row.item_id)) for row in rows}
    columns = np.array(sorted(pairs), np.int64)
    contents = make_contents(len(users), len(courses), taken=(columns[:, 0], columns[:, 1].astype(np.int32)))
    met = True
    with tempfile.TemporaryDirectory(prefix="coursegraph-bench-") as name:
        folder = Path(name)
        mongod = EmbeddedMongod(folder / "mongod")
        uri = mongod.start()
        try:
            publisher = Publisher(uri, folder, replace(contents, users=users, items=courses))
            publisher.store_courses()
            publisher.publish()
            with serving(uri, folder) as (process, port):
                for times in (1, 1, 5):  # the last: five times as many lines in no more memory
                    rate, grown = _stream(f"http://127.0.0.1:{port}", [*users.ids] * times, process)
                    load = f"load {os.getloadavg()[0]:.1f}"
                    print(f"{times * len(users):,} users: {rate:,.0f} a second, {grown:+.1f} MB meanwhile; {load}")
                    met = met and rate >= LEAST_BATCH
        finally:
            mongod.stop(timeout_seconds=0)
    return met


def _stream(url: str, user_ids: list[str], process: psutil.Process) -> tuple[float, float]:
    """Lists a second, and by how much the memory of the process grew from the first piece on."""
    began, lines, sizes = time.perf_counter(), 0, list[float]()
    with httpx.stream(
        "POST", f"{url}/recommendations/batch", json={"user_ids": user_ids}, timeout=600, headers=PLAIN
    ) as answer:
        for chunk in answer.iter_raw():
            lines += chunk.count(b"\n")
            sizes.append(anonymous_mb(process))
    if lines != len(user_ids):
        raise RuntimeError(f"{lines} lines came; wanted {len(user_ids)}")
    return lines / (time.perf_counter() - began), max(sizes) - sizes[0]


# --- what is asked


@contextmanager
def serving(uri: str, folder: Path, *options: str) -> Iterator[tuple[psutil.Process, int]]:
    """The service on a port, its model loaded."""
    port = free_port()
    environment = os.environ | {
        "MONGODB_URI": uri,
        "MONGODB_DATABASE": DATABASE,
        "COURSEGRAPH_CACHE_DIR": str(folder / "cache"),
        "COURSEGRAPH_LOG_LEVEL": "warning",
    }
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), *options]
    with subprocess.Popen(command, env=environment) as process:
        try:
            wait_for(lambda: bool(httpx.get(f"http://127.0.0.1:{port}/popular?n=1").json().get("model_id")))
            yield psutil.Process(process.pid), port
        finally:
            process.terminate()


@contextmanager
def bare_endpoint(load: "Load", path: str) -> Iterator[int]:
    """The bare endpoint on a port, with what the service answers to this."""
    body = httpx.get(f"{load.url}{path}", headers=PLAIN).content
    file, port = load.folder / "body", free_port()
    file.write_bytes(body)
    with subprocess.Popen([sys.executable, str(PARTS / "bare.py"), str(port), str(file)]) as process:
        try:
            wait_for(lambda: httpx.get(f"http://127.0.0.1:{port}/recommendations/u0").content == body)
            yield port
        finally:
            process.terminate()


@contextmanager
def disturbance(url: str, publisher: "Publisher") -> Iterator[None]:
    """While the block runs somebody posts interactions, and models are swapped."""
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.wait(0.1):
            number += 1
            row = {"user_id": f"u{number}", "course_id": f"c{number % publisher.n_courses}"}
            httpx.post(f"{url}/interactions", json=row).raise_for_status()

    def swap() -> None:
        while not ended.wait(5.0):
            publisher.publish()

    threads = [threading.Thread(target=target) for target in (write, swap)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


class Publisher:
    """Courses in the database, and models of random vectors."""

    def __init__(self, uri: str, folder: Path, contents: ArtifactContents) -> None:
        self._uri, self._folder = uri, folder
        self.contents = with_top_lists(contents)
        self.n_users, self.n_courses = len(contents.users), len(contents.items)
        self._next_course = 0

    def store_courses(self) -> None:
        """As they would be stored by the API."""
        self.of_courses(self._uri, self.contents.items.ids)

    @staticmethod
    def of_courses(uri: str, ids: Sequence[str]) -> None:
        """Courses with these ids."""
        now = datetime.now(UTC)
        documents = [
            {
                **{"_id": course_id, "title": f"Course {number}", "categories": [f"k{number % CATEGORIES}"]},
                **{"tags": [f"t{number % 500}"], "level": "beginner", "language": "en", "available": True},
                **{"prerequisites": [], "attributes": "{}", "created_at": now, "updated_at": now},
            }
            for number, course_id in enumerate(ids)
        ]
        with MongoClient[dict[str, Any]](uri, **client_options(30, "benchmark")) as client:
            client[DATABASE]["courses"].insert_many(documents)

    def publish(self, contents: ArtifactContents | None = None) -> None:
        """A new current model: this one, or the last one again."""
        if contents is not None:
            self.contents = with_top_lists(contents)
        asyncio.run(self._publish())

    async def _publish(self) -> None:
        async with open_database(self._uri, DATABASE, timeout_seconds=30, app_name="benchmark") as db:
            await prepare_database(db)
            contents = replace(self.contents, cluster_time=await cluster_time(db))
            models, lease = ModelStore(db), Lease(db, "benchmark", 60.0)
            fence = await lease.acquire()
            assert fence is not None
            model_id = await models.next_id()
            description = Description(
                model_id=model_id,
                created_at=datetime.now(UTC),
                code_version="0",
                config={},
                seed=0,
                device="cpu",
                metrics={},
                losses=(),
                fence=fence,
                run_id=None,
            )
            manifest = write_artifact(self._folder / model_id, contents, description)
            upload = await models.upload(model_id, self._folder / model_id, fence=fence)
            await models.publish(upload, manifest.as_dict())
            await models.prune(1)
            shutil.rmtree(self._folder / model_id)
            await lease.release()

    def post_interactions(self, url: str, paths: list[str]) -> None:
        """One more for each of these users."""
        self._next_course = (self._next_course + 1) % self.n_courses
        rows = [{"user_id": path.rpartition("/")[2], "course_id": f"c{self._next_course}"} for path in paths]
        for start in range(0, len(rows), 10_000):
            httpx.post(f"{url}/interactions", json=rows[start : start + 10_000], timeout=120).raise_for_status()
        time.sleep(2)  # until the stream has told it all again


def make_contents(
    n_users: int,
    n_items: int,
    seed: int = 0,
    *,
    item_filter: bool = False,
    taken: tuple[NDArray[np.int64], NDArray[np.int32]] | None = None,
) -> ArtifactContents:
    """A model as large as a trained one.

    taken: users and the courses that they took, in order; None: some, popular courses by many.
    """
    rng = np.random.default_rng(seed)
    users, items = rng.standard_normal((n_users, SIZE), np.float32), rng.standard_normal((n_items, SIZE), np.float32)
    if taken is None:
        drawn = np.sort((n_items * rng.random((n_users, TAKEN)) ** 2).astype(np.int64), axis=1)
        kept = np.diff(drawn, axis=1, prepend=-1) > 0
        seen, degrees = drawn[kept].astype(np.int32), kept.sum(axis=1)
    else:
        seen, degrees = taken[1], np.bincount(taken[0], minlength=n_users)
    popularity = np.bincount(seen, minlength=n_items)
    filter_ = make_filter(n_items, rng) if item_filter else None
    return ArtifactContents(
        users=Vocabulary([f"u{number}" for number in range(n_users)]),
        items=Vocabulary([f"c{number}" for number in range(n_items)]),
        user_vectors=users,
        item_vectors=items,
        initial_item=items,
        item_messages=items,
        seen_indptr=np.concatenate([[0], np.cumsum(degrees)]).astype(np.int64),
        seen_items=seen,
        seen_types=np.ones(len(seen), np.uint32),
        popularity=popularity.astype(np.float32),
        user_degrees=degrees.astype(np.float64),
        item_degrees=popularity.astype(np.float64),
        types=("enroll",),
        type_weights=(1.0,),
        n_interactions=len(seen),
        cluster_time=0,
        data_fingerprint="",
        filter_starts=filter_.starts if filter_ else None,
        filter_items=filter_.items if filter_ else None,
        filter_values=filter_.values if filter_ else None,
    )


def make_filter(n_items: int, rng: np.random.Generator) -> ItemFilter:
    """As many entries as a trained one has, as large as the inner products of the vectors."""
    length = min(n_items, n_neighbours(n_items))
    gap = n_items // length
    items = gap * np.arange(length) + rng.integers(0, gap, (n_items, length))  # ascending
    starts = np.arange(n_items + 1, dtype=np.int64) * length
    return ItemFilter(starts, items.ravel().astype(np.int32), rng.standard_normal(items.size, np.float32))


def anonymous_mb(process: psutil.Process) -> float:
    """What the process has for itself; the pages of a model's files are shared by all who serve it."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(true: Callable[[], bool], seconds: float = 120.0) -> None:
    """Until it holds."""
    until = time.monotonic() + seconds
    while True:
        try:
            if true():
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.1)


if __name__ == "__main__":
    main()
