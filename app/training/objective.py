"""What a step compares: pairs with a negative each (bpr), or groups of pairs with a shared pool (softmax)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.graph.bipartite import BipartiteGraph
from app.training.config import Recipe
from app.training.loss import Groups, Pairs, add_l2, bpr_loss, pool_softmax_loss
from app.training.ranks import ALONE, Ranks
from app.training.sampling import PoolSampler, Rows, UnseenSampler

GROUP = 64  # pairs that share a pool

Batch = TypeVar("Batch", Pairs, Groups)


class Objective(ABC, Generic[Batch]):
    """Loss of a batch of edges of one graph.

    n_pairs: of the batch, those of the other ranks too.
    """

    def __init__(self, graph: BipartiteGraph, recipe: Recipe, device: torch.device, ranks: Ranks = ALONE) -> None:
        self._graph, self._recipe, self._device, self._ranks = graph, recipe, device, ranks
        self._users, self._items = graph.edge_users(), graph.user_items.indices
        own = np.array([graph.user_items.data.sum(dtype=np.float64), graph.n_edges])
        weight, self._n_edges = ranks.total(own).tolist()
        weights, mean = graph.user_items.data, np.float32(weight / self._n_edges)
        equal = len(weights) > 0 and weights.min() == weights.max()  # one number then stands for millions
        self._weights = np.broadcast_to(weights[:1] / mean, weights.shape) if equal else weights / mean

    @abstractmethod
    def draw(self, edges: Rows, rng: np.random.Generator) -> Batch:
        """A batch of edges with its negatives, on the device."""

    @abstractmethod
    def loss(self, vectors: Tensor, batch: Batch, n_pairs: int, gradient: Tensor) -> Tensor:
        """Mean loss, or this rank's part of it; its gradient with respect to the final vectors is written, (N, D)."""

    @abstractmethod
    def add_l2(self, gradient: Tensor, layer0: Tensor, batch: Batch, n_pairs: int) -> None:
        """Add the gradient of the regularisation to that of layer 0, in place."""

    def _add_l2(self, gradient: Tensor, layer0: Tensor, rows: Tensor, n_pairs: int) -> None:
        """Of the vectors in ``rows``, repetitions counted."""
        counts = torch.bincount(rows, minlength=len(layer0)).to(layer0.dtype)  # (N,)
        self._ranks.sum(counts[self._graph.n_users :])
        add_l2(gradient, layer0, counts, self._recipe.l2_weight, n_pairs)

    def _nodes(self, rows: NDArray[np.integer], *, items: bool = False) -> Tensor:
        return self._put(rows.astype(np.int64) + (self._graph.n_users if items else 0))

    def _put(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self._device)


class Bpr(Objective[Pairs]):
    """One uniform unseen negative a pair; L2 on the layer-0 vectors of the batch."""

    def __init__(self, graph: BipartiteGraph, recipe: Recipe, device: torch.device, ranks: Ranks = ALONE) -> None:
        super().__init__(graph, recipe, device, ranks)
        self._sampler = UnseenSampler(graph)

    def draw(self, edges: Rows, rng: np.random.Generator) -> Pairs:
        """Pairs of the edges."""
        users = self._users[edges].astype(np.int64)
        return Pairs(
            users=self._nodes(users),
            positives=self._nodes(self._items[edges], items=True),
            negatives=self._nodes(self._sampler.draw(users, rng), items=True),
            weights=self._put(self._weights[edges]),
        )

    def loss(self, vectors: Tensor, batch: Pairs, n_pairs: int, gradient: Tensor) -> Tensor:
        """See ``bpr_loss``."""
        return bpr_loss(vectors, batch, n_pairs, out=gradient)[0]

    def add_l2(self, gradient: Tensor, layer0: Tensor, batch: Pairs, n_pairs: int) -> None:
        """Of the vectors in the batch, negatives too, as the paper has it."""
        rows = torch.cat([batch.users, batch.positives, batch.negatives])
        self._add_l2(gradient, layer0, rows, n_pairs)


class PoolSoftmax(Objective[Groups]):
    """Groups of pairs share a pool of unseen negatives; L2 on all of layer 0 by degree.

    The second is what L2 on a batch's pairs is on average, without its noise.
    """

    def __init__(self, graph: BipartiteGraph, recipe: Recipe, device: torch.device, ranks: Ranks = ALONE) -> None:
        super().__init__(graph, recipe, device, ranks)
        self._sampler = PoolSampler(graph, recipe.n_negatives)
        sides = (self._users, graph.n_users), (self._items, graph.n_items)
        users, items = (np.bincount(rows, minlength=n) for rows, n in sides)
        share = np.concatenate([users, ranks.total(items)]) / self._n_edges * recipe.l2_weight
        self._decay = self._put(share.astype(np.float32)).unsqueeze(1)  # (N, 1)

    def draw(self, edges: Rows, rng: np.random.Generator) -> Groups:
        """Groups of the edges, the last filled up."""
        padding = -len(edges) % GROUP
        weights = np.concatenate([self._weights[edges], np.zeros(padding, np.float32)])
        edges = np.concatenate([edges, np.repeat(edges[:1], padding)])
        users = self._users[edges].astype(np.int64)
        pools = self._sampler.draw(len(edges) // GROUP, rng)
        pairs, slots = self._sampler.seen(users, np.arange(len(edges)) // GROUP, pools)
        return Groups(
            users=self._nodes(users),
            positives=self._nodes(self._items[edges], items=True),
            pools=self._nodes(pools, items=True),
            pairs=self._put(pairs),
            slots=self._put(slots),
            weights=self._put(weights),
        )

    def loss(self, vectors: Tensor, batch: Groups, n_pairs: int, gradient: Tensor) -> Tensor:
        """See ``pool_softmax_loss``."""
        return pool_softmax_loss(vectors, batch, n_pairs, out=gradient)[0]

    def add_l2(self, gradient: Tensor, layer0: Tensor, batch: Groups, n_pairs: int) -> None:
        """Weight * degree / E * E0."""
        gradient.addcmul_(self._decay, layer0)


class HardBpr(Bpr):
    """Each pair against the hardest of several unseen items: the one of greatest score (Zhang et al. 2013, "DNS")."""

    def draw(self, edges: Rows, rng: np.random.Generator) -> Pairs:
        """Pairs of the edges; negatives: (B, M)."""
        users = self._users[edges].astype(np.int64)
        drawn = [self._sampler.draw(users, rng) for _ in range(self._recipe.n_negatives)]
        return Pairs(
            users=self._nodes(users),
            positives=self._nodes(self._items[edges], items=True),
            negatives=self._nodes(np.stack(drawn, axis=1), items=True),
            weights=self._put(self._weights[edges]),
        )

    def loss(self, vectors: Tensor, batch: Pairs, n_pairs: int, gradient: Tensor) -> Tensor:
        """``bpr_loss`` with the hardest negatives."""
        users, negatives = (vectors[rows].to(gradient.dtype) for rows in (batch.users, batch.negatives))
        scores = torch.einsum("bd,bmd->bm", users, negatives)  # (B, M)
        hardest = batch.negatives.gather(1, scores.argmax(1, keepdim=True)).squeeze(1)  # (B,)
        return bpr_loss(vectors, batch._replace(negatives=hardest), n_pairs, out=gradient)[0]

    def add_l2(self, gradient: Tensor, layer0: Tensor, batch: Pairs, n_pairs: int) -> None:
        """Of users and positives; negatives that were not chosen do not count, and those chosen often, too much."""
        rows = torch.cat([batch.users, batch.positives])
        self._add_l2(gradient, layer0, rows, n_pairs)


OBJECTIVES: Mapping[str, type[Bpr] | type[PoolSoftmax]] = {"bpr": Bpr, "hard_bpr": HardBpr, "softmax": PoolSoftmax}
