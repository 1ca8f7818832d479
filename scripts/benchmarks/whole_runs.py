"""What a whole run costs by several ranks: the most memory of each process, and how long publishing takes.

An embedded MongoDB is filled with random interactions, and `coursegraph train --ranks` reads them, trains without a
search, judges and publishes: once for each number of ranks.  Memory is the high water mark of each process as the
kernel tells it, all that it imported included, before the verdict and, begun anew, from there on; `first` is that of
the process that publishes, `other` the largest of the others.  `anonymous` is the part that is of no file, as
seen every twentieth of a second: pages of files go to the disk when memory is short.  `publish` is the time from the
verdict to the end of the run.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil
from pymongo import MongoClient

from app.store.embedded import EmbeddedMongod
from scripts.benchmarks.ranks import MIB, high_water, status_bytes

SIZES = (1, 2, 4)
POLL_SECONDS = 0.05
DATABASE = "runs"
BATCH = 20_000
TASTES, LOYAL = 20, 0.8
SETTINGS = {"time_budget_seconds": "0", "search_every": "1", "device": "cpu", "lease_seconds": "30", "ease_items": "0"}
Documents = list[dict[str, Any]]


@click.command()
@click.argument("interactions", type=int, default=2_000_000)
@click.option("--users", default=500_000)
@click.option("--items", default=5_000)
@click.option("--ranks", "sizes", type=int, multiple=True, help="Numbers of ranks; by default 1, 2 and 4.")
@click.option("--epochs", default=2)
@click.option("--set", "changes", multiple=True, help="Another setting, as NAME=VALUE.")
def main(
    *, interactions: int, users: int, items: int, sizes: tuple[int, ...], epochs: int, changes: tuple[str, ...]
) -> None:
    """Measure runs over so many INTERACTIONS."""
    settings = SETTINGS | {"epochs": str(epochs)} | dict(change.split("=", 1) for change in changes)
    with tempfile.TemporaryDirectory(prefix="coursegraph-bench-") as folder:
        server = EmbeddedMongod(Path(folder) / "mongodb")
        uri = server.start()
        try:
            with MongoClient[dict[str, Any]](uri) as client:
                fill(client, interactions, users, items)
                print(
                    f"{'ranks':>5}{'first MiB':>16}{'anonymous':>14}{'other MiB':>16}{'anonymous':>14}"
                    f"{'run s':>9}{'publish s':>11}{'status':>12}"
                )
                for size in sizes or SIZES:
                    environment = {key: value for key, value in os.environ.items() if "COURSEGRAPH_" not in key}
                    environment |= {"MONGODB_URI": uri, "MONGODB_DATABASE": DATABASE}
                    environment |= {f"COURSEGRAPH_{name.upper()}": value for name, value in settings.items()}
                    environment["COURSEGRAPH_CACHE_DIR"] = folder
                    found = measured(client, size, environment)
                    print(
                        f"{size:5}{told(found['first']):>16}{told(found['first anonymous']):>14}"
                        f"{told(found['other']):>16}{told(found['other anonymous']):>14} {found['seconds']:8.1f}"
                        f"{found['publish']:11.1f}{found['status']:>12}   load {os.getloadavg()[0]:.1f}",
                        flush=True,
                    )
        finally:
            server.stop(timeout_seconds=0)


def fill(client: MongoClient[dict[str, Any]], n: int, n_users: int, n_items: int) -> None:
    """Users mostly take courses of one taste, of which some are more popular than others."""
    rng = np.random.default_rng(0)
    db = client[DATABASE]
    users, size = rng.integers(0, n_users, n), n_items // TASTES
    tastes = np.where(rng.random(n) < LOYAL, users % TASTES, rng.integers(0, TASTES, n))
    keys = np.unique(users * n_items + tastes * size + (size * rng.random(n) ** 2).astype(np.int64))
    times = time.time() - rng.integers(0, 300 * 86_400, len(keys))
    for name, ids in (("users", n_users), ("courses", n_items)):
        for start in range(0, ids, BATCH):
            letter = name[0]
            rows = range(start, min(start + BATCH, ids))
            db[name].insert_many([{"_id": f"{letter}{row:07}"} for row in rows], ordered=False)
    for start in range(0, len(keys), BATCH):
        block = zip(keys[start : start + BATCH].tolist(), times[start : start + BATCH].tolist(), strict=True)
        documents: Documents = []
        for key, when in block:
            user, item = divmod(key, n_items)
            course = f"c{item:07}"
            documents.append(
                {
                    "_id": f"u{user:07}\x1f{course}\x1fenroll",
                    "course_id": course,
                    "type": "enroll",
                    "timestamp": datetime.fromtimestamp(when, UTC),
                }
            )
        db["interactions"].insert_many(documents, ordered=False)


def measured(client: MongoClient[dict[str, Any]], size: int, environment: dict[str, str]) -> dict[str, Any]:
    """One run."""
    began, judged = time.monotonic(), None
    command = [sys.executable, "-m", "app", "train", "--ranks", str(size)]
    first, other, first_own, other_own = ([0, 0] for _ in range(4))  # before the verdict, and after
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            others: list[int] = []
            with suppress(psutil.Error):
                others = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
            phase = 0 if judged is None else 1
            first[phase] = max(first[phase], *marks([process.pid]), 0)
            other[phase] = max(other[phase], *marks(others), 0)
            first_own[phase] = max(first_own[phase], *anonymous([process.pid]), 0)
            other_own[phase] = max(other_own[phase], *anonymous(others), 0)
            if judged is None and client[DATABASE]["training_runs"].count_documents(
                {"open": True, "verdict": {"$type": "string"}}
            ):
                judged = time.monotonic()
                for pid in (process.pid, *others):
                    with suppress(OSError):
                        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the high water mark begins anew
            time.sleep(POLL_SECONDS)
    finally:
        process.kill()
        process.wait()
    ended = time.monotonic()
    run = next(client[DATABASE]["training_runs"].find().sort("_id", -1).limit(1))
    return {
        "first": first,
        "other": other,
        "first anonymous": first_own,
        "other anonymous": other_own,
        "seconds": ended - began,
        "publish": ended - judged if judged else float("nan"),
        "status": run["status"],
    }


def told(peaks: list[int]) -> str:
    """Of both phases, in MiB."""
    return " / ".join(f"{peak / MIB:.0f}" for peak in peaks)


def marks(processes: list[int]) -> Iterator[int]:
    """High water marks of those that are there."""
    for pid in processes:
        with suppress(OSError, RuntimeError):
            yield high_water(pid)


def anonymous(processes: list[int]) -> Iterator[int]:
    """What those that are there have in memory beside pages of files, in bytes."""
    for pid in processes:
        with suppress(OSError, RuntimeError):
            yield status_bytes(pid, "RssAnon")


if __name__ == "__main__":
    main()
