"""The state of a fit between two steps, so that another process can go on with it.

Arrays and plain values only: where they are kept is the caller's affair.  A fit is known by all that its result depends
on, so whoever does the same fit again finds what was kept of it, and a fit of anything else finds nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.embeddings import Embeddings
from app.graph.bipartite import BipartiteGraph
from app.training.config import Recipe
from app.training.layer0 import Layer0
from app.training.part import Owned, Part
from app.training.result import FitResult

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """values: ready for JSON, integers of any size.

    arrays: if it is to be kept, those of a fit that goes on and changes them: keeping is copying.
    """

    arrays: Mapping[str, Array]
    values: Mapping[str, Any]


class Checkpoints(Protocol):
    """Where checkpoints are kept; asked from the training thread."""

    def resume(self, key: str) -> Checkpoint | None:
        """The latest that was kept under the key, by any process."""
        ...

    def due(self) -> bool:
        """Whether it is time for the next; asked before every step, so it must be cheap."""
        ...

    def keep(self, key: str, checkpoint: Checkpoint) -> None:
        """Keep it instead of the one before; may be slow, and must not fail because it cannot be kept.

        Its arrays are taken once each, in their order.
        """
        ...


FORMAT = 2  # of what is kept: another release does not find what it could not read


def fit_key(graph: BipartiteGraph, initial: NDArray[np.float32] | Layer0, recipe: Recipe, *others: object) -> str:
    """SHA-256 of all that a fit's result depends on."""
    digest = hashlib.sha256(json.dumps([FORMAT, recipe.as_dict(), *map(str, others)], sort_keys=True).encode())
    for matrix in (graph.user_items, graph.seen):
        for array in (matrix.indptr, matrix.indices, matrix.data):
            digest.update(np.ascontiguousarray(array).data)
    digest.update(f"{type(initial)} {initial.shape}".encode())
    for table in [initial] if isinstance(initial, np.ndarray) else initial.tables():
        digest.update(np.ascontiguousarray(table).data)
    return digest.hexdigest()


def embeddings_arrays(embeddings: Embeddings) -> dict[str, Array]:
    """Arrays of a model by name."""
    own = {field.name: getattr(embeddings, field.name) for field in fields(Embeddings)}
    return {name: np.asarray(value) for name, value in own.items() if value is not None}


def embeddings_from(arrays: Mapping[str, Array]) -> Embeddings:
    """The inverse."""
    own: dict[str, Any] = {**arrays, "own_weight": float(arrays["own_weight"])}
    return Embeddings(**own)


def finished(result: FitResult) -> Checkpoint:
    """A fit that is over, whose users' layer 0 is here; their vectors are kept where they are of all."""
    vectors = result.embeddings
    if len(result.owned.counts) > 1:
        vectors = replace(vectors, user_vectors=vectors.user_vectors[:0])
    values = {
        "finished": True,
        "losses": result.losses,
        "steps": result.steps,
        "device": result.device,
        "seconds": result.seconds,
        "score": result.score,
        "epochs_done": result.epochs_done,
        "validation": result.validation,
    }
    return Checkpoint(embeddings_arrays(vectors), values)


def result_of(checkpoint: Checkpoint, graph: BipartiteGraph) -> FitResult | None:
    """The result of a fit of this graph that is over, None when it is not."""
    values = checkpoint.values
    if not values.get("finished"):
        return None
    embeddings = embeddings_from(checkpoint.arrays)
    return FitResult(
        embeddings=embeddings,
        owned=Owned(Part(graph, embeddings.user_vectors), (len(embeddings.user_vectors),)),
        losses=tuple(values["losses"]),
        steps=values["steps"],
        device=values["device"],
        seconds=values["seconds"],
        score=values["score"],
        epochs_done=values["epochs_done"],
        validation=tuple((epoch, score) for epoch, score in values["validation"]),
    )
