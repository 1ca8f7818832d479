#!/usr/bin/env python3
"""Kill, stop and cut off API processes, worker and database at random while clients write and read.

In the end every acknowledged row must be stored exactly once and no refused one, nobody erased may be there, no list
may have held a course that was taken more than a second before it was asked for, unless the list said that it was
older (X-Data-Age) and the course was taken within that time, and no answer may have been a 500.
A training run must go through, and of those before none may have failed but by workers that were killed four times.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import httpx
import orjson
import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))
from app.store.embedded import EmbeddedMongod
from scripts.faults.clients import COURSES, Ledger, Reader, Writer
from scripts.faults.proxy import Proxy
from tests.support.up import Up

DISK_MB = 600
HEAL_SECONDS = 90.0  # for all to be ready after the last fault
TRAIN_SECONDS = 300.0  # for a run to go through after it
SETTINGS = {
    "COURSEGRAPH_LEASE_SECONDS": "4",
    "COURSEGRAPH_EPOCHS": "20",
    "COURSEGRAPH_TIME_BUDGET_SECONDS": "5",
    "COURSEGRAPH_TRAIN_AFTER_SECONDS": "20",
    "COURSEGRAPH_TRAIN_AFTER_CHANGES": "2000",
    "COURSEGRAPH_TRAIN_QUIET_SECONDS": "0",
}


class Faults:
    """What can go wrong.  Each is over when its method returns."""

    def __init__(self, up: Up, mongod: EmbeddedMongod, proxy: Proxy, disk: Path | None, rng: random.Random) -> None:
        self._up, self._mongod, self._proxy, self._disk, self._rng = up, mongod, proxy, disk, rng
        self.counts: Counter[str] = Counter()
        self.disk_deaths = 0

    def one(self) -> str:
        """Let something go wrong; its name."""
        kinds: list[tuple[str, float, Callable[[], None]]] = [
            *((f"{name} {kind}", 3.0, self._signal(kind, name)) for kind in ("serve", "work") for name in SIGNALS),
            *((f"{name} mongod", 1.0, self._signal_database(name)) for name in SIGNALS),
            ("network refuses", 1.5, lambda: self._cut("refuse")),
            ("network is silent", 1.5, lambda: self._cut("silent")),
        ]
        if self._disk is not None:
            kinds.append(("disk full", 1.0, self._fill_disk))
        name, _, act = self._rng.choices(kinds, [weight for _, weight, _ in kinds])[0]
        act()
        self.counts[name] += 1
        return name

    def _signal(self, kind: str, name: str) -> Callable[[], None]:
        def act() -> None:
            children = self._up.children(kind)
            if children:
                with suppress(psutil.NoSuchProcess):  # died of an earlier fault
                    self._send(self._rng.choice(children), name)

        return act

    def _send(self, process: psutil.Process, name: str) -> None:
        process.send_signal(SIGNALS[name])
        if name == "STOP":
            time.sleep(self._rng.uniform(0.5, 8.0))  # the lease has 4 s
            process.resume()

    def _signal_database(self, name: str) -> Callable[[], None]:
        def act() -> None:
            assert self._mongod.process is not None
            process = psutil.Process(self._mongod.process.pid)
            self._send(process, name)
            if name != "STOP":
                self._mongod.process.wait()
                time.sleep(self._rng.uniform(0.0, 4.0))
                self._restart()

        return act

    def _restart(self) -> None:
        self._mongod.start()
        self._proxy.target = _port_of(self._mongod)

    def _cut(self, mode: str) -> None:
        self._proxy.set("refuse" if mode == "refuse" else "silent")
        time.sleep(self._rng.uniform(0.5, 6.0))
        self._proxy.set("pass")

    def _fill_disk(self) -> None:
        assert self._disk is not None
        assert self._mongod.process is not None
        ballast = self._disk / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                while file.write(bytes(2**20)) == 2**20:
                    pass
        except OSError:
            pass  # full
        time.sleep(self._rng.uniform(1.0, 5.0))
        ballast.unlink()
        if self._mongod.process.poll() is not None:
            self.disk_deaths += 1
            self._restart()


SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "STOP": signal.SIGSTOP}


@click.command()
@click.option("--minutes", default=10.0, show_default=True, type=click.FloatRange(0.1))
@click.option("--seed", default=0, show_default=True, help="Of all choices; the timing differs all the same.")
@click.option("--api", "n_api", default=2, show_default=True, type=click.IntRange(1), help="API processes.")
@click.option("--writers", default=4, show_default=True, type=click.IntRange(1))
@click.option("--readers", default=3, show_default=True, type=click.IntRange(1))
@click.option("--users-held", type=click.IntRange(0), help="Of whom each API process has vectors; unset: all.")
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Keep what the service logged here.")
def main(
    *, minutes: float, seed: int, n_api: int, writers: int, readers: int, users_held: int | None, log: Path | None
) -> None:
    """Print the counts; exit code 1 when something was lost or wrong."""
    rng, ledger, stop = random.Random(seed), Ledger(), threading.Event()  # noqa: S311 - equal choices every time
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coursegraph-chaos-")))
        disk = stack.enter_context(small_disk(folder))
        mongod = EmbeddedMongod(folder / "disk" / "mongod")
        mongod.start()
        stack.callback(mongod.stop, 0)
        proxy = Proxy(_port_of(mongod))
        environment = {**SETTINGS, "MONGODB_URI": f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"}
        environment["COURSEGRAPH_CACHE_DIR"] = str(folder / "cache")
        if users_held is not None:
            environment["COURSEGRAPH_USERS_HELD"] = str(users_held)
        up = stack.enter_context(Up(folder / "up", "--workers", str(n_api), environment=environment))
        if log is not None:
            stack.callback(lambda: log.write_text(up.log))
        courses = [
            {"course_id": f"c{row:03}", "title": f"Course {row}", "categories": [f"T{row % 9}"]}
            for row in range(COURSES)
        ]
        httpx.post(f"{up.url}/courses", json=courses, timeout=30).raise_for_status()
        callers = [Writer(up.url, ledger, f"w{number}", stop, seed) for number in range(writers)]
        asking = [Reader(up.url, ledger, f"r{number}", stop, seed) for number in range(readers)]
        for caller in (*callers, *asking):
            caller.start()
        faults = Faults(up, mongod, proxy, disk, rng)
        end = time.monotonic() + 60 * minutes
        time.sleep(3.0)
        while time.monotonic() < end:
            click.echo(f"{time.strftime('%H:%M:%S')} {faults.one()}", err=True)
            time.sleep(rng.uniform(0.2, 5.0))
        healed = heal(up.url)
        time.sleep(3.0)  # all of it once more without faults
        stop.set()
        for caller in (*callers, *asking):
            caller.join(70)
        time.sleep(1.5)
        wrong = [*check(up.url, ledger), *train(up.url)]
        runs = httpx.get(f"{up.url}/training/runs?limit=1000").json()["items"]
    report(ledger, faults, runs, healed, wrong, disk=disk is not None)
    sys.exit(1 if wrong or ledger.faults else 0)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system that can be filled; None where this user may not mount one."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "coursegraph-chaos", str(disk)]
    if os.name != "posix" or subprocess.run(command, capture_output=True, check=False).returncode:
        click.echo("no file system may be mounted here, so the disk is never full", err=True)
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)


def _port_of(mongod: EmbeddedMongod) -> int:
    return int(mongod.uri.split(":")[2].split("/")[0])


def heal(url: str) -> float:
    """Seconds until all is ready, many times in a row, as there are several processes."""
    started, in_a_row = time.monotonic(), 0
    while in_a_row < 20:
        try:
            good = httpx.get(f"{url}/health/ready", timeout=5).json()["status"] == "ok"
        except (httpx.HTTPError, ValueError):
            good = False
        in_a_row = in_a_row + 1 if good else 0
        if time.monotonic() - started > HEAL_SECONDS:
            raise click.ClickException(f"not ready {HEAL_SECONDS:.0f} s after the last fault")
        time.sleep(0.1)
    return time.monotonic() - started


def check(url: str, ledger: Ledger) -> list[str]:
    """What is stored that should not be, and the other way round."""
    lines = httpx.get(f"{url}/export/interactions", timeout=60).content.splitlines()
    rows = Counter((row["user_id"], row["course_id"], row["type"]) for row in map(orjson.loads, lines))
    wrong = [f"acknowledged and lost: {key}" for key in ledger.stored - rows.keys()]
    wrong += [f"stored {number} times: {key}" for key, number in rows.items() if number > 1]
    wrong += [f"refused and stored: {key}" for key in ledger.refused & rows.keys()]
    known = ledger.stored | ledger.uncertain
    wrong += [f"nobody sent it: {key}" for key in rows if key not in known and not key[0].startswith("gone-")]
    wrong += [f"erased and there: {key}" for key in rows if key[0] in ledger.erased]
    with httpx.Client(base_url=url, timeout=30) as client:
        for user, taken in [*ledger.taken.items()][-300:]:
            listed = {item["course_id"] for item in client.get(f"/recommendations/{user}?n=100").json()["items"]}
            wrong += [f"{user} is recommended {course}, which they took" for course in listed & taken.keys()]
    return wrong


def train(url: str) -> list[str]:
    """Let a run go through, or the one that is open already; what is wrong with it and those before."""
    with httpx.Client(base_url=url, timeout=30) as client:
        answer = client.post("/training/runs")
        run_id = answer.json()["run_id"]  # that of the open run, with 409
        deadline = time.monotonic() + TRAIN_SECONDS
        while (run := client.get(f"/training/runs/{run_id}").json())["ended_at"] is None:
            if time.monotonic() > deadline:
                return [f"training run {run_id} is {run['status']} {TRAIN_SECONDS:.0f} s after the last fault"]
            time.sleep(0.5)
        runs = client.get("/training/runs?limit=1000").json()["items"]
    failed = [one for one in runs if one["status"] == "failed"]
    allowed = {one["run_id"] for one in failed if one["error"]["type"] == "worker_died"} - {run_id}
    return [f"{one['run_id']} failed: {one['error']}" for one in failed if one["run_id"] not in allowed]


def report(
    ledger: Ledger, faults: Faults, runs: list[dict[str, Any]], healed: float, wrong: list[str], *, disk: bool
) -> None:
    """Print it."""
    click.echo("faults")
    for name, number in sorted(faults.counts.items()):
        click.echo(f"  {number:>5}  {name}")
    click.echo(
        f"         the database died of the full disk {faults.disk_deaths} times" if disk else "         no full disk"
    )
    click.echo("answers")
    for name, number in sorted(ledger.answers.items()):
        slowest = ledger.slowest[name.rpartition(" ")[2]]
        click.echo(f"  {number:>7,}  {name:<34} slowest with this outcome {slowest:6.2f} s")
    statuses = Counter(run["status"] for run in runs)
    click.echo(f"training runs: {', '.join(f'{n} {status}' for status, n in sorted(statuses.items())) or 'none'}")
    errors = Counter(f"{error['type']}: {error['detail']}" for run in runs if (error := run["error"]) is not None)
    for error, number in errors.items():
        click.echo(f"  {number:>5}  {error}")
    click.echo(f"ready {healed:.1f} s after the last fault")
    click.echo(
        f"rows acknowledged {len(ledger.stored):,}, refused {len(ledger.refused):,}, "
        f"without an answer {len(ledger.uncertain):,}; users erased {len(ledger.erased):,}"
    )
    click.echo(f"lists looked at {ledger.reads:,}, of which {ledger.aged:,} said that they were older than a second")
    click.echo(f"wrong while it ran: {len(ledger.faults)}")
    for text in ledger.faults[:20]:
        click.echo(f"  {text}")
    click.echo(f"wrong in the end: {len(wrong)}")
    for text in wrong[:20]:
        click.echo(f"  {text}")


if __name__ == "__main__":
    main()
