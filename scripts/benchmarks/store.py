"""How fast interactions go into the database from a file, and all of them out again for a retrain.

Starts a mongod of its own in a temporary directory.  The import is compared with a bare ``insert_many`` of the same
documents, once before it and once after, since a disk has better and worse minutes; the snapshot with a bare cursor
over the same fields.  Exit code 1 when a target is missed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
from bson import Timestamp
from numpy.typing import NDArray
from pymongo import MongoClient

from app.store.client import INDEXES
from app.store.embedded import EmbeddedMongod
from app.store.keys import interaction_key

START = datetime(2024, 1, 1, tzinfo=UTC)
BATCH_ROWS = 10_000  # as the import writes them
DATABASE = "benchmark"

IMPORT_RATIO, IMPORT_ROWS_PER_SECOND = 0.6, 20_000  # either will do
SNAPSHOT_SECONDS, SNAPSHOT_MB = 4.0, 400.0  # for a million interactions

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]

SNAPSHOT = """
import json, sys, time
from app.store.snapshot import read_snapshot

def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(name))

before, started = memory("VmRSS"), time.perf_counter()
snapshot = read_snapshot(sys.argv[1], sys.argv[2], ())
seconds = time.perf_counter() - started
print(json.dumps({"rows": len(snapshot.user_rows), "seconds": seconds, "mb": memory("VmHWM") - before}))
"""

BARE_READ = """
import json, sys, time
from pymongo import MongoClient

with MongoClient(sys.argv[1]) as client:
    started = time.perf_counter()
    rows = sum(1 for _ in client[sys.argv[2]]["interactions"].find({}, {"_id": 1, "timestamp": 1}))
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - started}))
"""


@click.command(help=__doc__)
@click.option("--rows", default=1_000_000, show_default=True, help="Interactions.")
@click.option("--users", default=50_000, show_default=True, help="Users who have them.")
@click.option("--courses", default=5_000, show_default=True, help="Courses, a few of which most people take.")
def main(rows: int, users: int, courses: int) -> None:
    """Measure and print a table."""
    pairs = draw_pairs(rows, users, courses)
    with tempfile.TemporaryDirectory(prefix="coursegraph-bench-") as directory:
        file = Path(directory) / "interactions.csv"
        write_file(file, pairs)
        mongod = EmbeddedMongod(Path(directory) / "mongod")
        uri = mongod.start()
        try:
            bare = [insert_bare(uri, pairs)]
            seconds = run_import(uri, file)
            bare_read, snapshot = measure(BARE_READ, uri), measure(SNAPSHOT, uri)
            bare.append(insert_bare(uri, pairs))
        finally:
            mongod.stop()
    assert snapshot["rows"] == bare_read["rows"] == rows, "every row is stored and read"
    sys.exit(0 if show(rows, sum(bare) / len(bare), seconds, bare_read["seconds"], snapshot) else 1)


def draw_pairs(rows: int, users: int, courses: int) -> Pairs:
    """Distinct (user, course) pairs in random order: users alike, courses of very different popularity."""
    rng = np.random.default_rng(0)
    popularity = 1 / np.arange(1, courses + 1) ** 0.8
    drawn = np.empty(0, np.int64)
    while len(drawn) < rows:
        more = rng.integers(users, size=rows) * courses + rng.choice(courses, rows, p=popularity / popularity.sum())
        drawn = np.unique(np.concatenate([drawn, more]))
    drawn = rng.permutation(drawn)[:rows]
    return drawn // courses, drawn % courses


def fields(pairs: Pairs, start: int, stop: int) -> Iterator[tuple[str, str, datetime]]:
    """User, course and time of some of the rows, a second apart."""
    for row in range(start, min(stop, len(pairs[0]))):
        yield f"user-{pairs[0][row]:06d}", f"course-{pairs[1][row]:05d}", START + timedelta(seconds=row)


def write_file(path: Path, pairs: Pairs) -> None:
    """The rows as CSV."""
    with path.open("w") as file:
        file.write("user_id,course_id,type,timestamp\n")
        file.writelines(
            f"{user},{course},enroll,{time:%FT%TZ}\n" for user, course, time in fields(pairs, 0, sys.maxsize)
        )


def documents(pairs: Pairs, start: int, stop: int) -> list[dict[str, Any]]:
    """The rows as they are stored."""
    return [
        {
            "_id": interaction_key(user, course, "enroll"),
            "course_id": course,
            "type": "enroll",
            "timestamp": time,
            "value": None,
            "written_at": Timestamp(0, 0),
        }
        for user, course, time in fields(pairs, start, stop)
    ]


def insert_bare(uri: str, pairs: Pairs) -> float:
    """Seconds of insert_many alone, with the same indexes and the same write concern; making the documents is free."""
    seconds = 0.0
    with MongoClient[dict[str, Any]](uri, w="majority", journal=True) as client:
        collection = client["bare"]["interactions"]
        collection.create_indexes(list(INDEXES["interactions"]))
        for start in range(0, len(pairs[0]), BATCH_ROWS):
            batch = documents(pairs, start, start + BATCH_ROWS)
            started = time.perf_counter()
            collection.insert_many(batch, ordered=False)
            seconds += time.perf_counter() - started
        client.drop_database("bare")
    return seconds


def run_import(uri: str, file: Path) -> float:
    """Seconds of the command from its start to its end."""
    started = time.perf_counter()
    environment = os.environ | {"MONGODB_URI": uri, "MONGODB_DATABASE": DATABASE}
    subprocess.run([sys.executable, "-m", "app", "import", "interactions", str(file)], env=environment, check=True)
    return time.perf_counter() - started


def measure(program: str, uri: str) -> dict[str, float]:
    """What a program in a process of its own tells."""
    command = [sys.executable, "-c", program, uri, DATABASE]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return result


def show(rows: int, bare: float, loaded: float, bare_read: float, snapshot: dict[str, float]) -> bool:
    """Print the table; whether the targets are met, those of the snapshot in proportion to more rows than a million."""
    share = max(1.0, rows / 1_000_000)
    ratio, rate = bare / loaded, rows / loaded
    import_met = ratio >= IMPORT_RATIO or rate >= IMPORT_ROWS_PER_SECOND
    snapshot_met = snapshot["seconds"] <= SNAPSHOT_SECONDS * share and snapshot["mb"] <= SNAPSHOT_MB * share
    print(f"{rows:,} interactions         seconds      rows/s   MB   ratio to bare   wanted")
    print(f"bare insert_many           {bare:8.2f}  {rows / bare:10,.0f}")
    print(
        f"coursegraph import         {loaded:8.2f}  {rate:10,.0f}      {ratio:15.2f}   "
        f">= {IMPORT_RATIO} or >= {IMPORT_ROWS_PER_SECOND:,} rows/s: {'met' if import_met else 'MISSED'}"
    )
    print(f"bare cursor                {bare_read:8.2f}  {rows / bare_read:10,.0f}")
    print(
        f"snapshot                   {snapshot['seconds']:8.2f}  {rows / snapshot['seconds']:10,.0f}"
        f" {snapshot['mb']:4.0f} {bare_read / snapshot['seconds']:15.2f}   "
        f"<= {SNAPSHOT_SECONDS * share:g} s and <= {SNAPSHOT_MB * share:g} MB: {'met' if snapshot_met else 'MISSED'}"
    )
    return import_met and snapshot_met


if __name__ == "__main__":
    main()
