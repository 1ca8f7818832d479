"""What a process that serves millions of users has for itself, and how fast it answers, beside a small catalogue.

Models of random vectors are written with the real writer, put where a fetched model is kept (with --gridfs they are
published and fetched through the database), and served by one process.  Private memory is RssAnon, its peak while it
loads too; what the model's files fill belongs to all processes that map them, and goes when somebody needs room.
Then a process serves the larger one that holds none of its users, and some are asked for of whom the database has what
they have taken.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import click
import httpx
import numpy as np
import psutil
from numpy.typing import NDArray

from app.artifact.manifest import Description
from app.artifact.top_lists import list_length
from app.artifact.write import write_artifact
from app.domain.contents import ArtifactContents
from app.domain.packed_ids import PackedIds, pack_ids
from app.domain.vocabulary import Vocabulary
from app.schemas.interactions import Interaction
from app.store.client import cluster_time, open_database, prepare_database
from app.store.embedded import EmbeddedMongod
from app.store.interactions import InteractionStore
from app.store.lease import Lease
from app.store.models import ModelStore, Upload
from scripts.benchmarks.serving import (
    DATABASE,
    SIZE,
    TAKEN,
    Load,
    Publisher,
    anonymous_mb,
    free_port,
    wait_for,
)

SMALL = (100_000, 5_000)
MOST_PRIVATE_MB, MOST_TIMES = 1500.0, 2.0
CHANGED = 20_000  # users
CONNECTIONS = (1, 16)
GUESTS = 10_000  # users with interactions in the database, asked for by lists
BATCHED = 5_000  # and others, by one batch
ROWS_AT_ONCE = 10_000


@click.command(help=__doc__)
@click.option("--users", default=5_000_000, show_default=True)
@click.option("--courses", default=100_000, show_default=True)
@click.option("--seconds", default=3.0, show_default=True, help="Of each load.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--gridfs", is_flag=True, help="Publish and fetch through the database.")
def main(*, users: int, courses: int, seconds: float, rounds: int, gridfs: bool) -> None:
    """Measure and print."""
    wrk = shutil.which("wrk")
    print(f"load from {'wrk' if wrk else 'Python'}, medians of {rounds} rounds of {seconds:g} s")
    small, _ = measure(*SMALL, seconds, rounds, gridfs=gridfs)
    large, private = measure(users, courses, seconds, rounds, gridfs=gridfs, guests=GUESTS + BATCHED)
    times = [b / a for a, b in zip(small, large, strict=True)]
    print(
        f"p50 {', '.join(f'{each:.2f}' for each in times)} times that of the small catalogue, wanted at most "
        f"{MOST_TIMES:g}; private {private:.0f} MB, wanted at most {MOST_PRIVATE_MB:.0f}; load {os.getloadavg()[0]:.1f}"
    )
    sys.exit(0 if max(times) <= MOST_TIMES and private <= MOST_PRIVATE_MB else 1)


def measure(
    n_users: int, n_items: int, seconds: float, rounds: int, *, gridfs: bool, guests: int = 0
) -> tuple[list[float], float]:
    """p50 in ms by connections, and the most private memory in MB, of a process that holds all users.

    guests: users for another process, which holds none.
    """
    print(f"\n{n_users:,} users, {n_items:,} courses")
    with tempfile.TemporaryDirectory(prefix="coursegraph-bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        mongod = EmbeddedMongod(folder / "mongod")
        uri = mongod.start()
        try:
            asked = publish(uri, folder, n_users, n_items, gridfs=gridfs, guests=guests)
            wrk = shutil.which("wrk")
            with serving(uri, folder) as (process, port, peak):
                measured = measure_service(process, Load(port, folder, seconds, rounds, wrk), n_users, peak)
            if guests:
                with serving(uri, folder, COURSEGRAPH_USERS_HELD="0") as (process, port, peak):
                    measure_guests(process, Load(port, folder, seconds, rounds, wrk), asked, peak)
            return measured
        finally:
            mongod.stop(timeout_seconds=0)


def measure_service(process: psutil.Process, load: Load, n_users: int, peak: list[float]) -> tuple[list[float], float]:
    """The same of a service that runs.  peak: is kept up meanwhile."""
    print(f"loaded: {anonymous_mb(process):.0f} MB private, {peak[0]:.0f} at most while it loaded; {files_mb(process)}")
    rng = np.random.default_rng(1)
    paths = [f"/recommendations/u{row}" for row in rng.integers(0, n_users, 200_000)]
    found = load.folder / "paths"
    found.write_text("\n".join(paths))
    p50 = []
    for connections in CONNECTIONS:
        runs = [load.run(load.port, found, connections, once=False) for _ in range(load.rounds)]
        p50.append(median(run["p50_ms"] for run in runs))
        rate, p99 = median(run["requests"] / run["seconds"] for run in runs), median(run["p99_ms"] for run in runs)
        said = f"{rate:8,.0f} a second, p50 {p50[-1]:.2f} ms, p99 {p99:.2f} ms"
        print(f"{connections:4} connections: {said}, {sum(run['errors'] for run in runs)} errors")
    print(f"asked: {anonymous_mb(process):.0f} MB private; {files_mb(process)}")
    rows = [{"user_id": f"u{row}", "course_id": "c1"} for row in rng.choice(n_users, CHANGED, replace=False)]
    with httpx.Client(base_url=load.url, timeout=120) as client:
        for start in range(0, CHANGED, 10_000):
            client.post("/interactions", json=rows[start : start + 10_000]).raise_for_status()
        for row in rows[:: CHANGED // 2000]:
            client.get(f"/recommendations/{row['user_id']}").raise_for_status()
        for path in (f"/users/{rows[0]['user_id']}/similar", "/courses/c7/similar", "/courses/c7/users"):
            for when in ("first", "again"):
                said, waits = answered_beside(client, path)
                print(f"{path} {when}: {said}; lists meanwhile p50 {median(waits):.1f} ms, slowest {max(waits):.0f} ms")
    private = f"{anonymous_mb(process):.0f} MB private, {peak[0]:.0f} at most of all"
    print(f"{CHANGED:,} users changed: {private}; {files_mb(process)}")
    return p50, peak[0]


def measure_guests(process: psutil.Process, load: Load, asked: list[str], peak: list[float]) -> None:
    """The same of a process that holds no users; ``asked`` have interactions in the database."""
    print(
        f"none held: {anonymous_mb(process):.0f} MB private, {peak[0]:.0f} at most while it loaded; {files_mb(process)}"
    )
    found, guests = load.folder / "paths", asked[:GUESTS]
    for connections, some in zip(CONNECTIONS, (guests[: GUESTS // 5], guests[GUESTS // 5 :]), strict=True):
        found.write_text("\n".join(f"/recommendations/{user_id}" for user_id in some))
        print(
            f"{connections:4} connections, each asked first: {told(load.run(load.port, found, connections, once=True))}"
        )
    print(f"{len(guests):,} asked: {anonymous_mb(process):.0f} MB private")
    found.write_text("\n".join(f"/recommendations/{user_id}" for user_id in guests))
    for connections in CONNECTIONS:
        print(f"{connections:4} connections, again: {told(load.run(load.port, found, connections, once=False))}")
    began = time.perf_counter()
    with httpx.Client(base_url=load.url, timeout=600) as client:
        lines = client.post("/recommendations/batch", json={"user_ids": asked[GUESTS:]}).raise_for_status().text
    assert lines.count('"source":"fold_in"') == BATCHED
    print(f"batch of {BATCHED:,} others: {BATCHED / (time.perf_counter() - began):,.0f} lists a second")
    print(f"after all: {anonymous_mb(process):.0f} MB private, {peak[0]:.0f} at most; load {os.getloadavg()[0]:.1f}")


def told(run: dict[str, Any]) -> str:
    """Rate, times and errors of a load."""
    rate = run["requests"] / run["seconds"]
    return f"{rate:8,.0f} a second, p50 {run['p50_ms']:.2f} ms, p99 {run['p99_ms']:.2f} ms, {run['errors']} errors"


def answered_beside(client: httpx.Client, path: str) -> tuple[str, list[float]]:
    """How a slow question is answered, and milliseconds of each list that another client asks for meanwhile."""
    over, waits = threading.Event(), list[float]()

    def ask() -> None:
        with httpx.Client(base_url=client.base_url, timeout=120) as other:
            while not over.is_set() or not waits:
                began = time.perf_counter()
                other.get("/recommendations/u7").raise_for_status()
                waits.append(1e3 * (time.perf_counter() - began))

    asking = threading.Thread(target=ask)
    asking.start()
    began = time.perf_counter()
    status = client.get(path).status_code
    seconds = time.perf_counter() - began
    over.set()
    asking.join()
    return f"{status} after {seconds:.2f} s", waits


def files_mb(process: psutil.Process) -> str:
    """What of the model's files is in memory."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return f"{next(int(line.split()[1]) for line in lines if line.startswith('RssFile')) / 1e3:.0f} MB of files"


@contextmanager
def serving(uri: str, folder: Path, **settings: str) -> Iterator[tuple[psutil.Process, int, list[float]]]:
    """The service, its model loaded, and the most private memory that it was seen with."""
    port = free_port()
    environment = os.environ | {
        **settings,
        "MONGODB_URI": uri,
        "MONGODB_DATABASE": DATABASE,
        "COURSEGRAPH_CACHE_DIR": str(folder / "cache"),
        "COURSEGRAPH_LOG_LEVEL": "warning",
    }
    peak, ended = [0.0], threading.Event()
    with subprocess.Popen([sys.executable, "-m", "app", "serve", "--port", str(port)], env=environment) as process:
        running = psutil.Process(process.pid)

        def watch() -> None:
            while not ended.wait(0.02):
                try:
                    peak[0] = max(peak[0], anonymous_mb(running))
                except (OSError, StopIteration):
                    return

        watcher = threading.Thread(target=watch)
        watcher.start()
        began = time.monotonic()
        try:
            wait_for(
                lambda: bool(httpx.get(f"http://127.0.0.1:{port}/popular?n=1", timeout=5).json().get("model_id")), 600
            )
            print(f"served {time.monotonic() - began:.1f} s after the start")
            yield running, port, peak
        finally:
            ended.set()
            watcher.join()
            process.terminate()


def publish(uri: str, folder: Path, n_users: int, n_items: int, *, gridfs: bool, guests: int) -> list[str]:
    """Courses in the database, a current model, and what so many of its users have taken; their ids."""
    contents = make_contents(n_users, n_items)
    Publisher.of_courses(uri, contents.items.ids)
    rows = np.random.default_rng(2).choice(n_users, guests, replace=False)
    asyncio.run(_store(uri, contents, rows))
    asyncio.run(_publish(uri, folder, contents, gridfs=gridfs))
    return [contents.users.ids[row] for row in rows.tolist()]


async def _store(uri: str, contents: ArtifactContents, rows: NDArray[np.int64]) -> None:
    items, starts = contents.items.ids, contents.seen_indptr
    taken = [
        Interaction(user_id=contents.users.ids[row], course_id=items[item], type="enroll")
        for row in rows.tolist()
        for item in contents.seen_items[starts[row] : starts[row + 1]].tolist()
    ]
    async with open_database(uri, DATABASE, timeout_seconds=30, app_name="benchmark") as db:
        await prepare_database(db)
        store = InteractionStore(db)
        for start in range(0, len(taken), ROWS_AT_ONCE):
            await store.write_many(taken[start : start + ROWS_AT_ONCE], auto_create=True)


async def _publish(uri: str, folder: Path, contents: ArtifactContents, *, gridfs: bool) -> None:
    async with open_database(uri, DATABASE, timeout_seconds=30, app_name="benchmark") as db:
        await prepare_database(db)
        contents = replace(contents, cluster_time=await cluster_time(db))
        models, lease = ModelStore(db), Lease(db, "benchmark", 600.0)
        fence = await lease.acquire()
        assert fence is not None
        model_id = await models.next_id()
        described = Description(model_id, datetime.now(UTC), "0", {}, 0, "cpu", {}, (), fence)
        directory = folder / model_id
        began = time.monotonic()
        manifest = write_artifact(directory, contents, described)
        size = sum(path.stat().st_size for path in directory.iterdir()) / 1e9
        print(f"{size:.2f} GB written in {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        upload = await models.upload(model_id, directory, fence=fence) if gridfs else Upload(model_id, fence, [])
        await models.publish(upload, manifest.as_dict())
        if gridfs:
            print(f"stored in the database in {time.monotonic() - began:.1f} s")
            shutil.rmtree(directory)
            return
        document = await db["models"].find_one({})
        assert document is not None
        cache = folder / "cache"
        cache.mkdir(mode=0o700)
        directory.rename(cache / f"{model_id}-{document['version']}")


def make_contents(n_users: int, n_items: int) -> ArtifactContents:
    """As large as a trained model; the lists that come with it are drawn too, for it takes an hour to find them."""
    rng = np.random.default_rng(0)
    items = rng.standard_normal((n_items, SIZE), np.float32)
    seen = np.empty((n_users, TAKEN), np.int32)
    length = list_length(n_users, n_items, n_users * SIZE * 4)
    tops, scores = np.empty((n_users, length), np.int32), np.empty((n_users, length), np.float32)
    for start in range(0, n_users, 100_000):
        part = slice(start, min(start + 100_000, n_users))
        n = part.stop - part.start
        step = n_items // TAKEN
        seen[part] = step * np.arange(TAKEN) + rng.integers(0, step, (n, TAKEN))  # ascending
        tops[part] = (rng.integers(0, n_items, (n, 1)) + np.arange(length) * 7) % n_items
        scores[part] = 30 - np.cumsum(rng.random((n, length), np.float32), axis=1) * 0.1
    counts = np.bincount(seen.ravel(), minlength=n_items)
    return ArtifactContents(
        users=Vocabulary(PackedIds(*pack_ids([f"u{number}" for number in range(n_users)]))),
        items=Vocabulary([f"c{number}" for number in range(n_items)]),
        user_vectors=rng.standard_normal((n_users, SIZE), np.float32),
        item_vectors=items,
        initial_item=items,
        item_messages=items,
        seen_indptr=np.arange(n_users + 1, dtype=np.int64) * TAKEN,
        seen_items=seen.ravel(),
        seen_types=np.ones(seen.size, np.uint32),
        popularity=counts.astype(np.float32),
        user_degrees=np.full(n_users, float(TAKEN)),
        item_degrees=counts.astype(np.float64),
        types=("enroll",),
        type_weights=(1.0,),
        n_interactions=seen.size,
        cluster_time=0,
        data_fingerprint="",
        top_items=tops,
        top_scores=scores,
    )


if __name__ == "__main__":
    main()
