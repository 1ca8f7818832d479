"""What a run gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.domain.embeddings import Embeddings
from app.graph.bipartite import BipartiteGraph
from app.training.config import Recipe

OnEpoch = Callable[[int, int, float, float], None]
"""Called after each epoch with: epochs done (from 1), epochs in all as known now, the epoch's loss, seconds so far."""

ShouldStop = Callable[[], bool]
"""Asked before every step; True ends the run with CancelledError."""

Metrics = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class FitResult:
    """Trained vectors and how they came to be.

    losses: mean loss of each epoch whose weights are in the vectors.  steps: optimiser steps in those epochs.
    score: the validation score of the vectors given back, None without validation.
    validation: epochs and the scores after them.
    """

    embeddings: Embeddings
    losses: tuple[float, ...]
    steps: int
    device: str
    seconds: float
    score: float | None = None
    validation: tuple[tuple[int, float], ...] = ()

    @property
    def epochs(self) -> int:
        """Epochs whose weights are in the vectors."""
        return len(self.losses)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the model may be published, and why: a sentence for people."""

    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """All that a run of the worker gives: vectors trained on every interaction, and what the held-out ones said.

    metrics: {"model": {...}, "popular": {...}, "item_cosine": {...}}, each with recall@10, recall@20, ndcg@10, ...;
    empty when too little could be held out.  split: "time", "random" or "none".
    losses, epochs and steps are those of the published vectors; seconds are of the whole run.
    validation: epochs and NDCG@20 after them on the held-out interactions, while their number was chosen.
    """

    embeddings: Embeddings
    graph: BipartiteGraph
    recipe: Recipe
    losses: tuple[float, ...]
    epochs: int
    steps: int
    device: str
    seconds: float
    split: str
    n_held_out: int
    metrics: Mapping[str, Metrics]
    verdict: Verdict
    validation: tuple[tuple[int, float], ...] = ()
