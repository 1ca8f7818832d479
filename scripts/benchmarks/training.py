"""How fast a training step is beside other programs' at the same mathematics, and how accurate in how much time.

FOLDER holds interactions_train.csv.gz and interactions_test.csv.gz; without it a random graph of gowalla's size is
timed and nothing is judged.  Peers are installed into .bench-venv, an environment of their own that also sees the
packages of .venv, and everything is measured there in one process, in turns, so that all meet the same machine:

- a step of BPR, batch 2,048, D = 64, K = 3, mean, Adam on all vectors, with negatives drawn by the same sampler.  That
  the gradients are equal is checked first;
- the machine: how fast memory is copied, a table of the vectors' size is read, and its rows are gathered in the
  graph's order; and how much of that one propagation reaches;
- with FOLDER, Recall@20 and NDCG@20 on the test file against wall and CPU time.  Ours runs with its defaults; of
  peers several settings are shown, so the best of them was chosen by looking.

A table is printed; it, the numbers and a picture go to --output.
"""

import contextlib
import csv
import gzip
import json
import os
import subprocess
import sys
import time
import venv
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from app.domain.interactions import Features
from app.domain.vocabulary import Vocabulary
from app.errors import CancelledError
from app.graph.bipartite import BipartiteGraph
from app.graph.normalise import normalised_adjacency
from app.memory import freed_memory_kept
from app.training.config import Recipe, TrainingConfig
from app.training.evaluate import evaluate
from app.training.fit import Trainer, fit
from app.training.loss import Pairs, add_l2, bpr_loss
from app.training.propagation import Propagation
from app.training.sampling import UnseenSampler, steps_in_epoch, usable_edges
from app.training.split import Split
from app.training.start import start_vectors

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".bench-venv"
BATCH, SIZE, LAYERS = 2048, 64, 3
L2 = 1e-4
SYNTHETIC = 30_000, 41_000, 810_000  # users, items and edges of gowalla's size
SHARES_OF_STEPS = (0.25, 0.5, 1.0)  # of the default number, each with a schedule of its own
ALS_SETTINGS = ((0.01, 1.0), (10.0, 1.0), (0.1, 10.0), (0.1, 40.0))  # regularisation and alpha
BPR_RATES = (0.01, 0.05)

Step = Callable[[], None]
Rows = NDArray[np.int64]
Vectors = tuple[Any, Any]
"""Of users and items, float32."""


@dataclass(frozen=True, slots=True)
class Timing:
    """A step of one system.  error: of its gradient against ours, relative to the largest."""

    system: str
    step_ms: float
    epoch_seconds: float
    times_ours: float
    error: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A model on the test file."""

    system: str
    setting: str
    wall_seconds: float
    cpu_seconds: float
    recall: float
    ndcg: float


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option("--rounds", default=3, help="In which each system takes its steps.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=ROOT / "build" / "bench")
@click.option("--peers/--no-peers", default=True, help="Whether to install and measure other programs.")
def main(folder: Path | None, rounds: int, output: Path, peers: bool) -> None:
    """Measure on the data set in FOLDER, or on a random graph."""
    warnings.filterwarnings("ignore", "Sparse", UserWarning)  # torch says that its CSR is new
    if peers and Path(sys.prefix) != ENVIRONMENT:
        sys.exit(subprocess.run([prepared(), __file__, *sys.argv[1:]], check=False, env=environment()).returncode)
    graph, split = (synthetic(), None) if folder is None else read(folder)
    name = "a random graph" if folder is None else folder.name
    print(f"{name}: {graph.n_users:,} users, {graph.n_items:,} items, {graph.n_edges:,} edges; {machine()}", flush=True)
    timings = time_steps(graph, rounds, peers=peers)
    show_timings(timings)
    limits = measure_limits(graph)
    for what, value in limits.items():
        print(f"{what:<48}{value:10.3g}", flush=True)
    accuracies = [] if split is None else list(measure_accuracy(split, peers=peers))
    output.mkdir(parents=True, exist_ok=True)
    result = {
        "data": name,
        "machine": machine(),
        "steps": [asdict(timing) for timing in timings],
        "limits": limits,
        "accuracy": [asdict(accuracy) for accuracy in accuracies],
    }
    (output / "training.json").write_text(json.dumps(result, indent=1))
    if peers:
        draw(output / "training.svg", timings, accuracies, name)
    print(f"written to {output}")


# --- the environment


def prepared() -> Path:
    """The Python of an environment with the peers, made or brought up to date."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        print(f"making {ENVIRONMENT}", flush=True)
        venv.create(ENVIRONMENT, with_pip=True)
    [packages] = ENVIRONMENT.glob("lib/python*/site-packages")
    [ours] = (Path(sys.prefix)).glob("lib/python*/site-packages")
    (packages / "coursegraph.pth").write_text(f"import site; site.addsitedir({str(ours)!r})\n")
    wanted = ["-r", str(Path(__file__).with_suffix(".txt")), "-c", str(ROOT / "constraints.txt")]
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted], check=True)
    return python


def environment() -> dict[str, str]:
    """Implicit asks for a single BLAS thread, as it has its own; torch has OpenMP's."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "svg"}


def machine() -> str:
    """What it was measured on."""
    return f"{os.cpu_count()} CPUs, {torch.get_num_threads()} threads, torch {torch.__version__}"


# --- data


def read(folder: Path) -> tuple[BipartiteGraph, Split]:
    """The training part, and what is asked for."""
    pairs = {part: [*_rows(folder / f"interactions_{part}.csv.gz")] for part in ("train", "test")}
    users, items = (Vocabulary(sorted({pair[k] for part in pairs.values() for pair in part})) for k in (0, 1))
    rows = {part: (users.rows(u for u, _ in own), items.rows(i for _, i in own)) for part, own in pairs.items()}
    graph = BipartiteGraph.from_pairs(*rows["train"], n_users=len(users), n_items=len(items))
    order = np.argsort(rows["test"][0], kind="stable")
    return graph, Split(graph, rows["test"][0][order], rows["test"][1][order], "random")


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["user_id"], row["item_id"]


def synthetic() -> BipartiteGraph:
    """Some users and items are met far more often than others."""
    n_users, n_items, n_edges = SYNTHETIC
    rng = np.random.default_rng(0)
    users, items = ((n * rng.random(2 * n_edges) ** 2).astype(np.int64) for n in (n_users, n_items))
    keys = rng.permutation(np.unique(users * n_items + items))[:n_edges]
    return BipartiteGraph.from_pairs(keys // n_items, keys % n_items, n_users=n_users, n_items=n_items)


# --- steps


def recipe() -> Recipe:
    """The mathematics that all are timed at."""
    return Recipe(
        embedding_size=SIZE,
        n_layers=LAYERS,
        combination="mean",
        loss="bpr",
        epochs=1000,
        batch_size=BATCH,
        learning_rate=1e-3,
        l2_weight=L2,
        seed=0,
        device="cpu",
    )


class Sampling:
    """Batches of nodes: users, items taken, items unseen."""

    def __init__(self, graph: BipartiteGraph) -> None:
        self._graph, self._rng = graph, np.random.default_rng(0)
        self._edges, self._users, self._sampler = usable_edges(graph), graph.edge_users(), UnseenSampler(graph)

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """(B,) each."""
        edges = self._rng.choice(self._edges, BATCH)
        users = self._users[edges].astype(np.int64)
        items, unseen = self._graph.user_items.indices[edges].astype(np.int64), self._sampler.draw(users, self._rng)
        nodes = users, items + self._graph.n_users, unseen + self._graph.n_users
        return torch.from_numpy(nodes[0]), torch.from_numpy(nodes[1]), torch.from_numpy(nodes[2])


class Autograd:
    """A step in which torch finds the gradient, given how vectors are propagated."""

    def __init__(self, graph: BipartiteGraph, layer0: Tensor, propagate: Callable[[], Tensor]) -> None:
        self._sampling, self._layer0, self._propagate = Sampling(graph), layer0, propagate
        self._adam = torch.optim.Adam([layer0], lr=1e-3)

    def loss(self, users: Tensor, items: Tensor, unseen: Tensor) -> Tensor:
        """Mean softplus of the margin, and L2 on the batch's layer 0."""
        vectors = self._propagate()
        margin = (vectors[users] * (vectors[unseen] - vectors[items])).sum(1)
        own = sum((self._layer0[rows] ** 2).sum() for rows in (users, items, unseen))
        total: Tensor = torch.nn.functional.softplus(margin).mean() + L2 / (2 * len(users)) * own
        return total

    def gradient(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Of layer 0."""
        self._adam.zero_grad()
        self._backward(batch)
        assert self._layer0.grad is not None
        return self._layer0.grad.clone()

    def _backward(self, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        torch.autograd.backward(self.loss(*batch))

    def step(self) -> None:
        """Draw, propagate, compare, go back, move."""
        self._adam.zero_grad()
        self._backward(self._sampling.draw())
        self._adam.step()


class Ours:
    """The trainer, one step at a time, with the heap as a fit has it."""

    def __init__(self, graph: BipartiteGraph, initial: NDArray[np.float32]) -> None:
        self._trainer = Trainer(graph, initial, recipe())

    def times(self, n: int) -> list[float]:
        """Seconds of n steps; the first, which begins an epoch, is left out."""
        begins: list[float] = []

        def before_step() -> None:
            begins.append(time.perf_counter())
            if len(begins) > n + 1:
                raise CancelledError("timed")

        with contextlib.suppress(CancelledError):
            while True:
                with freed_memory_kept():
                    self._trainer.epoch(before_step)
        return list(np.diff(begins[1:]))


def time_steps(graph: BipartiteGraph, rounds: int, *, peers: bool) -> list[Timing]:
    """All systems in turns; medians."""
    recipe = TrainingConfig(embedding_size=SIZE).recipe(graph.n_edges, graph.n_items, start="xavier")
    initial = start_vectors(graph, recipe, Features.none(), Features.none()).whole()
    systems = {"torch CSR + autograd": (torch_csr(graph, initial), 6)}
    if peers:
        systems["PyG LightGCN, CSR"] = pyg(graph, initial, csr=True), 6
        systems["PyG LightGCN, edge_index"] = pyg(graph, initial, csr=False), 1
    batch = Sampling(graph).draw()
    own = our_gradient(graph, torch.tensor(initial), batch)
    errors = {
        name: float((system.gradient(batch) - own).abs().max() / own.abs().max())
        for name, (system, _) in systems.items()
    }
    ours = Ours(graph, initial)
    seconds: dict[str, list[float]] = {"CourseGraph": [], **{name: [] for name in systems}}
    ours.times(3)
    for system, _ in systems.values():
        system.step()
    for _ in range(rounds):
        seconds["CourseGraph"] += ours.times(15)
        for name, (system, n) in systems.items():
            seconds[name] += [_seconds(system.step) for _ in range(n)]
    of_ours = median(seconds["CourseGraph"])
    n_steps = steps_in_epoch(graph, BATCH)
    return [
        Timing(name, 1e3 * median(own), n_steps * median(own), median(own) / of_ours, errors.get(name, 0.0))
        for name, own in seconds.items()
    ]


def torch_csr(graph: BipartiteGraph, initial: NDArray[np.float32]) -> Autograd:
    """Sparse products with torch's own CSR matrix."""
    matrix, layer0 = sparse(graph), torch.nn.Parameter(torch.tensor(initial))

    def propagate() -> Tensor:
        vectors = total = layer0 * 1.0
        for _ in range(LAYERS):
            vectors = matrix @ vectors
            total = total + vectors
        return total / (LAYERS + 1)

    return Autograd(graph, layer0, propagate)


def pyg(graph: BipartiteGraph, initial: NDArray[np.float32], *, csr: bool) -> Autograd:
    """torch_geometric.nn.LightGCN on edges that are normalised beforehand."""
    from torch_geometric.nn import LightGCN  # noqa: PLC0415 - in .bench-venv alone

    model = LightGCN(graph.n_nodes, SIZE, LAYERS, normalize=False)
    model.embedding.weight.data.copy_(torch.tensor(initial))
    coo = normalised_adjacency(graph).tocoo()
    edges = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    arguments = (sparse(graph),) if csr else (edges, torch.from_numpy(coo.data))
    return Autograd(graph, model.embedding.weight, lambda: model.get_embedding(*arguments))


def sparse(graph: BipartiteGraph) -> Tensor:
    """The normalised adjacency."""
    matrix = normalised_adjacency(graph)
    starts, columns = (torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices))
    return torch.sparse_csr_tensor(starts, columns, torch.from_numpy(matrix.data), size=matrix.shape)


def our_gradient(graph: BipartiteGraph, layer0: Tensor, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Of layer 0, as the trainer computes it."""
    propagate = Propagation(normalised_adjacency(graph), LAYERS, "mean", torch.device("cpu"))
    _, gradient = bpr_loss(propagate(layer0), Pairs(*batch, torch.ones(BATCH)))
    gradient = propagate(gradient)
    counts = torch.bincount(torch.cat(batch), minlength=len(layer0)).to(layer0.dtype)
    add_l2(gradient, layer0, counts, L2, BATCH)
    return gradient


# --- the machine


def measure_limits(graph: BipartiteGraph) -> dict[str, float]:
    """Rates in GB/s and our share of them.  Bytes gathered: a row for each stored entry of the adjacency."""
    adjacency = normalised_adjacency(graph)
    table = torch.rand(graph.n_nodes, SIZE)
    columns = torch.from_numpy(adjacency.indices.astype(np.int64))
    gathered = torch.empty(len(columns), SIZE)
    large, copy = torch.rand(64 << 20), torch.empty(64 << 20)
    layer = Propagation(adjacency, 1, "sum", torch.device("cpu"))
    bytes_gathered = 4 * SIZE * len(columns)
    copied = 8 * large.numel() / _best(lambda: copy.copy_(large)) / 1e9
    read = 4 * table.numel() / _best(table.sum, 200) / 1e9
    gather = bytes_gathered / _best(lambda: torch.index_select(table, 0, columns, out=gathered)) / 1e9
    ours = bytes_gathered / _best(lambda: layer(table), 20) / 1e9
    return {
        "memory copied, read and written, GB/s": copied,
        "table of the vectors read in order, GB/s": read,
        "its rows gathered to memory, GB/s read": gather,
        "its rows gathered and added by a layer, GB/s": ours,
        "one layer, ms": bytes_gathered / ours / 1e6,
        "share of reading in order": ours / read,
        "share of gathering to memory": ours / gather,
    }


def _best(work: Callable[[], object], n: int = 8) -> float:
    return min(_seconds(work) for _ in range(n))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# --- accuracy


def measure_accuracy(split: Split, *, peers: bool) -> Iterator[Accuracy]:
    """Models of growing cost, printed as they come."""
    print(f"{'':24}{'setting':<28}{'wall s':>8}{'CPU s':>8}{'recall@20':>11}{'ndcg@20':>9}")
    trials: list[tuple[str, str, Callable[..., Vectors], tuple[float, ...]]] = [
        ("CourseGraph", f"{share:.0%} of the default steps", our_vectors, (share,)) for share in SHARES_OF_STEPS
    ]
    if peers:
        als_trials = ((f"regularization {l2:g}, alpha {alpha:g}", (l2, alpha)) for l2, alpha in ALS_SETTINGS)
        trials += [("implicit ALS", setting, als, options) for setting, options in als_trials]
        trials += [("implicit BPR", f"learning_rate {rate:g}", implicit_bpr, (rate,)) for rate in BPR_RATES]
    for system, setting, work, options in trials:
        wall, cpu = time.perf_counter(), time.process_time()
        users, items = work(split.train, *options)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        found = evaluate(scores_of(users, items), split)
        accuracy = Accuracy(system, setting, wall, cpu, found["recall@20"], found["ndcg@20"])
        print(f"{system:<24}{setting:<28}{wall:8.1f}{cpu:8.1f}{accuracy.recall:11.4f}{accuracy.ndcg:9.4f}", flush=True)
        yield accuracy


def scores_of(users: NDArray[np.float32], items: NDArray[np.float32]) -> Callable[[Rows], NDArray[np.float32]]:
    """Inner products."""
    return lambda rows: users[rows] @ items.T


def our_vectors(graph: BipartiteGraph, share: float) -> Vectors:
    """With the defaults, and fewer epochs."""
    default = TrainingConfig(device="cpu").recipe(graph.n_edges, graph.n_items)
    chosen = TrainingConfig(device="cpu", epochs=max(1, round(share * default.epochs))).recipe(
        graph.n_edges, graph.n_items
    )
    start = start_vectors(graph, chosen, Features.none(), Features.none())
    trained = fit(graph, start, chosen).embeddings
    return trained.user_vectors, trained.item_vectors


def als(graph: BipartiteGraph, l2: float, alpha: float) -> Vectors:
    """Implicit's alternating least squares with its default number of iterations."""
    from implicit.als import AlternatingLeastSquares  # noqa: PLC0415 - in .bench-venv alone

    model = AlternatingLeastSquares(factors=SIZE, regularization=l2, alpha=alpha, random_state=0)
    model.fit(taken(graph), show_progress=False)
    return model.user_factors, model.item_factors


def implicit_bpr(graph: BipartiteGraph, rate: float) -> Vectors:
    """Implicit's BPR with its default number of iterations."""
    from implicit.bpr import BayesianPersonalizedRanking  # noqa: PLC0415 - in .bench-venv alone

    model = BayesianPersonalizedRanking(factors=SIZE - 1, learning_rate=rate, random_state=0)  # adds one for the bias
    model.fit(taken(graph), show_progress=False)
    return model.user_factors, model.item_factors


def taken(graph: BipartiteGraph) -> csr_matrix:
    """1 where a user took an item."""
    matrix = graph.user_items
    return csr_matrix((np.ones(len(matrix.data), np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


# --- the report


def show_timings(timings: list[Timing]) -> None:
    """The table of steps."""
    print(f"{'':28}{'ms a step':>10}{'s an epoch':>12}{'times ours':>12}{'gradient differs by':>21}")
    for timing in timings:
        print(
            f"{timing.system:<28}{timing.step_ms:10.1f}{timing.epoch_seconds:12.1f}{timing.times_ours:12.1f}"
            f"{timing.error:21.1e}",
            flush=True,
        )


def draw(path: Path, timings: list[Timing], accuracies: list[Accuracy], name: str) -> None:
    """Bars of the steps; accuracy against time."""
    from matplotlib import pyplot  # noqa: PLC0415 - in .bench-venv alone

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    names = [timing.system for timing in timings][::-1]
    bars = left.barh(names, [timing.step_ms for timing in timings][::-1], color="#4477aa")
    left.bar_label(bars, [f"{timing.step_ms:.0f}" for timing in timings][::-1], padding=3)
    left.margins(x=0.15)
    left.set_xlabel("ms a step, the same mathematics")
    left.set_title(f"A step on {name}")
    for system in dict.fromkeys(accuracy.system for accuracy in accuracies):
        own = [accuracy for accuracy in accuracies if accuracy.system == system]
        style = "o-" if system == "CourseGraph" else "s"
        right.plot(
            [accuracy.cpu_seconds for accuracy in own], [accuracy.recall for accuracy in own], style, label=system
        )
    right.set_xlim(left=0)
    right.set_xlabel("CPU seconds of training")
    right.set_ylabel("Recall@20 on the test file")
    if accuracies:
        right.legend()
    else:
        right.set_axis_off()
    figure.savefig(path)


if __name__ == "__main__":
    main()
