"""How long a training step takes, and what memory and traffic it needs, by counting and by what was measured.

Work of a step, in seconds of one core, of n ranks together; U users, I items, E edges, size D, K layers, B edges in a
batch, P bytes summed over the ranks:

    w1 X log2(1 + T / 1 MiB) + w2 B D + w3 (n - 1) P
    + w4 X                      where a rank has several threads, of which some wait for others
    + w5 (U + n I) D            where layer 0 of a rank is so large that the heap gives back what it frees
    + w6 n (2 K + 1)            of several ranks: each waits for the others at each sum,
    + w7                        and of more ranks than cores for a core too

X = 4 K E D numbers are gathered, from tables of T = (U / n + I) D 2 bytes each; the w are at least 0 and those that fit
the measured points best, each point counting by its relative error.  Divided by the cores, this is the time of a step
on machines with as much of memory bandwidth a core as the one that was measured, where ranks sum through memory that
they share; between machines the traffic is added: 2 (h - 1) / h P over the line of a host, for h hosts, and through its
sockets, and 2 (h - 1) waits for each of the 2 K + 1 sums.

Memory of a rank, beyond what is imported: own edges and rows, its part of a batch, and for the first all edges, which
it divides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from app.training.fit import MOST_KEPT_BYTES

MIB, GIB = 2**20, 2**30
POOL = 256  # negatives of a pair, each a score
SOCKET_SECONDS = 0.4e-9  # a byte: gloo sums 5 MB over two processes in 3.4 ms on the loopback, through memory in 1.3
WAIT_SECONDS = 100e-6  # for a message between two machines: a few hops of TCP; not measured
STEPS = 200  # of a run, see TrainingConfig


@dataclass(frozen=True, slots=True)
class Size:
    """What is trained, by how many ranks.

    batch: of all ranks together.  threads: of a rank.  crowded: whether there are more ranks than cores.
    """

    users: int
    items: int
    edges: int
    embedding_size: int
    n_layers: int
    batch: int
    ranks: int
    threads: int = 2
    crowded: bool = False

    @classmethod
    def of_point(cls, point: Mapping[str, float]) -> "Size":
        """Of a point of `scripts/bench ranks`."""
        names = ("users", "items", "edges", "embedding_size", "n_layers", "batch", "ranks")
        threads, crowded = max(1, int(point["cores"] // point["ranks"])), point["ranks"] > point["cores"]
        return cls(**{name: int(point[name]) for name in names}, threads=threads, crowded=crowded)

    @property
    def rows(self) -> float:
        """Rows of a rank."""
        return self.users / self.ranks + self.items

    @property
    def summed_bytes(self) -> int:
        """Bytes that a step sums over the ranks: 2 K + 1 sums of (I, D) in bfloat16."""
        return 0 if self.ranks == 1 else self.items * self.embedding_size * (4 * self.n_layers + 2)


@dataclass(frozen=True, slots=True)
class Fitted:
    """Coefficients of work and memory."""

    work: NDArray[np.float64]
    memory: NDArray[np.float64]

    def core_seconds(self, size: Size) -> float:
        """Work of a step, of all ranks together."""
        return float(_work(size) @ self.work)

    def memory_bytes(self, size: Size, *, first: bool) -> float:
        """Most memory of a rank beyond that of an idle process."""
        return float(_memory(size, first=first) @ self.memory)

    def step_seconds(self, size: Size, cores: int, hosts: int = 1, bits_per_second: float = np.inf) -> float:
        """Of ``hosts`` machines with so many cores each, and so fast a line between them."""
        return self.core_seconds(size) / (cores * hosts) + traffic_seconds(size, hosts, bits_per_second)


def traffic_seconds(size: Size, hosts: int, bits_per_second: float) -> float:
    """Of the sums of a step between machines, in rings; nothing of it is overlapped with work."""
    if hosts == 1:
        return 0.0
    moved = 2 * (hosts - 1) / hosts * size.summed_bytes
    return moved * (8 / bits_per_second + SOCKET_SECONDS) + (2 * size.n_layers + 1) * 2 * (hosts - 1) * WAIT_SECONDS


def fitted(points: Sequence[Mapping[str, float]]) -> Fitted:
    """The coefficients by points of `scripts/bench ranks`."""
    sizes = [Size.of_point(point) for point in points]
    seconds = np.array([point["seconds"] * point["cores"] for point in points])
    work = nnls(np.array([_work(size) for size in sizes]) / seconds[:, None], np.ones(len(seconds)))[0]
    rows, found = [], []
    for size, point in zip(sizes, points, strict=True):
        rows.append(_memory(size, first=True))
        found.append(point["first_bytes"])
        if size.ranks > 1:
            rows.append(_memory(size, first=False))
            found.append(point["other_bytes"])
    memory = nnls(np.array(rows) / np.array(found)[:, None], np.ones(len(found)))[0]
    return Fitted(work, memory)


def _work(size: Size) -> NDArray[np.float64]:
    gathered = 4.0 * size.n_layers * size.edges * size.embedding_size
    table = size.rows * size.embedding_size * 2
    numbers = (size.users + size.ranks * size.items) * size.embedding_size
    return np.array(
        [
            gathered * np.log2(1 + table / MIB),
            float(size.batch * size.embedding_size),
            float((size.ranks - 1) * size.summed_bytes),
            gathered * (size.threads > 1),
            float(numbers * (4 * size.rows * size.embedding_size >= MOST_KEPT_BYTES)),
            float(size.ranks * (2 * size.n_layers + 1) * (size.ranks > 1)),
            float(size.crowded),
        ]
    )


def _memory(size: Size, *, first: bool) -> NDArray[np.float64]:
    divides = float(first and size.ranks > 1)
    return np.array(
        [
            1.0,
            size.edges / size.ranks,
            size.rows * size.embedding_size,
            size.batch / size.ranks * POOL,
            divides * size.edges,
        ]
    )
