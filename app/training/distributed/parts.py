"""Dividing among ranks what belongs to users, and putting it together again.

Users keep their order and each rank has a range of them, so what is of users is cut by rows.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.graph.bipartite import BipartiteGraph
from app.training.checkpoint import Array, Checkpoint
from app.training.config import Recipe
from app.training.evaluate import Validation
from app.training.job import FitJob
from app.training.split import Split

OF_USERS = ("user_vectors", "initial_user")  # (U, D)
OF_NODES = ("layer0", "exp_avg", "exp_avg_sq", "best_layer0")  # (N, D), users first
OF_ALL = (*OF_USERS, *OF_NODES)


def user_bounds(graph: BipartiteGraph, size: int) -> list[int]:
    """Where each rank's users begin, and U at the end; about equally many edges and users each."""
    work = graph.user_items.indptr.astype(np.int64) + np.arange(graph.n_users + 1)
    inner = np.searchsorted(work, work[-1] * np.arange(1, size) // size)
    return [0, *inner.tolist(), graph.n_users]


def graph_part(graph: BipartiteGraph, low: int, high: int) -> BipartiteGraph:
    """The edges of users low..high, as a graph of these and of all items; degrees of items are those of the part."""
    user_items, seen = _rows(graph.user_items, low, high), _rows(graph.seen, low, high)
    first, last = graph.user_items.indptr[[low, high]]
    return BipartiteGraph(
        user_items=user_items,
        seen=seen,
        times=None if graph.times is None else graph.times[first:last],
        user_degrees=graph.user_degrees[low:high],
        item_degrees=np.bincount(user_items.indices, user_items.data, minlength=graph.n_items).astype(np.float64),
    )


def _rows(matrix: csr_array, low: int, high: int) -> csr_array:
    first, last = matrix.indptr[[low, high]]
    kept = matrix.data[first:last], matrix.indices[first:last], matrix.indptr[low : high + 1] - first
    return csr_array(kept, shape=(high - low, matrix.shape[1]))


def nodes_part(table: NDArray[np.floating], n_users: int, low: int, high: int) -> NDArray[np.floating]:
    """Rows of users low..high and of all items, of (N, D)."""
    return np.concatenate([table[low:high], table[n_users:]])


def array_part(name: str, array: Array, n_users: int, low: int, high: int) -> Array:
    """One rank's part of an array of that name."""
    if name in OF_NODES:
        return nodes_part(array, n_users, low, high)
    return array[low:high] if name in OF_USERS else array


def job_part(job: FitJob, low: int, high: int) -> FitJob:
    """The job of the rank that has the users low..high; a copy."""
    graph, n_users = graph_part(job.graph, low, high), job.graph.n_users
    validate = job.validate
    if isinstance(validate, Validation):
        held = validate.split
        mine = (held.held_users >= low) & (held.held_users < high)
        users = (held.held_users[mine] - low).astype(np.int32)
        validate = Validation(Split(graph, users, held.held_items[mine], held.kind))
    elif validate is not None:
        raise TypeError("only a Validation can be divided among ranks")
    kept = job.kept
    if kept is not None:
        arrays = {name: array_part(name, array, n_users, low, high) for name, array in kept.arrays.items()}
        kept = Checkpoint(arrays, kept.values)
    start = job.initial
    initial = nodes_part(start, n_users, low, high) if isinstance(start, np.ndarray) else start.part(low, high)
    return replace(job, graph=graph, initial=initial, validate=validate, kept=kept, in_place=True)


def packed(job: FitJob) -> Checkpoint:
    """A part as arrays and plain values, to be sent."""
    graph, initial = job.graph, job.initial
    assert isinstance(initial, np.ndarray)
    arrays: dict[str, Array] = {
        "weights": graph.user_items.data,
        "items": graph.user_items.indices,
        "starts": graph.user_items.indptr,
        "seen": graph.seen.indices,
        "seen_starts": graph.seen.indptr,
        "user_degrees": graph.user_degrees,
        "item_degrees": graph.item_degrees,
        "initial": initial,
    }
    values = {"n_items": graph.n_items, "recipe": job.recipe.as_dict(), "stop_after": job.stop_after}
    values |= {"stay": job.stay, "learn": job.learn}
    if isinstance(job.validate, Validation):
        split = job.validate.split
        arrays |= {"held_users": split.held_users, "held_items": split.held_items}
        values["kind"] = split.kind
    if job.kept is not None:
        arrays |= {f"kept/{name}": array for name, array in job.kept.arrays.items()}
        values["kept"] = job.kept.values
    return Checkpoint(arrays, values)


def unpacked(parcel: Checkpoint) -> FitJob:
    """The inverse."""
    arrays, values = parcel.arrays, parcel.values
    shape = len(arrays["starts"]) - 1, values["n_items"]
    seen = np.ones(len(arrays["seen"]), np.bool_)
    graph = BipartiteGraph(
        user_items=csr_array((arrays["weights"], arrays["items"], arrays["starts"]), shape=shape),
        seen=csr_array((seen, arrays["seen"], arrays["seen_starts"]), shape=shape),
        times=None,
        user_degrees=arrays["user_degrees"],
        item_degrees=arrays["item_degrees"],
    )
    validate = kept = None
    if "kind" in values:
        validate = Validation(Split(graph, arrays["held_users"], arrays["held_items"], values["kind"]))
    if "kept" in values:
        own = {name.removeprefix("kept/"): array for name, array in arrays.items() if name.startswith("kept/")}
        kept = Checkpoint(own, values["kept"])
    recipe, stay = Recipe(**values["recipe"]), tuple(values["stay"])
    job = FitJob(graph, arrays["initial"], recipe, values["stop_after"], validate, kept, in_place=True, stay=stay)
    return replace(job, learn=values["learn"])
