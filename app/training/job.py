"""What a fit works on, as values: what is divided among ranks."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.domain.embeddings import Embeddings
from app.graph.bipartite import BipartiteGraph
from app.training.checkpoint import Checkpoint
from app.training.config import Recipe
from app.training.layer0 import Layer0

Validate = Callable[[Embeddings], float | NDArray[np.float64]]
"""Score of a model, more is better, or scores of its users, whose mean counts; asked from time to time."""


@dataclass(frozen=True, slots=True)
class FitJob:
    """initial: (N, D), users first, float32 or, for checks, float64.  kept: where an earlier attempt had come to.

    in_place: ``initial`` is learned in itself, as nobody needs it any more; what is made for this fit alone always is.
    stay: arrays of users, by their names in Embeddings, that stay with the rank that has the users; all others come to
    the first.  learn: else ``initial`` is taken for what was learned.
    """

    graph: BipartiteGraph
    initial: NDArray[np.floating] | Layer0
    recipe: Recipe
    stop_after: int | None = None
    validate: Validate | None = None
    kept: Checkpoint | None = None
    in_place: bool = False
    stay: tuple[str, ...] = ()
    learn: bool = True

    def made(self) -> "FitJob":
        """With its layer 0, if that was yet to be made."""
        if isinstance(self.initial, np.ndarray):
            return self
        return replace(self, initial=self.initial.whole(), in_place=True)
