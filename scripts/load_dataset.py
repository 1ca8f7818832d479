#!/usr/bin/env python3
"""Load a data set over HTTP, train one model, ask for everybody's recommendations and measure them.

The folder holds interactions_train.csv.gz and interactions_test.csv.gz (user_id, item_id, timestamp, value) and may
hold items.csv.gz (item_id, and any of title, about, discipline, genres, fields).  Run it in the environment that
scripts/setup makes:  .venv/bin/python scripts/load_dataset.py FOLDER
A service that wants a key gets the one in COURSEGRAPH_API_KEY.
"""

import contextlib
import csv
import gzip
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from app.cli.client import Client, await_model, follow_run, request_run, send_rows
from app.errors import CourseGraphError
from app.settings import load_settings, own_key

TOP = 20  # courses of a list that count, the customary cut
FIRST_SECOND = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())  # rows without a time are a second apart from here
STOP_SECONDS = 15  # `coursegraph up` promises to stop within 10

Row = dict[str, Any]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--url", help="Address of a running service; without it one is started on an empty data directory.")
@click.option("--at-least", type=float, default=0.0, help="Recall@20 below which the exit status is 1.")
def main(folder: Path, url: str | None, at_least: float) -> None:
    """Load FOLDER over HTTP, train, and print Recall@20 and NDCG@20 on its test file."""
    with contextlib.ExitStack() as stack:
        address = url or stack.enter_context(own_service())
        client = stack.enter_context(Client(address, key=own_key(load_settings())))
        load(client, folder)
        test = list(read_rows(folder / "interactions_test.csv.gz"))
        await_model(client, train(client), test[0]["user_id"])
        recall, ndcg = measure(client, test)
    print(f"recall@{TOP} {recall:.4f}  ndcg@{TOP} {ndcg:.4f}")
    if recall < at_least:
        sys.exit(f"recall@{TOP} is below {at_least}")


@contextlib.contextmanager
def own_service() -> Iterator[str]:
    """Address of a `coursegraph up` of our own, on an empty data directory that is removed at the end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as data_dir:
        command = [sys.executable, "-m", "app", "up", "--port", str(port), "--data-dir", data_dir]
        environment = {name: value for name, value in os.environ.items() if name != "MONGODB_URI"}
        with subprocess.Popen(command, env=environment | {"COURSEGRAPH_AUTO_TRAIN": "false"}) as process:
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_SECONDS)
                process.kill()


def load(client: Client, folder: Path) -> None:
    """Send courses and training interactions in batches, and say how fast that went."""
    items = folder / "items.csv.gz"
    courses = [course(row) for row in read_rows(items)] if items.exists() else []
    interactions = [
        interaction(row, number) for number, row in enumerate(read_rows(folder / "interactions_train.csv.gz"))
    ]
    for path, rows in (("/courses", courses), ("/interactions", interactions)):
        start = time.monotonic()
        sent = sum(send_rows(client, path, rows))
        seconds = time.monotonic() - start
        print(f"{path}: {sent:,} rows in {seconds:.1f} s", flush=True)


def course(row: Mapping[str, str]) -> Row:
    """A course from the columns that the data sets have."""
    categories = [label for column in ("discipline", "genres", "fields") for label in row.get(column, "").split("|")]
    return {
        "course_id": row["item_id"],
        "title": row.get("title") or None,
        "description": row.get("about") or None,
        "categories": sorted({label for label in categories if label}),
    }


def interaction(row: Mapping[str, str], number: int) -> Row:
    """An interaction; a row without a time keeps its place in the order of the file."""
    return {
        "user_id": row["user_id"],
        "course_id": row["item_id"],
        "value": float(row["value"]) if row["value"] else None,
        "timestamp": int(row["timestamp"] or FIRST_SECOND + number),
    }


def train(client: Client) -> str:
    """Id of the model of one run; exit status 1 unless it gave one."""
    for run in follow_run(client, request_run(client)):
        ended = run
    if ended["status"] != "succeeded":
        sys.exit(f"training {ended['status']}: {ended['error'] or ended['metrics']}")
    start, end = (datetime.fromisoformat(ended[name]) for name in ("started_at", "ended_at"))
    print(f"model {ended['model_id']}: {(end - start).total_seconds():.1f} s on {ended['device']}, {ended['counts']}")
    return str(ended["model_id"])


def measure(client: Client, test: list[Row]) -> tuple[float, float]:
    """Mean Recall@20 and NDCG@20 (ideal: as many hits as fit) over the users of the test file."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for row in test:
        wanted[row["user_id"]].add(row["item_id"])
    recalls, ndcgs = [], []
    start = time.monotonic()
    for user_id, taken in wanted.items():
        answer = client.get(f"/recommendations/{quote(user_id, safe='')}?n={TOP}")
        hits = [item["course_id"] in taken for item in answer["items"]]
        recalls.append(sum(hits) / len(taken))
        ndcgs.append(gain(hits) / gain([True] * min(len(taken), TOP)))
    print(f"{len(wanted):,} users asked in {time.monotonic() - start:.1f} s")
    return sum(recalls) / len(recalls), sum(ndcgs) / len(ndcgs)


def gain(hits: list[bool]) -> float:
    """Discounted cumulative gain: a hit at place p, from 0, counts 1 / log2(p + 2)."""
    return sum(1 / math.log2(place + 2) for place, hit in enumerate(hits) if hit)


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a gzipped CSV file."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


if __name__ == "__main__":
    try:
        main()
    except CourseGraphError as error:
        sys.exit(f"load_dataset: {error}")
