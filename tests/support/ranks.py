"""The same steps by any number of ranks: run as a script it is one of them, and writes what came of its users.

Batches are drawn from the whole graph, apart for each of four ranges of users; a rank takes those of its own ranges.
"""

import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch._C._distributed_c10d import FileStore

from app.graph.bipartite import BipartiteGraph
from app.training.checkpoint import Array
from app.training.config import Combination, Loss, Recipe, TrainingConfig
from app.training.distributed.board import Board, Ends
from app.training.distributed.group import Group
from app.training.distributed.parts import graph_part, nodes_part
from app.training.fit import Trainer
from app.training.loss import Groups, Pairs
from app.training.objective import OBJECTIVES
from app.training.ranks import ALONE, Ranks

STEPS = 20
N_USERS, N_ITEMS, SIZE = 64, 30, 5
BOUNDS = [0, 10, 34, 48, N_USERS]  # of four ranges of users; those of the third have no edges
SOCKETS, BOARD = "sockets", "board"  # over which sums are taken
RANGES_OF = {1: [0, 4], 2: [0, 2, 4], 4: [0, 1, 2, 3, 4]}


class Case(NamedTuple):
    """What is trained."""

    dtype: str
    loss: Loss
    combination: Combination
    n_layers: int
    mask: bool

    @property
    def name(self) -> str:
        """For files and tests."""
        return "-".join(map(str, self))


CASES = [
    Case("float64", "bpr", "sum", 3, False),
    Case("float64", "bpr", "mean", 2, True),
    Case("float64", "hard_bpr", "mean", 1, False),
    Case("float64", "softmax", "sum", 2, True),
    Case("float64", "softmax", "mean", 3, False),
    Case("float64", "softmax", "sum", 0, True),
    Case("float32", "bpr", "sum", 3, True),
    Case("float32", "softmax", "mean", 2, False),
]


def the_graph() -> BipartiteGraph:
    """Weighted; every fifth user and the last item have no edge."""
    rng = np.random.default_rng(5)
    users, items = rng.integers(0, N_USERS, 900), rng.integers(0, N_ITEMS - 1, 900)
    kept = (users % 5 != 0) & ((users < BOUNDS[2]) | (users >= BOUNDS[3]))
    weights = rng.choice([0.0, 0.5, 1.0, 3.0], 900)
    return BipartiteGraph.from_pairs(users[kept], items[kept], n_users=N_USERS, n_items=N_ITEMS, weights=weights[kept])


def run_case(case: Case, ranks: Ranks) -> dict[str, Array]:
    """State and vectors of own users and all items after STEPS steps, and the moments after the first."""
    graph, recipe = the_graph(), recipe_of(case)
    initial = np.random.default_rng(0).normal(0, 0.3, (graph.n_nodes, SIZE)).astype(case.dtype)
    first, last = RANGES_OF[ranks.size][ranks.rank : ranks.rank + 2]
    low, high = BOUNDS[first], BOUNDS[last]
    trainer = Trainer(graph_part(graph, low, high), nodes_part(initial, N_USERS, low, high), recipe, ranks)
    losses, moments = [], None
    for edges, batches, n_pairs in batches_of(graph, recipe):
        mine = [place for place in range(first, last) if batches[place] is not None]
        own = np.concatenate([edges[place] for place in range(first, last)]) - graph.user_items.indptr[low]
        batch = moved([batches[place] for place in mine] or [empty(recipe)], low, high - low)
        losses.append(float(ranks.sum(trainer.learn(own, batch, n_pairs))))
        moments = trainer.state().arrays["exp_avg"].copy() if moments is None else moments
    assert moments is not None
    arrays = {"first_exp_avg": moments, "losses": np.array(losses), **trainer.state().arrays}
    vectors = trainer.finish()
    return arrays | {"user_vectors": vectors.user_vectors, "item_vectors": vectors.item_vectors}


def recipe_of(case: Case) -> Recipe:
    """A learning rate at which Adam's first steps do not turn rounding into much."""
    config = TrainingConfig(loss=case.loss, combination=case.combination, n_layers=case.n_layers, device="cpu")
    chosen: dict[str, Any] = {"mask": case.mask, "half": False, "n_negatives": 8, "embedding_size": SIZE}
    return config.recipe(500, N_ITEMS, **chosen | {"epochs": 40, "decay": False, "learning_rate": 0.01})


def batches_of(graph: BipartiteGraph, recipe: Recipe) -> Iterator[tuple[list[NDArray[np.int64]], list[Any], int]]:
    """For each step: edges and batch of each range of users, None where there is none; pairs in all."""
    objective = OBJECTIVES[recipe.loss](graph, recipe, torch.device("cpu"))
    rng = np.random.default_rng(1)
    for _ in range(STEPS):
        edges, batches = [], []
        for low, high in pairwise(BOUNDS):
            first, last = graph.user_items.indptr[[low, high]]
            drawn = rng.permutation(np.arange(first, last))[:70]
            edges.append(drawn)
            batches.append(objective.draw(drawn, rng) if len(drawn) else None)
        yield edges, batches, sum(map(len, edges))


def moved(batches: list[Any], low: int, n_users: int) -> Any:
    """One batch in the rows of a rank."""
    columns: dict[str, list[torch.Tensor]] = {name: [] for name in batches[0]._fields}
    n_pairs = 0
    for batch in batches:
        for name, parts in columns.items():
            column = getattr(batch, name)
            if name == "users":
                column = column - low
            elif name in {"positives", "negatives", "pools"}:
                column = column - N_USERS + n_users
            elif name == "pairs":
                column = column + n_pairs
            parts.append(column)
        n_pairs += len(batch.users)
    return type(batches[0])(**{name: torch.cat(parts) for name, parts in columns.items()})


def empty(recipe: Recipe) -> Any:
    """A batch of nothing."""
    none = torch.zeros(0, dtype=torch.int64)
    if recipe.loss == "softmax":
        return Groups(none, none, none.view(0, recipe.n_negatives), none, none, torch.zeros(0))
    negatives = none.view(0, recipe.n_negatives) if recipe.loss == "hard_bpr" else none
    return Pairs(none, none, negatives, torch.zeros(0))


def alone(case: Case) -> dict[str, Array]:
    """By one rank."""
    return run_case(case, ALONE)


def main(folder: Path, rank: int, descriptors: list[int]) -> None:
    """One of four and, if it is one of the first, then one of two; those over a board, of these descriptors, too."""
    torch.set_num_threads(1)
    be_one_of(folder, rank, 4)
    if rank < 2:
        be_one_of(folder, rank, 2, Board(rank, Ends.inherited(descriptors), 60.0))


def be_one_of(folder: Path, rank: int, size: int, board: Board | None = None) -> None:
    """All cases over sockets and, if there is one, over the board."""
    store = FileStore(str(folder / f"store-{size}"), size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    for over in (SOCKETS, BOARD) if board is not None else (SOCKETS,):
        group = Group(store, local=rank, board=board if over == BOARD else None)
        for case in CASES:
            found = run_case(case, group)
            np.savez(folder / f"{case.name}-{size}-{over}-{rank}.npz", allow_pickle=False, **found)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [int(number) for number in sys.argv[3:]])
