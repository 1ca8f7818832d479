"""What training costs as the graph grows: seconds a step and an edge, and the most memory of a run.

Random graphs of so many edges each are trained with the defaults but for the search, which is switched off.  Each is
trained in a process of its own, so that its peak is its own: of the data themselves, of all copies on the way and of
closed forms.  A run is broken off after some steps, since a whole one takes hours where edges are many and the steps
after the first need no more memory; with --whole it goes to its end, judging and the last fit among it.  Users have
about 12 edges and items about 300.  With --ranks the same graphs are trained by 1, 2 and 4 processes, and the memory
of each is told: `scripts/bench ranks`.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import click
import numpy as np

from app.domain.interactions import Features, Snapshot
from app.domain.vocabulary import Vocabulary
from app.errors import CancelledError
from app.training.config import TrainingConfig
from app.training.run import train

EDGES = (100_000, 1_000_000, 10_000_000)
OF_A_USER, OF_AN_ITEM = 12, 300
GIB = 2**30
CLOSED_FORMS = 6  # judged at most


@click.command()
@click.argument("edges", type=int, nargs=-1)
@click.option("--steps", default=5, help="After which a run is broken off.")
@click.option("--whole", is_flag=True, help="Go to the end.")
@click.option("--ranks", is_flag=True, help="Instead: time and memory of several processes.")
@click.option("--one", is_flag=True, hidden=True, help="Train one here and print what it took as JSON.")
@click.option("--most-gib", type=float, help="Memory above which the exit status is 1.")
def main(*, edges: tuple[int, ...], steps: int, whole: bool, ranks: bool, one: bool, most_gib: float | None) -> None:
    """Measure graphs of so many EDGES, by default 1e5, 1e6 and 1e7."""
    if ranks:
        command = [sys.executable, str(Path(__file__).with_name("ranks.py")), "--steps", str(steps), *map(str, edges)]
        sys.exit(subprocess.run(command, check=False).returncode)
    if one:
        print(json.dumps(measured(edges[0], None if whole else steps)))
        return
    widths = {"edges": 12, "nodes": 10, "s/step": 9, "ns/edge/step": 14, "run s": 8, "peak GiB": 10, "B/edge": 8}
    print("".join(f"{name:>{width}}" for name, width in widths.items()))
    too_much = False
    for n_edges in edges or EDGES:
        options = ["--whole"] if whole else ["--steps", str(steps)]
        command = [sys.executable, __file__, "--one", *options, str(n_edges)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
        step, peak = found["step"], found["peak"]
        print(
            f"{found['edges']:12,}{found['nodes']:10,}{step:9.3f}{step / found['edges'] * 1e9:14.0f}"
            f"{found['seconds']:8.1f}{peak / GIB:10.2f}{peak / found['edges']:8.0f}",
            flush=True,
        )
        too_much |= most_gib is not None and peak > most_gib * GIB
    print(f"load {os.getloadavg()[0]:.1f}")
    sys.exit(too_much)


def measured(n_edges: int, steps: int | None) -> dict[str, float]:
    """One training run in this process.  steps: None: all."""
    snapshot, asked = random_snapshot(n_edges), []

    def should_stop() -> bool:
        """Asked before each step, and before each closed form is judged."""
        asked.append(time.perf_counter())
        return steps is not None and len(asked) > CLOSED_FORMS + steps

    began = time.perf_counter()
    try:
        train(snapshot, {"enroll": 1.0}, TrainingConfig(time_budget_seconds=0), should_stop=should_stop)
    except CancelledError:
        assert steps is not None
    return {
        "edges": len(snapshot.user_rows),
        "nodes": len(snapshot.users) + len(snapshot.items),
        "step": median(np.diff(asked[CLOSED_FORMS:]).tolist()),
        "seconds": time.perf_counter() - began,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }


def random_snapshot(n_edges: int) -> Snapshot:
    """Items are the less popular the higher their row, some hundredfold in all."""
    rng = np.random.default_rng(0)
    n_users, n_items = max(n_edges // OF_A_USER, 2), max(n_edges // OF_AN_ITEM, 2)
    users = rng.integers(0, n_users, n_edges)
    items = (n_items * rng.random(n_edges) ** 2).astype(np.int64)
    keys = np.unique(users * n_items + items)
    del users, items
    return Snapshot(
        cluster_time=0,
        users=Vocabulary([f"u{row}" for row in range(n_users)]),
        items=Vocabulary([f"c{row}" for row in range(n_items)]),
        user_rows=(keys // n_items).astype(np.int32),
        item_rows=(keys % n_items).astype(np.int32),
        type_codes=np.zeros(len(keys), np.uint8),
        timestamps=np.zeros(len(keys), np.int64),
        types=("enroll",),
        user_features=Features.none(),
        item_features=Features.none(),
    )


if __name__ == "__main__":
    main()
