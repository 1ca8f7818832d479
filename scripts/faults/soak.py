#!/usr/bin/env python3
"""A mixed load for a while: memory, open files and threads of API, worker and database should stay what they were.

Clients write, read and erase as in scripts/chaos, but nothing is broken.  The first third is for warming up; what a
process holds in the middle third is compared with what it holds in the last.  mongod fills its cache as long as it is
not full, so its memory is held against the limit of that and what it takes beside it.
"""

import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import click
import httpx

sys.path.insert(0, str(Path(__file__).parents[2]))
from scripts.faults.clients import COURSES, Ledger, Reader, Writer
from tests.support.up import Up

SAMPLE_SECONDS = 2.0
ALLOWED_GROWTH = 1.15  # of memory: arrays of a new model come while those of the old one are still there
ALLOWED_MORE = 8  # files or threads: connections come and go
BESIDE_CACHE_MIB = 256.0  # 130 of an empty mongod, and as much again for connections and what the allocator keeps
SETTINGS = {
    "COURSEGRAPH_EPOCHS": "20",
    "COURSEGRAPH_TIME_BUDGET_SECONDS": "5",
    "COURSEGRAPH_TRAIN_AFTER_SECONDS": "60",
    "COURSEGRAPH_TRAIN_AFTER_CHANGES": "5000",
    "COURSEGRAPH_TRAIN_QUIET_SECONDS": "0",
}
Sample = tuple[float, int, int]  # MiB, files, threads


@click.command()
@click.option("--minutes", default=60.0, show_default=True, type=click.FloatRange(1))
@click.option("--users", default=300, show_default=True, type=click.IntRange(1), help="Batches before users repeat.")
def main(*, minutes: float, users: int) -> None:
    """Print a line for each process; exit code 1 if one grew."""
    ledger, stop = Ledger(), threading.Event()
    samples: dict[str, list[Sample]] = defaultdict(list)
    limits: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory(prefix="coursegraph-soak-") as folder,
        Up(Path(folder) / "up", "--workers", "2", environment=SETTINGS) as up,
    ):
        courses = [{"course_id": f"c{row:03}", "categories": [f"T{row % 9}"]} for row in range(COURSES)]
        httpx.post(f"{up.url}/courses", json=courses, timeout=30).raise_for_status()
        callers = [Writer(up.url, ledger, f"w{number}", stop, 0) for number in range(2)]
        asking = [Reader(up.url, ledger, f"r{number}", stop, 0) for number in range(3)]
        cleaner = Cleaner(up.url, ledger, "cleaner", stop, 0)
        cleaner.keep = users
        for caller in (*callers, *asking, cleaner):
            caller.start()
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            for kind in ("serve", "work", "mongod"):
                for process in up.children(kind):
                    with process.oneshot():
                        sample = (process.memory_info().rss / 2**20, process.num_fds(), process.num_threads())
                    name = f"{kind} {process.pid}"
                    samples[name].append(sample)
                    if name not in limits:
                        limits[name] = limit_mib(process.cmdline())
            time.sleep(SAMPLE_SECONDS)
        stop.set()
        for caller in (*callers, *asking, cleaner):
            caller.join(70)
        runs = httpx.get(f"{up.url}/training/runs?limit=1000").json()["items"]
    found = (compare(name, taken, limits[name]) for name, taken in sorted(samples.items()))
    grown = [line for line in found if line]
    click.echo(
        f"{sum(ledger.answers.values()):,} calls, {len(runs)} training runs in {minutes:g} minutes; "
        f"wrong: {len(ledger.faults)}; {ledger.aged:,} of {ledger.reads:,} lists said they were older than a second"
    )
    for name, number in sorted(ledger.answers.items()):
        click.echo(f"  {number:>9,}  {name}")
    for text in [*grown, *ledger.faults[:20]]:
        click.echo(text)
    sys.exit(1 if grown or ledger.faults else 0)


class Cleaner(Writer):
    """Erases the users of the other writers after a while, so that the data stays as large as it is."""

    keep = 0

    def once(self) -> None:
        """The oldest user beyond those that are kept."""
        with self.ledger.lock:
            old = next(iter(self.ledger.taken)) if len(self.ledger.taken) > self.keep else None
            if old is not None:
                del self.ledger.taken[old]
        if old is not None:
            self.insist("erase", "DELETE", f"/users/{old}")


def limit_mib(command: Sequence[str]) -> float:
    """Memory that a process may take however it came to it; 0: what it had before."""
    cache = "--wiredTigerCacheSizeGB"
    return 1024 * float(command[command.index(cache) + 1]) + BESIDE_CACHE_MIB if cache in command else 0.0


def compare(name: str, samples: list[Sample], limit: float) -> str:
    """Print the thirds; what grew, or an empty text."""
    third = len(samples) // 3
    if not third:
        return f"{name} lived too short to be measured"
    parts = [samples[:third], samples[third : 2 * third], samples[2 * third :]]
    columns = [[median(sample[column] for sample in part) for part in parts] for column in range(3)]
    (_, middle, last), (_, files, more_files), (_, threads, more_threads) = columns
    texts = [" -> ".join(f"{value:.0f}" for value in column) for column in columns]
    most = f" (limit {limit:.0f})" if limit else ""
    click.echo(f"{name:<16} MiB {texts[0]}{most}   files {texts[1]}   threads {texts[2]}   (medians of thirds)")
    grew = last > (limit or ALLOWED_GROWTH * middle) or max(more_files - files, more_threads - threads) > ALLOWED_MORE
    return f"{name} grew" if grew else ""


if __name__ == "__main__":
    main()
