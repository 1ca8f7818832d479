"""One run for the worker: data in; embeddings, and what held-out interactions say of them, out."""

import time
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from app.domain.content import ContentMap
from app.domain.embeddings import Embeddings
from app.domain.interactions import Snapshot
from app.graph.bipartite import BipartiteGraph
from app.graph.content import Content, LearnEncoder, contents_of, with_content
from app.training.baselines import item_cosine_scores, popular_scores
from app.training.checkpoint import Checkpoints
from app.training.collapse import check_not_collapsed
from app.training.config import Recipe, TrainingConfig
from app.training.evaluate import evaluate, model_scores
from app.training.fit import check_learnable, fit
from app.training.result import FitResult, Metrics, OnEpoch, ShouldStop, TrainedModel, Verdict
from app.training.split import Split, split
from app.training.start import start_vectors

Contents = tuple[Content | None, Content | None]  # of users and items

LEAST_HELD_OUT = 100  # fewer say nothing: one hit more or less would be a percent or more
VALIDATION_USERS = 5_000  # enough for a standard error of half a percent, while training goes on


def train(
    snapshot: Snapshot,
    weights: Mapping[str, float],
    config: TrainingConfig,
    *,
    on_epoch: OnEpoch | None = None,
    should_stop: ShouldStop | None = None,
    learn_encoder: LearnEncoder | None = None,
    checkpoints: Checkpoints | None = None,
) -> TrainedModel:
    """Choose the number of epochs on held-out interactions, judge, and fit again on everything.

    learn_encoder: makes numbers of words; one that remembers saves the time.
    checkpoints: keep what both fits have done, for when the run is broken off.
    on_epoch counts both fits through.  With too few interactions to hold any out there is one fit of all epochs.
    Raises NothingToLearnError, CancelledError, DivergedError, CollapsedError, UnusableDeviceError.
    """
    began = time.perf_counter()
    graph = BipartiteGraph.from_snapshot(snapshot, weights)
    check_learnable(graph)
    recipe = config.recipe(graph.n_edges)
    contents = contents_of(snapshot, recipe.embedding_size, recipe.seed, learn_encoder)

    def start(of: BipartiteGraph) -> NDArray[np.float32]:
        users, items = contents
        features = snapshot.user_features, snapshot.item_features
        return start_vectors(of, recipe, *features, user_content=users, item_content=items)

    parts = split(graph, np.random.default_rng(config.seed))
    if len(parts.held_users) < LEAST_HELD_OUT:
        final = fit(graph, start(graph), recipe, on_epoch=on_epoch, should_stop=should_stop, checkpoints=checkpoints)
        return _model(final, graph, recipe, began, contents)

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
        checkpoints=checkpoints,
    )
    metrics = {
        "model": _judge(_placed(chosen.embeddings, parts.train, contents)[0], parts),
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
        checkpoints=checkpoints,
    )
    return _model(final, graph, recipe, began, contents, parts=parts, metrics=metrics)


def judge(metrics: Mapping[str, Metrics]) -> Verdict:
    """The model must not rank the held-out interactions worse than most-popular does."""
    model, popular = metrics["model"]["ndcg@20"], metrics["popular"]["ndcg@20"]
    if model >= popular:
        return Verdict(True, f"NDCG@20 is {model:.4f} on held-out interactions, most-popular has {popular:.4f}")
    return Verdict(False, f"NDCG@20 is only {model:.4f} on held-out interactions, most-popular has {popular:.4f}")


def _judge(embeddings: Embeddings, parts: Split, max_users: int | None = None) -> dict[str, float]:
    return evaluate(model_scores(embeddings.user_vectors, embeddings.item_vectors), parts, max_users=max_users)


def _placed(embeddings: Embeddings, graph: BipartiteGraph, contents: Contents) -> tuple[Embeddings, ContentMap | None]:
    """With what content says of nodes that the graph hardly knows."""
    users, items = contents
    return with_content(embeddings, graph, items, users)


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
    contents: Contents,
    *,
    parts: Split | None = None,
    metrics: Mapping[str, Metrics] = MappingProxyType({}),
) -> TrainedModel:
    unjudged = Verdict(True, f"not judged: {LEAST_HELD_OUT} interactions to hold out are needed, and there were fewer")
    check_not_collapsed(final)
    embeddings, content_map = _placed(final.embeddings, graph, contents)
    return TrainedModel(
        embeddings=embeddings,
        content=content_map,
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
    )
