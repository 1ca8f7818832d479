"""What a step costs by several ranks on this machine: time, bytes summed over ranks, and the most memory of each rank.

Random graphs as of `scripts/bench scale`, trained with the usual recipe for a few steps by 1, 2 and 4 processes, each
number in processes of its own.  All share the same threads: one process has them all, of several each its part.
`bytes/step` is counted where the sums are taken, beside what the formula says: 2 K + 1 sums of (I, D) in bfloat16.
Memory is the most beyond that of a process that has imported what it needs: `first` holds the whole graph besides its
part, `other` is the largest of the others.  --save adds the points to a JSON file, from which `scripts/capacity` is
fitted.
"""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import median

import click
import numpy as np
import torch

from app.domain.interactions import Features
from app.errors import CancelledError
from app.graph.bipartite import BipartiteGraph
from app.memory import give_back
from app.training.config import DEFAULT_LAYERS, TrainingConfig
from app.training.distributed.group import Group
from app.training.distributed.launch import LocalGroup, local_ranks
from app.training.fit import fit
from app.training.start import start_vectors
from scripts.benchmarks.scale import OF_A_USER, OF_AN_ITEM

EDGES = (100_000, 1_000_000, 10_000_000)
SIZES = (1, 2, 4)
MIB = 2**20


@click.command()
@click.argument("edges", type=int, nargs=-1)
@click.option("--ranks", "sizes", type=int, multiple=True, help="Numbers of ranks; by default 1, 2 and 4.")
@click.option("--steps", default=8, help="Measured after three others; the median counts.")
@click.option("--items", type=int, help="Items; by default one in 300 edges.")
@click.option("--size", type=int, help="Numbers in a vector; by default what a graph of that size gets.")
@click.option("--layers", type=int, help="Propagation layers; 3 by default.")
@click.option("--batch", type=int, help="Edges in a step; by default what a graph of that size gets.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Add the points here, as JSON.")
@click.option("--one", is_flag=True, hidden=True, help="Measure one here and print it as JSON.")
def main(
    *,
    edges: tuple[int, ...],
    sizes: tuple[int, ...],
    steps: int,
    items: int | None,
    size: int | None,
    layers: int | None,
    batch: int | None,
    save: Path | None,
    one: bool,
) -> None:
    """Measure graphs of so many EDGES, by default 1e5, 1e6 and 1e7."""
    if one:
        config = TrainingConfig(device="cpu", embedding_size=size, n_layers=layers or DEFAULT_LAYERS, batch_size=batch)
        print(json.dumps(measured(edges[0], sizes[0], steps, items, config)))
        return
    wished = {"items": items, "size": size, "layers": layers, "batch": batch}
    shape = [f"--{name}={value}" for name, value in wished.items() if value]
    widths = {"edges": 12, "users": 10, "items": 9, "ranks": 6, "s/step": 9, "MB summed": 11, "formula": 9}
    widths |= {"first MiB": 11, "other MiB": 11}
    print("".join(f"{name:>{width}}" for name, width in widths.items()), flush=True)
    points = []
    for n_edges in edges or EDGES:
        for n_ranks in sizes or SIZES:
            options = ["--one", "--ranks", str(n_ranks), "--steps", str(steps), *shape]
            command = [sys.executable, __file__, *options, str(n_edges)]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
            points.append(found)
            print(
                f"{found['edges']:12,}{found['users']:10,}{found['items']:9,}{n_ranks:6}{found['seconds']:9.4f}"
                f"{found['bytes'] / 1e6:11.3f}{found['formula'] / 1e6:9.3f}{found['first_bytes'] / MIB:11.0f}"
                f"{found['other_bytes'] / MIB:11.0f}",
                flush=True,
            )
    print(f"{points[0]['cores']} threads in all, load {os.getloadavg()[0]:.1f}")
    if save is not None:
        before = json.loads(save.read_text()) if save.exists() else []
        save.write_text("[\n" + ",\n".join(" " + json.dumps(point) for point in [*before, *points]) + "\n]\n")


def measured(
    n_edges: int, size: int, steps: int, items: int | None = None, config: TrainingConfig | None = None
) -> dict[str, float]:
    """A few steps by so many ranks."""
    before = high_water(os.getpid())
    rng = np.random.default_rng(0)
    n_users, n_items = max(n_edges // OF_A_USER, 2), items or max(n_edges // OF_AN_ITEM, 2)
    keys = np.unique(
        rng.integers(0, n_users, n_edges) * n_items + (n_items * rng.random(n_edges) ** 2).astype(np.int64)
    )
    graph = BipartiteGraph.from_pairs(keys // n_items, keys % n_items, n_users=n_users, n_items=n_items)
    recipe = (config or TrainingConfig(device="cpu")).recipe(graph.n_edges, n_items)
    initial = start_vectors(graph, recipe, Features.none(), Features.none())
    del keys
    give_back()
    Path("/proc/self/clear_refs").write_text("5")  # the high water mark begins anew: making the graph was no training
    asked: list[tuple[float, int]] = []
    cores = torch.get_num_threads()
    with local_ranks(size, 120.0) as ranks:
        others = ranks.others if isinstance(ranks, LocalGroup) else []
        idle = {pid: high_water(pid) for pid in others}

        def should_stop() -> bool:
            asked.append((time.perf_counter(), ranks.summed_bytes if isinstance(ranks, Group) else 0))
            return len(asked) > 3 + steps

        with suppress(CancelledError):
            fit(graph, initial, recipe, ranks=ranks, should_stop=should_stop)
        first = high_water(os.getpid()) - before
        other = max((high_water(pid) - idle[pid] for pid in others), default=0)
    times = np.diff([moment for moment, _ in asked[3:]])
    summed = {after - before for (_, before), (_, after) in pairwise(asked[3:])}
    table = n_items * recipe.embedding_size
    return {
        "edges": graph.n_edges,
        "users": n_users,
        "items": n_items,
        "ranks": size,
        "cores": cores,
        "batch": min(recipe.batch_size, graph.n_edges),
        "embedding_size": recipe.embedding_size,
        "n_layers": recipe.n_layers,
        "seconds": median(times.tolist()),
        "bytes": max(summed),
        "formula": 0 if size == 1 else table * (2 * recipe.n_layers + 1) * 2,
        "first_bytes": first,
        "other_bytes": other,
    }


def high_water(pid: int) -> int:
    """The most memory that a process ever had, in bytes."""
    return status_bytes(pid, "VmHWM")


def status_bytes(pid: int, name: str) -> int:
    """What the kernel says of a process under a name."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} tells no {name}; this needs Linux")


if __name__ == "__main__":
    main()
