"""What training takes at sizes that do not fit this machine: time, memory and traffic, and how far to trust it.

The model (scripts/planning/model.py) is fitted to points that were measured with `scripts/bench ranks` on two cores,
at 1e5 to 1e7 edges and 1, 2 and 4 ranks, some several times, of which the quickest step counts; `--points` prints each
with what the model says of it, `--held-out` with what it says when it was fitted to the others.  To measure them
anew, on a machine with nothing else to do:

\b
  rm scripts/planning/points.json
  scripts/bench ranks 100000 300000 1000000 3000000 --save scripts/planning/points.json
  scripts/bench ranks 1000000 --items 20000 --save scripts/planning/points.json
  scripts/bench ranks 1000000 --batch 200000 --save scripts/planning/points.json
  scripts/bench ranks 1000000 --size 128 --layers 2 --save scripts/planning/points.json
  scripts/bench ranks 300000 --layers 1 --save scripts/planning/points.json
  scripts/bench ranks --steps 4 --size 128 10000000 --save scripts/planning/points.json

`h a run` counts steps only, 200 of them, not reading, the spectral start, filters, lists and publishing; `first` is the
process that reads and divides everything.  What lies beyond the points is a calculation, not a measurement: that cores
add up, each with as much memory bandwidth as the two that were measured, that users are divided evenly, that a line
carries what it is called.  A step has a 200th of all edges (`COURSEGRAPH_BATCH_SIZE`): with the usual 16,384 one pass
over 1e9 edges has 61,000 steps.
"""

import json
import sys
from pathlib import Path
from statistics import median

import click

from scripts.planning.model import GIB, MIB, STEPS, Fitted, Size, fitted, traffic_seconds

POINTS = Path(__file__).parent / "points.json"
EDGES = (10**8, 10**9, 10**10)
OF_A_USER, OF_AN_ITEM, MOST_ITEMS = 20, 300, 100_000
USUAL_BATCH, BATCHES = 16_384, 200  # a pass of so many batches at most
IDLE_GIB = 0.35  # of a process with all that is imported
WANTED_ERROR = 0.25
USED = 0.8  # of a machine's memory: the model errs by as much as the rest, see --held-out
MOST_HOSTS = 1024
USUAL_MACHINES = ("128,32,25", "512,64,100")
# GB/s of memory and GiB, by the makers' data sheets.  Nothing of this was measured.
GPUS = {"a100": (2_039, 80), "h100": (3_350, 80), "h200": (4_800, 141)}
OF_BANDWIDTH = 0.5


@click.command(help=__doc__)
@click.option("--edges", type=float, multiple=True, help="Interactions; by default 1e8, 1e9 and 1e10.")
@click.option("--users", type=float, help="By default one in 20 edges.")
@click.option("--items", type=float, help="By default one in 300 edges, at most 100,000.")
@click.option("--size", default=64, show_default=True, help="Numbers in a vector.")
@click.option("--layers", default=3, show_default=True)
@click.option("--batch", type=float, help="Edges in a step; by default a 200th of all.")
@click.option(
    "--machine",
    "machines",
    multiple=True,
    default=USUAL_MACHINES,
    show_default=True,
    help="GiB of memory, cores, and Gb/s of its line.",
)
@click.option("--hosts", type=int, help="So many; by default as few as fill at most 4/5 of each with its rank.")
@click.option("--gpu", "gpus", type=click.Choice([*GPUS]), multiple=True, help="By its data sheet; not measured.")
@click.option("--points", is_flag=True, help="Instead: the measured points and what the model says of them.")
@click.option(
    "--held-out", is_flag=True, help="Instead: each point, and what the model says that was fitted without it."
)
def main(
    *,
    edges: tuple[float, ...],
    users: float | None,
    items: float | None,
    size: int,
    layers: int,
    batch: float | None,
    machines: tuple[str, ...],
    hosts: int | None,
    gpus: tuple[str, ...],
    points: bool,
    held_out: bool,
) -> None:
    """See above."""
    measured = json.loads(POINTS.read_text())
    if held_out:
        _print_points(measured, [model_without(measured, place) for place in range(len(measured))])
        return
    model = fitted(measured)
    if points:
        sys.exit(0 if _print_points(measured, [model] * len(measured)) else 1)
    worst = max(abs(error) for point in measured for error in errors(model, point).values())
    print(
        f"{len(measured)} measured points, none further from the model than {worst:.0%}; beyond 1e7 edges a calculation"
    )
    asked = [
        Size(
            users=round(users or n / OF_A_USER),
            items=round(items or min(n / OF_AN_ITEM, MOST_ITEMS)),
            edges=round(n),
            embedding_size=size,
            n_layers=layers,
            batch=round(batch or max(USUAL_BATCH, n / BATCHES)),
            ranks=1,
        )
        for n in (edges or EDGES)
    ]
    for machine in machines:
        given = memory, cores, line = _machine(machine)
        print(f"\nmachines of {memory:g} GiB, {cores} cores, {line:g} Gb/s, a rank each")
        print("       edges       users    items  hosts   s/step in traffic  GB summed  GiB a rank  GiB first  h a run")
        for each in asked:
            _print_line(model, each, given, hosts)
    for name in gpus:
        _print_gpu(name, asked)


def errors(model: Fitted, point: dict[str, float]) -> dict[str, float]:
    """Relative errors of what the model says of a point."""
    size = Size.of_point(point)
    said = {"seconds": model.step_seconds(size, int(point["cores"]))}
    said["first_bytes"] = model.memory_bytes(size, first=True)
    if size.ranks > 1:
        said["other_bytes"] = model.memory_bytes(size, first=False)
        said["bytes"] = float(size.summed_bytes)
    return {name: value / point[name] - 1 for name, value in said.items()}


def model_without(measured: list[dict[str, float]], place: int) -> Fitted:
    """The model that has not seen one of the points."""
    return fitted([*measured[:place], *measured[place + 1 :]])


def on_ranks(size: Size, ranks: int) -> Size:
    """The same by so many."""
    own = {name: getattr(size, name) for name in ("users", "items", "edges", "embedding_size", "n_layers", "batch")}
    return Size(**own, ranks=ranks)


def least_hosts(model: Fitted, size: Size, memory_gib: float) -> int | None:
    """Machines of which each has room for its rank, the first aside, and some left; None: not even the most."""
    for hosts in range(1, MOST_HOSTS + 1):
        if _gib(model.memory_bytes(on_ranks(size, hosts), first=False)) <= USED * memory_gib:
            return hosts
    return None


def _machine(text: str) -> tuple[float, int, float]:
    try:
        memory, cores, line = (float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"--machine has value {text!r}; wanted GiB,cores,Gb/s such as 128,32,25") from None
    if min(memory, cores, line) <= 0:
        raise click.BadParameter(f"--machine has value {text!r}; wanted numbers above 0")
    return memory, int(cores), line


def _gib(n_bytes: float) -> float:
    return n_bytes / GIB + IDLE_GIB


def _print_line(model: Fitted, size: Size, machine: tuple[float, int, float], hosts: int | None) -> None:
    memory, cores, line = machine
    n = hosts or least_hosts(model, size, memory)
    head = f"{size.edges:12.0e}{size.users:12,}{size.items:9,}"
    if n is None:
        print(f"{head}  more than {MOST_HOSTS} hosts")
        return
    each = on_ranks(size, n)
    traffic = traffic_seconds(each, n, line * 1e9)
    step = model.core_seconds(each) / (cores * n) + traffic
    own, first = (_gib(model.memory_bytes(each, first=is_first)) for is_first in (False, True))
    note = "" if first <= memory else "  the first rank needs a larger machine"
    print(
        f"{head}{n:7}{step:9.3f}{traffic:12.3f}{each.summed_bytes / 1e9:11.3f}{own:12.1f}{first:11.1f}"
        f"{step * STEPS / 3600:9.2f}{note}"
    )


def _print_gpu(name: str, sizes: list[Size]) -> None:
    bandwidth, memory = GPUS[name]
    print(f"\n{name}, one, {memory} GiB: by its data sheet, {OF_BANDWIDTH:.0%} of {bandwidth:,} GB/s; NOT MEASURED")
    for size in sizes:
        moved = 4 * size.n_layers * size.edges * (size.embedding_size * 4 + 8)  # float32 rows, column and weight
        moved += 10 * (size.users + size.items) * size.embedding_size * 4  # optimiser and copies
        needed = (size.users + size.items) * size.embedding_size * 4 * 6 + size.edges * 2 * 16 + size.batch * 1024 * 3
        gib = needed / GIB
        fits = "" if gib <= memory else f"  does not fit: {gib / memory:.1f} of them have room"
        print(f"{size.edges:12.0e}{moved / (bandwidth * 1e9 * OF_BANDWIDTH):12.3f} s/step{gib:10.1f} GiB{fits}")


def _print_points(measured: list[dict[str, float]], models: list[Fitted]) -> bool:
    print("      edges    items    D  K   batch ranks   s/step   model       first MiB   model       other MiB   model")
    furthest = []
    for point, model in zip(measured, models, strict=True):
        size = Size.of_point(point)
        found = errors(model, point)
        furthest.append(max(map(abs, found.values())))
        line = (
            f"{size.edges:11,}{size.items:9,}{size.embedding_size:5}{size.n_layers:3}{size.batch:8,}{size.ranks:6}"
            f"{point['seconds']:9.4f}{model.step_seconds(size, int(point['cores'])):8.4f} {found['seconds']:+5.0%}"
        )
        for name, first in (("first_bytes", True), ("other_bytes", False)):
            if name in found:
                said = model.memory_bytes(size, first=first)
                line += f"{point[name] / MIB:10.0f}{said / MIB:8.0f} {found[name]:+5.0%}"
        print(line)
    good = sum(error <= WANTED_ERROR for error in furthest)
    summary = f"median {median(furthest):.1%}, worst {max(furthest):.1%}"
    print(f"{good} of {len(furthest)} points within {WANTED_ERROR:.0%}; largest error of a point: {summary}")
    return good == len(furthest)


if __name__ == "__main__":
    main()
