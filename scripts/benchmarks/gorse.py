"""How fast Gorse's calls are answered, beside the same of our own.

Starts a mongod and the service with a model of random vectors; asks for `/api/recommend/USER`, with and without scores,
and for `/recommendations/USER` in turn, several rounds, so that a machine with other things to do slows both.  The load
comes from wrk when it is installed, else from a generator in Python.  Exit code 1 when Gorse's call is slower than
WANTED of ours.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

import click

from app.store.embedded import EmbeddedMongod
from scripts.benchmarks.serving import CATEGORIES, CONNECTIONS, Load, Publisher, make_contents, serving

WANTED = 0.9  # of the rate of our own call


@click.command(help=__doc__)
@click.option("--courses", default=5_000, show_default=True)
@click.option("--users", default=100_000, show_default=True)
@click.option("--seconds", default=3.0, show_default=True, help="Of each load.")
@click.option("--rounds", default=5, show_default=True, help="Of ours and Gorse's in turn.")
@click.option("--python-load", is_flag=True, help="Load from Python even if wrk is there.")
def main(*, courses: int, users: int, seconds: float, rounds: int, python_load: bool) -> None:
    """Measure and print a table."""
    wrk = None if python_load else shutil.which("wrk")
    print(f"load from {'wrk' if wrk else 'Python'}; {courses:,} courses, {users:,} users; medians of {rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="coursegraph-bench-") as name:
        folder = Path(name)
        mongod = EmbeddedMongod(folder / "mongod")
        uri = mongod.start()
        try:
            publisher = Publisher(uri, folder, make_contents(users, courses))
            publisher.store_courses()
            publisher.publish()
            with serving(uri, folder) as (_, port):
                met = measure(Load(port, folder, seconds, rounds, wrk), users)
        finally:
            mongod.stop(timeout_seconds=0)
    sys.exit(0 if met else 1)


def measure(load: Load, n_users: int) -> bool:
    """The table; whether all of it is as wanted."""
    kinds = {
        "/recommend/{user}": ("/api/recommend/u{}", "/recommendations/u{}"),
        "/recommend/{user}/?n&offset": ("/api/recommend/u{}/?n=10&offset=0", "/recommendations/u{}?n=10&offset=0"),
        "/recommend/{user}/{category}": ("/api/recommend/u{0}/k{1}", "/recommendations/u{0}?category=k{1}"),
    }
    print(f"{'':30}    c   Gorse's/s      ours/s  ratio   load")
    met = True
    for kind, paths in kinds.items():
        files = [load.folder / name for name in ("gorse", "own")]
        for file, path in zip(files, paths, strict=True):
            file.write_text("\n".join(path.format(i, i % CATEGORIES) for i in range(n_users)))
        for connections in CONNECTIONS:
            rates: list[tuple[float, float]] = []
            errors = 0
            for _ in range(load.rounds):
                gorse, own = (load.run(load.port, file, connections, once=False) for file in files)
                rates.append((gorse["requests"] / gorse["seconds"], own["requests"] / own["seconds"]))
                errors += gorse["errors"] + own["errors"]
            ratio = median(theirs / ours for theirs, ours in rates)
            met = met and ratio >= WANTED and not errors
            theirs, ours = (median(column) for column in zip(*rates, strict=True))
            print(
                f"{kind:30} {connections:4} {theirs:11,.0f} {ours:11,.0f} {ratio:6.2f} {os.getloadavg()[0]:6.1f}  "
                f">= {WANTED}: {'met' if ratio >= WANTED else 'MISSED'}" + (f"  {errors} ERRORS" if errors else ""),
                flush=True,
            )
    return met


if __name__ == "__main__":
    main()
