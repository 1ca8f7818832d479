"""LightGCN in one loop: propagate, compare, propagate the gradient back, step.

Model: He et al. 2020, "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation".
Loss: Rendle et al. 2009, "BPR".  Optimiser: Adam over all layer-0 vectors.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.domain.embeddings import Embeddings
from app.errors import CancelledError, DivergedError, NothingToLearnError
from app.graph.bipartite import BipartiteGraph
from app.graph.normalise import normalised_adjacency
from app.training.config import TrainingConfig
from app.training.device import choose_device
from app.training.loss import add_l2, bpr_loss
from app.training.propagation import Propagation
from app.training.result import FitResult, OnEpoch, ShouldStop
from app.training.sampling import UnseenSampler, batches

Validate = Callable[[Embeddings], float]
"""Score of a model, more is better; asked from time to time."""

VALIDATIONS = 20  # times at most that a run is validated
LARGEST = 1e15  # of a number in a vector; an inner product of larger ones overflows float32
PATIENCE = 4  # validations without a better score before it stops


class Trainer:
    """Layer-0 vectors of one graph with their optimiser; ``epoch`` moves them, ``embeddings`` shows them."""

    def __init__(self, graph: BipartiteGraph, initial: NDArray[np.float32], config: TrainingConfig) -> None:
        self._graph, self._config = graph, config
        self.device = choose_device(config.device)
        self._rng = np.random.default_rng(config.seed)
        self._sampler = UnseenSampler(graph)
        self._batch_size = config.batch_for(graph.n_edges)
        self._propagate = Propagation(normalised_adjacency(graph), config.n_layers, config.combination, self.device)
        self._layer0 = torch.tensor(initial, device=self.device)
        self._adam = torch.optim.Adam([self._layer0], lr=config.learning_rate, fused=True)
        self.steps = 0

    def epoch(self, should_stop: ShouldStop | None = None) -> float:
        """One pass over the interactions; the mean loss.  Raises CancelledError, DivergedError."""
        total, n_pairs = torch.zeros((), dtype=torch.float64, device=self.device), 0
        for users, positives, negatives in batches(self._graph, self._sampler, self._batch_size, self._rng):
            if should_stop is not None and should_stop():
                raise CancelledError("the run was cancelled")
            total += self._step(self._nodes(users, 0), self._nodes(positives, 1), self._nodes(negatives, 1)) * len(
                users
            )
            n_pairs += len(users)
        loss = float(total) / n_pairs
        if not np.isfinite(loss):
            raise DivergedError(f"the loss became {loss} after {self.steps} steps; a smaller learning rate may help")
        return loss

    @torch.no_grad()
    def _step(self, users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        vectors = self._propagate(self._layer0)  # (N, D)
        loss, gradient = bpr_loss(vectors, users, positives, negatives)
        gradient = self._propagate(gradient)  # (N, D), P is symmetric
        rows = torch.cat([users, positives, negatives])
        add_l2(gradient, self._layer0, rows, self._config.l2_weight, len(users))
        self._layer0.grad = gradient
        self._adam.step()
        self.steps += 1
        return loss

    def _nodes(self, rows: NDArray[np.int64], is_item: int) -> Tensor:
        return torch.from_numpy(rows + is_item * self._graph.n_users).to(self.device)

    @torch.no_grad()
    def embeddings(self) -> Embeddings:
        """Vectors as they are now.  Raises DivergedError if one gives no finite score."""
        vectors, layer0 = self._propagate(self._layer0), self._layer0
        if not bool(vectors.abs().amax() < LARGEST):  # also false for NaN
            raise DivergedError(f"the vectors overflow after {self.steps} steps; a smaller learning rate may help")
        u = self._graph.n_users
        # clone: the trainer goes on writing into layer 0, and without layers the vectors are layer 0
        user, item, first = (part.clone().cpu().numpy() for part in (vectors[:u], vectors[u:], layer0[u:]))
        return Embeddings(user_vectors=user, item_vectors=item, initial_item=first)


def fit(
    graph: BipartiteGraph,
    initial: NDArray[np.float32],
    config: TrainingConfig,
    *,
    on_epoch: OnEpoch | None = None,
    should_stop: ShouldStop | None = None,
    validate: Validate | None = None,
) -> FitResult:
    """Train layer 0 for ``config.epochs`` passes, or with ``validate`` until it stops helping; the best come back.

    initial: (N, D) float32, users first.  Equal inputs give equal bits on a CPU.
    Raises NothingToLearnError, CancelledError, DivergedError, UnusableDeviceError.
    """
    check_learnable(graph)
    began = time.perf_counter()
    trainer = Trainer(graph, initial, config)
    best = _Best(validate)
    losses: list[float] = []
    every = max(1, config.epochs // VALIDATIONS)
    for epoch in range(1, config.epochs + 1):
        losses.append(trainer.epoch(should_stop))
        if on_epoch is not None:
            on_epoch(epoch, config.epochs, losses[-1], time.perf_counter() - began)
        if validate is not None and (epoch % every == 0 or epoch == config.epochs):
            best.offer(trainer, epoch)
            if best.stale >= PATIENCE:
                break
    kept = best.epoch or len(losses)
    return FitResult(
        embeddings=best.embeddings or trainer.embeddings(),
        losses=tuple(losses[:kept]),
        steps=trainer.steps * kept // len(losses),
        device=str(trainer.device),
        seconds=time.perf_counter() - began,
        score=best.score,
    )


class _Best:
    """The best vectors so far, by validation."""

    def __init__(self, validate: Validate | None) -> None:
        self._validate = validate
        self.embeddings: Embeddings | None = None
        self.score: float | None = None
        self.epoch = 0
        self.stale = 0

    def offer(self, trainer: Trainer, epoch: int) -> None:
        assert self._validate is not None
        embeddings = trainer.embeddings()
        score = self._validate(embeddings)
        self.stale += 1
        if self.score is None or score > self.score:
            self.embeddings, self.score, self.epoch, self.stale = embeddings, score, epoch, 0


def check_learnable(graph: BipartiteGraph) -> None:
    """Raises NothingToLearnError with the reason when no pair of a taken and an unseen course exists."""
    if graph.n_users == 0:
        raise NothingToLearnError("there are no users yet")
    if graph.n_items == 0:
        raise NothingToLearnError("there are no courses yet")
    if graph.n_edges == 0:
        raise NothingToLearnError("there are no interactions with a weight above 0 yet")
    n_unseen = graph.n_items - np.diff(graph.seen.indptr)
    if not (n_unseen[graph.edge_users()] > 0).any():
        raise NothingToLearnError("every user with interactions has already taken every course")
