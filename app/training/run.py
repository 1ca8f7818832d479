"""One run for the worker: data in; embeddings, and what held-out interactions say of them, out."""

import time
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from app.domain.embeddings import Embeddings
from app.domain.interactions import Snapshot
from app.graph.bipartite import BipartiteGraph
from app.training.baselines import item_cosine_scores, popular_scores
from app.training.config import Recipe, TrainingConfig
from app.training.evaluate import evaluate, model_scores
from app.training.fit import check_learnable, fit
from app.training.result import FitResult, Metrics, OnEpoch, ShouldStop, TrainedModel, Verdict
from app.training.split import Split, split
from app.training.start import start_vectors

LEAST_HELD_OUT = 100  # fewer say nothing: one hit more or less would be a percent or more
VALIDATION_USERS = 5_000  # enough for a standard error of half a percent, while training goes on


def train(
    snapshot: Snapshot,
    weights: Mapping[str, float],
    config: TrainingConfig,
    *,
    on_epoch: OnEpoch | None = None,
    should_stop: ShouldStop | None = None,
) -> TrainedModel:
    """Choose the number of epochs on held-out interactions, judge, and fit again on everything.

    on_epoch counts both fits through.  With too few interactions to hold any out there is one fit of all epochs.
    Raises NothingToLearnError, CancelledError, DivergedError, UnusableDeviceError.
    """
    began = time.perf_counter()
    graph = BipartiteGraph.from_snapshot(snapshot, weights)
    check_learnable(graph)
    recipe = config.recipe(graph.n_edges)

    def start(of: BipartiteGraph) -> NDArray[np.float32]:
        return start_vectors(of, recipe, snapshot.user_features, snapshot.item_features)

    parts = split(graph, np.random.default_rng(config.seed))
    if len(parts.held_users) < LEAST_HELD_OUT:
        final = fit(graph, start(graph), recipe, on_epoch=on_epoch, should_stop=should_stop)
        return _model(final, graph, recipe, began)

    def validate(embeddings: Embeddings) -> float:
        return _judge(embeddings, parts, VALIDATION_USERS)["ndcg@20"]

    count = _Counting(on_epoch, began)
    chosen = fit(
        parts.train,
        start(parts.train),
        recipe,
        on_epoch=count.choosing,
        should_stop=should_stop,
        validate=validate,
    )
    metrics = {
        "model": _judge(chosen.embeddings, parts),
        "popular": evaluate(popular_scores(parts.train), parts),
        "item_cosine": evaluate(item_cosine_scores(parts.train), parts),
    }
    final = fit(
        graph,
        start(graph),
        recipe,
        stop_after=chosen.epochs,
        on_epoch=count.fitting,
        should_stop=should_stop,
    )
    return _model(final, graph, recipe, began, parts=parts, metrics=metrics, validation=chosen.validation)


def judge(metrics: Mapping[str, Metrics]) -> Verdict:
    """The model must not rank the held-out interactions worse than most-popular does."""
    model, popular = metrics["model"]["ndcg@20"], metrics["popular"]["ndcg@20"]
    if model >= popular:
        return Verdict(True, f"NDCG@20 is {model:.4f} on held-out interactions, most-popular has {popular:.4f}")
    return Verdict(False, f"NDCG@20 is only {model:.4f} on held-out interactions, most-popular has {popular:.4f}")


def _judge(embeddings: Embeddings, parts: Split, max_users: int | None = None) -> dict[str, float]:
    return evaluate(model_scores(embeddings.user_vectors, embeddings.item_vectors), parts, max_users=max_users)


class _Counting:
    """Epochs of both fits as one count, for the progress of the run."""

    def __init__(self, on_epoch: OnEpoch | None, began: float) -> None:
        self._on_epoch, self._began = on_epoch, began
        self._done = 0

    def choosing(self, epoch: int, epochs: int, loss: float, _seconds: float) -> None:
        self._done = epoch
        self._tell(epoch, 2 * epochs, loss)

    def fitting(self, epoch: int, epochs: int, loss: float, _seconds: float) -> None:
        self._tell(self._done + epoch, self._done + epochs, loss)

    def _tell(self, epoch: int, epochs: int, loss: float) -> None:
        if self._on_epoch is not None:
            self._on_epoch(epoch, epochs, loss, time.perf_counter() - self._began)


def _model(
    final: FitResult,
    graph: BipartiteGraph,
    recipe: Recipe,
    began: float,
    *,
    parts: Split | None = None,
    metrics: Mapping[str, Metrics] = MappingProxyType({}),
    validation: tuple[tuple[int, float], ...] = (),
) -> TrainedModel:
    unjudged = Verdict(True, f"not judged: {LEAST_HELD_OUT} interactions to hold out are needed, and there were fewer")
    return TrainedModel(
        embeddings=final.embeddings,
        graph=graph,
        recipe=recipe,
        losses=final.losses,
        epochs=final.epochs,
        steps=final.steps,
        device=final.device,
        seconds=time.perf_counter() - began,
        split=parts.kind if parts else "none",
        n_held_out=len(parts.held_users) if parts else 0,
        metrics=metrics,
        verdict=judge(metrics) if parts else unjudged,
        validation=validation,
    )
