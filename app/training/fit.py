"""LightGCN in one loop: propagate, compare, propagate the gradient back, step.

Model: He et al. 2020, "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation".
Optimiser: Adam over all layer-0 vectors (Kingma and Ba 2015).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.domain.embeddings import Embeddings
from app.errors import CancelledError, DivergedError, NothingToLearnError, RankLostError
from app.graph.bipartite import BipartiteGraph
from app.graph.normalise import normalised_adjacency, reverse_positions
from app.memory import freed_memory_kept
from app.training.adam import Adam
from app.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    embeddings_arrays,
    embeddings_from,
    finished,
    fit_key,
    result_of,
)
from app.training.config import Recipe
from app.training.job import FitJob, Validate
from app.training.layer0 import Layer0, Learned
from app.training.objective import OBJECTIVES, Objective
from app.training.part import Owned, Part
from app.training.propagation import Propagation
from app.training.ranks import ALONE, Ranks
from app.training.result import FitResult, OnEpoch, ShouldStop
from app.training.sampling import Rows, edge_batches, pairs_in_batches, steps_of, usable_edges

BeforeStep = Callable[[], None]
"""Called before each step, when the state of the trainer is whole.  May raise CancelledError."""
GO, KEEP, STOP = range(3)  # what the first rank says before a step

VECTORS = ("user_vectors",)
ALL_OF_USERS = ("user_vectors", "initial_user")
FINISHED_SECONDS = 5.0  # a fit that took less is done again faster than it is kept
VALIDATIONS = 20  # times at most that a run is validated
PATIENCE = 4  # validations without a better score before it stops
BEST = "best_layer0"  # of arrays in a checkpoint
MOST_KEPT_BYTES = 128 << 20  # of layer 0; of larger blocks the heap cannot keep many without growing by half
LARGEST = 1e15  # of a number in a vector; an inner product of larger ones overflows float32


class Trainer:
    """Layer-0 vectors of one graph with their optimiser; ``epoch`` moves them, ``finish`` gives them.

    Of several ranks each has one of its own users and all items, and they do the same at the same time: a step takes
    2 K + 1 sums over the ranks of (I, D), and some of a few numbers.
    """

    def __init__(
        self,
        graph: BipartiteGraph,
        initial: NDArray[np.floating],
        recipe: Recipe,
        ranks: Ranks = ALONE,
        *,
        in_place: bool = False,
    ) -> None:
        graph = replace(graph, item_degrees=ranks.total(graph.item_degrees))
        self._graph, self._recipe, self._ranks = graph, recipe, ranks
        self.device = ranks.device(recipe.device)
        self._rng = np.random.default_rng([recipe.seed, ranks.rank] if ranks.rank else recipe.seed)
        adjacency = normalised_adjacency(graph, initial.dtype.type)
        self._propagate = Propagation(
            adjacency, recipe.n_layers, recipe.combination, self.device, ranks=ranks, n_users=graph.n_users
        )
        self._half = recipe.half and self.device.type == "cpu"  # on CUDA it was never measured
        self._reverse = reverse_positions(graph)
        self._objective: Objective[Any] = OBJECTIVES[recipe.loss](graph, recipe, self.device, ranks)
        own = in_place and self.device.type == "cpu"
        self._layer0 = torch.from_numpy(initial) if own else torch.tensor(initial, device=self.device)
        self._fixed = self._layer0[: graph.n_users if recipe.parameters == "items" else 0]
        self._fixed.zero_()
        self._adam = Adam(self._layer0, graph.n_users)
        self._counts = ranks.counts(len(usable_edges(graph)))
        self._horizon = recipe.epochs * steps_of(sum(self._counts), recipe.batch_size)
        self.steps = 0
        # Of the epoch under way: the randomness that it began with, batches done, their loss, their pairs.
        self._epoch_began = self._rng.bit_generator.state
        self._n_done, self._n_pairs = 0, 0
        self._total = torch.zeros((), dtype=torch.float64, device=self.device)

    def epoch(self, before_step: BeforeStep | None = None) -> float:
        """One pass over the interactions; the mean loss.  Raises DivergedError, and what ``before_step`` raises."""
        batches = self._batches()
        for _ in range(self._n_done, steps_of(sum(self._counts), self._recipe.batch_size)):
            if before_step is not None:
                before_step()
            edges, n_pairs = next(batches)
            self._total += self._step(edges, max(n_pairs, 1)) * n_pairs
            self._n_pairs += n_pairs
            self._n_done += 1
        loss = float(self._ranks.sum(self._total)) / self._n_pairs
        self._n_done, self._n_pairs = 0, 0
        self._total.zero_()
        if not np.isfinite(loss):
            raise DivergedError(f"the loss became {loss} after {self.steps} steps; a smaller learning rate may help")
        return loss

    def _batches(self) -> Iterator[tuple[Rows, int]]:
        """The batches of this epoch that are not done: own edges, and the number of those of all ranks."""
        now = self._rng.bit_generator.state
        if self._n_done:
            self._rng.bit_generator.state = self._epoch_began
        else:
            self._epoch_began = now
        size, counts = self._recipe.batch_size, self._counts
        batches = zip(edge_batches(self._graph, size, self._rng, counts), pairs_in_batches(counts, size), strict=True)
        for done in range(self._n_done):
            next(batches)
            if done == self._n_done - 1:
                self._rng.bit_generator.state = now
        yield from batches

    @torch.no_grad()
    def state(self) -> Checkpoint:
        """All that the next step depends on; the step changes it."""
        arrays = {"layer0": self._layer0, **self._adam.moments}
        values = {
            "steps": self.steps,
            "n_done": self._n_done,
            "n_pairs": self._n_pairs,
            "own": {
                "rng": self._rng.bit_generator.state,
                "epoch_began": self._epoch_began,
                "total": float(self._total),
            },
        }
        return Checkpoint({name: tensor.cpu().numpy() for name, tensor in arrays.items()}, values)

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from there."""
        values, own = checkpoint.values, checkpoint.values["own"][self._ranks.rank]
        self._layer0.copy_(torch.from_numpy(checkpoint.arrays["layer0"]))
        moments = {name: torch.from_numpy(checkpoint.arrays[name]) for name in self._adam.moments}
        self._adam.restore(moments, values["steps"])
        self.steps, self._n_done, self._n_pairs = values["steps"], values["n_done"], values["n_pairs"]
        self._rng.bit_generator.state, self._epoch_began = own["rng"], own["epoch_began"]
        self._total.fill_(own["total"])

    def _step(self, edges: Rows, n_pairs: int) -> Tensor:
        return self.learn(edges, self._objective.draw(edges, self._rng), n_pairs)

    @torch.no_grad()
    def learn(self, edges: Rows, batch: Any, n_pairs: int) -> Tensor:
        """One step on a batch of edges that is drawn; its mean loss, or this rank's part of it.

        n_pairs: in the batch, those of other ranks too.
        """
        u = self._graph.n_users
        with self._propagate.without(self._own_entries(edges)):
            propagate = self._propagate.half if self._half else self._propagate
            gradient = torch.empty_like(self._layer0)
            loss = self._objective.loss(propagate(self._layer0), batch, n_pairs, gradient)
            sent = gradient.bfloat16() if self._half else gradient
            self._ranks.sum(sent[u:])
            propagated = propagate(sent)  # P is symmetric
        gradient = gradient.copy_(propagated) if self._half else propagated
        del sent, propagated
        self._objective.add_l2(gradient, self._layer0, batch, n_pairs)
        gradient[: len(self._fixed)].zero_()
        self._adam.step(gradient, self._learning_rate())
        self.steps += 1
        return loss

    def _own_entries(self, edges: Rows) -> Tensor:
        """Entries of the adjacency that would tell the batch its own answers."""
        if not self._recipe.mask:
            edges = edges[:0]
        return torch.from_numpy(np.concatenate([edges, self._reverse[edges]])).to(self.device)

    def _learning_rate(self) -> float:
        recipe = self._recipe
        rise = min(1.0, (self.steps + 1) / recipe.warm_up) if recipe.warm_up else 1.0
        return recipe.learning_rate * rise * (1.0 - self.steps / self._horizon if recipe.decay else 1.0)

    def layer0(self) -> Tensor:
        """A copy of layer 0 as it is now, of own users and all items."""
        return self._layer0.clone()

    @torch.no_grad()
    def vectors(self) -> Embeddings:
        """Final vectors as they are now, to be scored, without what else a model has.  Raises as ``finish``."""
        u, vectors = self._graph.n_users, self._final(self._layer0).cpu().numpy()
        return Embeddings(vectors[:u], vectors[u:], initial_item=self._layer0[u:].cpu().numpy())

    @torch.no_grad()
    def finish(self, layer0: Tensor | None = None) -> Embeddings:
        """The model of a layer 0, by default the present one, for own users and all items; the trainer cannot go on.

        Raises DivergedError if a vector gives no finite score.
        """
        del self._adam  # twice layer 0
        layer0, u = self._layer0 if layer0 is None else layer0, self._graph.n_users
        messages = self._propagate.messages(layer0)[u:].clone()  # of users they are not needed
        vectors = self._final(layer0)
        parts = {
            "user_vectors": vectors[:u],
            "item_vectors": vectors[u:],
            "initial_user": layer0[:u],
            "initial_item": layer0[u:],
            "item_messages": messages,
        }
        own_weight = 0.0 if len(self._fixed) else self._propagate.own_weight
        return Embeddings(**{name: part.cpu().numpy() for name, part in parts.items()}, own_weight=own_weight)

    def _final(self, layer0: Tensor) -> Tensor:
        vectors = self._propagate(layer0)
        least, most = torch.aminmax(vectors)
        overflow = ~((least > -LARGEST) & (most < LARGEST))  # also for NaN
        if bool(self._ranks.sum(overflow.float())):
            raise DivergedError(f"the vectors overflow after {self.steps} steps; a smaller learning rate may help")
        return vectors.clone() if vectors is layer0 else vectors  # as it is without layers


def fit(
    graph: BipartiteGraph,
    initial: NDArray[np.float32] | Layer0,
    recipe: Recipe,
    *,
    stop_after: int | None = None,
    on_epoch: OnEpoch | None = None,
    should_stop: ShouldStop | None = None,
    validate: Validate | None = None,
    checkpoints: Checkpoints | None = None,
    ranks: Ranks = ALONE,
    in_place: bool = False,
    stay: Sequence[str] = (),
) -> FitResult:
    """Train layer 0 for ``recipe.epochs`` passes, or with ``validate`` until it stops helping; the best come back.

    With a learning rate that decays, only the second half of the epochs is validated.
    initial: (N, D) float32, users first, or what makes it.
    stop_after: end after so many epochs of the recipe's schedule.
    in_place: ``initial`` is not needed any more and may be written to.
    checkpoints: where the state is kept when due, and the result; a fit of which something is kept goes on from there.
    ranks: who trains together; the others are told their part, and this process is the first.
    stay: VECTORS or, if layer 0 of the users is not wanted either, ALL_OF_USERS, which stay with the ranks then.
    Equal inputs give equal bits on a CPU, broken off in between or not.
    Raises NothingToLearnError, CancelledError, DivergedError, UnusableDeviceError, RankLostError.
    """
    check_learnable(graph)
    many, stay = ((ranks.size, *stay), tuple(stay)) if ranks.size > 1 else ((), ())
    key = "" if checkpoints is None else fit_key(graph, initial, recipe, stop_after, validate is not None, *many)
    told = 0

    def tell(epoch: int, epochs: int, loss: float, seconds: float) -> None:
        """Each epoch once, though it may be done again after a rank was lost."""
        nonlocal told
        if on_epoch is not None and epoch > told:
            told = epoch
            on_epoch(epoch, epochs, loss, seconds)

    while True:
        kept = None if checkpoints is None else checkpoints.resume(key)
        if kept is not None:
            n_epochs = min(recipe.epochs, stop_after or recipe.epochs)
            for epoch, loss in enumerate(kept.values["losses"], 1):
                tell(epoch, n_epochs, loss, kept.values["seconds"])
            if (result := result_of(kept, graph)) is not None:
                return _with_parts(result, graph, recipe, ranks, stay) if stay else result
        try:
            job = FitJob(graph, initial, recipe, stop_after, validate, kept, in_place=in_place, stay=stay)
            job = ranks.share(job)
            result = fit_part(job, ranks, on_epoch=tell, should_stop=should_stop, checkpoints=checkpoints, key=key)
        except RankLostError:
            if not ranks.renewed():
                raise
            continue
        if checkpoints is not None and result.seconds > FINISHED_SECONDS and set(stay) != set(ALL_OF_USERS):
            checkpoints.keep(key, finished(result))
        return result


def fit_part(
    job: FitJob,
    ranks: Ranks,
    *,
    on_epoch: OnEpoch | None = None,
    should_stop: ShouldStop | None = None,
    checkpoints: Checkpoints | None = None,
    key: str = "",
) -> FitResult:
    """The fit of one rank: its users, all items; called by all at once, with hooks by the first.

    The first gets the vectors of everybody, but for what stays; the others those of their users.
    """
    began = time.perf_counter()
    recipe = job.recipe
    initial = job.initial
    assert isinstance(initial, np.ndarray)
    trainer = Trainer(job.graph, initial, recipe, ranks, in_place=job.in_place)
    if not job.learn:
        embeddings, owned = _finished(trainer.finish(), job, ranks)
        return FitResult(embeddings, (), 0, str(trainer.device), 0.0, 0, owned=owned)
    best = _Best(job.validate, ranks)
    losses: list[float] = []
    n_epochs = min(recipe.epochs, job.stop_after or recipe.epochs)
    if job.kept is not None:
        losses += job.kept.values["losses"]
        began -= job.kept.values["seconds"]
        trainer.restore(job.kept)
        best.restore(job.kept, trainer.device)

    def before_step() -> None:
        stop = should_stop is not None and should_stop()
        keep = checkpoints is not None and checkpoints.due()
        said = ranks.agreed(STOP if stop else KEEP if keep else GO)
        if said == STOP:
            raise CancelledError("the run was cancelled")
        if said == KEEP:
            state, of_best = trainer.state(), best.state()
            values = {"losses": [*losses], "seconds": time.perf_counter() - began}
            own = Checkpoint({**state.arrays, **of_best.arrays}, {**state.values, **of_best.values, **values})
            with ranks.joined(own) as checkpoint:
                if checkpoint is not None and checkpoints is not None:
                    checkpoints.keep(key, checkpoint)

    every = max(1, n_epochs // VALIDATIONS)
    first = (recipe.epochs + 1) // 2 if recipe.decay else 1  # steps still long say little of where they will settle
    with freed_memory_kept() if initial.nbytes < MOST_KEPT_BYTES else nullcontext():
        for epoch in range(len(losses) + 1, n_epochs + 1):
            losses.append(trainer.epoch(before_step))
            if on_epoch is not None:
                on_epoch(epoch, n_epochs, losses[-1], time.perf_counter() - began)
            if job.validate is not None and epoch >= first and (epoch % every == 0 or epoch == n_epochs):
                best.offer(trainer, epoch)
                if best.stale >= PATIENCE:
                    break
    n_kept = best.epoch or len(losses)
    embeddings, owned = _finished(trainer.finish(best.layer0), job, ranks)
    return FitResult(
        embeddings=embeddings,
        owned=owned,
        losses=tuple(losses[:n_kept]),
        steps=trainer.steps * n_kept // len(losses),
        device=str(trainer.device),
        seconds=time.perf_counter() - began,
        score=best.score,
        epochs_done=len(losses),
        validation=tuple(best.history),
    )


def _finished(embeddings: Embeddings, job: FitJob, ranks: Ranks) -> tuple[Embeddings, Owned]:
    """With the vectors of all users at the first rank, but for what stays; and what this rank has of them."""
    own, arrays = embeddings.user_vectors, embeddings_arrays(embeddings)
    whole = ranks.whole({name: array for name, array in arrays.items() if name not in job.stay})
    if whole is not None:
        embeddings = embeddings_from({"user_vectors": own, **whole})
    if "user_vectors" in job.stay:
        return embeddings, Owned(Part(job.graph, own), tuple(ranks.counts(len(own))))
    return embeddings, Owned(Part(job.graph, embeddings.user_vectors), (len(embeddings.user_vectors),))


def propagated(
    graph: BipartiteGraph,
    layer0: NDArray[np.float32] | Layer0,
    recipe: Recipe,
    ranks: Ranks = ALONE,
    stay: Sequence[str] = (),
) -> FitResult:
    """Vectors of a graph from a layer 0 that was learned on another, (N, D), as ``fit`` gives them.

    Raises DivergedError, RankLostError.
    """
    job = FitJob(graph, layer0, recipe, stay=tuple(stay) if ranks.size > 1 else (), learn=False)
    while True:
        try:
            return fit_part(ranks.share(job), ranks)
        except RankLostError:
            if not ranks.renewed():
                raise


def _with_parts(
    result: FitResult, graph: BipartiteGraph, recipe: Recipe, ranks: Ranks, stay: Sequence[str]
) -> FitResult:
    """The result of a fit that is over, with the users' vectors made again where they belong."""
    kept = result.embeddings
    assert kept.initial_user is not None
    made = propagated(graph, Learned(kept.initial_user, kept.initial_item), recipe, ranks, stay)
    return replace(result, embeddings=made.embeddings, owned=made.owned)


class _Best:
    """The best layer 0 so far, by validation of its vectors."""

    def __init__(self, validate: Validate | None, ranks: Ranks) -> None:
        self._validate, self._ranks = validate, ranks
        self.layer0: Tensor | None = None
        self.score: float | None = None
        self.epoch = 0
        self.stale = 0
        self.history: list[tuple[int, float]] = []

    def state(self) -> Checkpoint:
        arrays = {} if self.layer0 is None else {BEST: self.layer0.cpu().numpy()}
        return Checkpoint(
            arrays, {"score": self.score, "epoch": self.epoch, "stale": self.stale, "history": self.history}
        )

    def restore(self, checkpoint: Checkpoint, device: torch.device) -> None:
        values = checkpoint.values
        if BEST in checkpoint.arrays:
            self.layer0 = torch.tensor(checkpoint.arrays[BEST], device=device)
        self.score, self.epoch, self.stale = values["score"], values["epoch"], values["stale"]
        self.history = [(epoch, score) for epoch, score in values["history"]]

    def offer(self, trainer: Trainer, epoch: int) -> None:
        assert self._validate is not None
        score = self._ranks.mean(self._validate(trainer.vectors()))
        self.history.append((epoch, score))
        self.stale += 1
        if self.score is None or score > self.score:
            self.layer0 = None  # before there is another
            self.layer0, self.score, self.epoch, self.stale = trainer.layer0(), score, epoch, 0


def check_learnable(graph: BipartiteGraph) -> None:
    """Raises NothingToLearnError with the reason when no pair of a taken and an unseen course exists."""
    if graph.n_users == 0:
        raise NothingToLearnError("there are no users yet")
    if graph.n_items == 0:
        raise NothingToLearnError("there are no courses yet")
    if graph.n_edges == 0:
        raise NothingToLearnError("there are no interactions with a weight above 0 yet")
    if len(usable_edges(graph)) == 0:
        raise NothingToLearnError("every user with interactions has already taken every course")
