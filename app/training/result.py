"""What a run gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.domain.content import ContentMap
from app.domain.embeddings import Embeddings
from app.domain.item_filter import ItemFilter
from app.graph.bipartite import BipartiteGraph
from app.training.config import Recipe
from app.training.part import Owned, Part

OnEpoch = Callable[[int, int, float, float], None]
"""Called after each epoch with: epochs done (from 1), epochs in all as known now, the epoch's loss, seconds so far."""

ShouldStop = Callable[[], bool]
"""Asked before every step; True ends the run with CancelledError."""

Metrics = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class FitResult:
    """Trained vectors and how they came to be.

    losses: mean loss of each epoch whose weights are in the vectors.  steps: optimiser steps in those epochs.
    score: the validation score of the vectors given back, None without validation.  epochs_done: with those after the
    best.  validation: epochs and the scores after them.
    owned: the users' vectors where they were learned; those in ``embeddings`` are of all users, unless they stayed
    with the ranks: then of the first rank's, and layer 0 of users is there of all or not at all.
    """

    embeddings: Embeddings
    losses: tuple[float, ...]
    steps: int
    device: str
    seconds: float
    epochs_done: int
    score: float | None = None
    validation: tuple[tuple[int, float], ...] = ()
    owned: Owned = field(kw_only=True)

    @property
    def epochs(self) -> int:
        """Epochs whose weights are in the vectors."""
        return len(self.losses)

    def without_vectors(self, *, layer0: bool = False) -> "FitResult":
        """The same without the vectors of users, which are the most of it, nor the memory that they are in.

        layer0: whether that of users stays.
        """
        own, nobody = self.embeddings, self.embeddings.user_vectors[:0].copy()
        items = replace(own, user_vectors=nobody, item_vectors=own.item_vectors.copy())
        if not layer0:
            items = replace(items, initial_item=own.initial_item.copy(), initial_user=None)
        return replace(self, embeddings=items, owned=Owned(Part(self.owned.part.graph, nobody), (0,)))


def after(first: FitResult, then: FitResult) -> FitResult:
    """A fit that started from another's vectors, as one."""
    return replace(
        then,
        losses=first.losses + then.losses,
        steps=first.steps + then.steps,
        seconds=first.seconds + then.seconds,
        epochs_done=first.epochs_done + then.epochs_done,
        score=first.score,
        validation=first.validation,
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the model may be published, and why: a sentence for people."""

    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """All that a run of the worker gives: vectors trained on every interaction, and what the held-out ones said.

    owned: the users' vectors, where the ranks have them; in ``embeddings`` are those of the first rank's users.
    item_filter: what is added to the inner products; None: nothing.  trials: the recipes that were tried.
    metrics: {"model": {...}, "popular": {...}, "item_cosine": {...}, "gf_cf": {...}, "ease": {...}}, each with
    recall@10, recall@20, ndcg@10, ...; empty when too little could be held out, and without those baselines that cost
    too much.  split: "time", "random", "new" (to the model that training went on from) or "none".
    losses, epochs, steps and fit_seconds are those of the published vectors, from the trial that they went on from;
    seconds are of the whole run.
    ease_l2: the regularisation with which EASE did best on what was held out; None: it was not tried.
    content: vectors of courses that are newer than the model, None when there is too little to learn from.
    validation: epochs and NDCG@20 after them on the held-out interactions, in the trial that was chosen.
    temperature: what all scores of the trained vectors were divided by.
    went_on: whether the vectors of the model that is served were trained on; why_not: why they were not though asked.
    """

    embeddings: Embeddings
    owned: Owned
    item_filter: ItemFilter | None
    trials: tuple[Mapping[str, Any], ...]
    graph: BipartiteGraph
    recipe: Recipe
    losses: tuple[float, ...]
    epochs: int
    steps: int
    device: str
    seconds: float
    fit_seconds: float
    split: str
    n_held_out: int
    metrics: Mapping[str, Metrics]
    verdict: Verdict
    ease_l2: float | None = None
    content: ContentMap | None = None
    validation: tuple[tuple[int, float], ...] = ()
    temperature: float = 1.0
    went_on: bool = False
    why_not: str | None = None
