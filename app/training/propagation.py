"""Light graph convolution: E = P E0 with P = sum_k a_k A^k, A the normalised adjacency.

Layer combination ``sum`` has a_k = 1, ``mean`` a_k = 1 / (K + 1) (He et al. 2020, "LightGCN").  P is symmetric, so the
gradient with respect to E0 is P times the gradient with respect to E: one routine goes forward and backward, and
autograd would only keep K copies of the nodes alive.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn.functional import embedding_bag

from app.training.config import Combination
from app.training.ranks import ALONE, Ranks


class _Rows(NamedTuple):
    """Some rows of a CSR.  starts: of each row among ``entries``, those of the whole, and where the last ends."""

    starts: Tensor
    entries: slice


class Propagation:
    """P as a function of (N, D) vectors of the adjacency's dtype: float32 or, for checks, float64.

    Of several ranks each has the edges of its own users: what a layer sends to these is whole then, what it sends to
    items is a part of a sum over the ranks.  So a layer costs one such sum of (I, D), in the vectors' dtype, which
    sockets carry while the users' half of the layer is computed.
    ``half`` is the same in bfloat16, summed in float32: half the bytes to gather, two to three times as fast, with an
    error of some 0.4 % that training does not notice.
    """

    def __init__(
        self,
        adjacency: csr_array,
        n_layers: int,
        combination: Combination,
        device: torch.device,
        *,
        ranks: Ranks = ALONE,
        n_users: int = 0,
    ) -> None:
        self._ranks = ranks
        self._n_layers = n_layers
        self._scale = 1.0 if combination == "sum" else 1.0 / (n_layers + 1)
        self._n_nodes, self._n_users = adjacency.shape[0], n_users
        first, last = ((self._n_nodes - n_users) * number // ranks.size for number in (ranks.rank, ranks.rank + 1))
        self._mine = slice(first, last)
        self._weights = torch.from_numpy(adjacency.data).to(device)
        self._half_weights = self._weights.bfloat16()
        self._columns = torch.from_numpy(adjacency.indices).to(device)
        starts, cut = torch.from_numpy(adjacency.indptr).to(device), int(adjacency.indptr[n_users])
        self._all = _Rows(starts, slice(None))
        self._users = _Rows(starts[: n_users + 1], slice(cut))
        self._items = _Rows(starts[n_users:] - cut, slice(cut, None))

    def __call__(self, vectors: Tensor) -> Tensor:
        """P times vectors: (N, D) -> (N, D)."""
        return self._layers(vectors, self._n_layers)

    def half(self, vectors: Tensor) -> Tensor:
        """P times vectors to half precision: (N, D) float32 -> (N, D) bfloat16."""
        return self._layers(vectors.bfloat16(), self._n_layers)

    @property
    def own_weight(self) -> float:
        """Weight of a node's own layer 0 in its final vector."""
        return self._scale

    def messages(self, vectors: Tensor) -> Tensor:
        """M such that P vectors = own_weight * vectors + A M: what nodes send in all, (N, D)."""
        return self._layers(vectors, self._n_layers - 1) if self._n_layers else torch.zeros_like(vectors)

    @contextmanager
    def without(self, entries: Tensor) -> Iterator[None]:
        """Leave stored entries of the adjacency out; the others stay as they are."""
        tables = self._weights, self._half_weights
        kept = [table[entries] for table in tables]
        for table in tables:
            table[entries] = 0.0
        try:
            yield
        finally:
            for table, values in zip(tables, kept, strict=True):
                table[entries] = values

    def _layers(self, vectors: Tensor, n_layers: int) -> Tensor:
        # Horner: E0 + A (E0 + A (E0 + ...)) needs K products and a single buffer
        total = vectors
        for _ in range(n_layers):
            total = self._layer(total, vectors)  # (N, D)
        if self._scale == 1.0:
            return total
        return total.mul_(self._scale) if n_layers else total * self._scale

    def _layer(self, vectors: Tensor, plus: Tensor) -> Tensor:
        """A times vectors plus others, (N, D), which stay as they are; of other vectors their table is used again."""
        if self._ranks.size == 1:
            return self._neighbours(vectors, self._all).add_(plus)
        u = self._n_users
        items = self._neighbours(vectors, self._items)
        items[self._mine] += plus[u:][self._mine]  # once, as the sum goes over the ranks
        end_sum = self._ranks.begin_sum(items)
        users = self._neighbours(vectors, self._users)
        out = torch.empty_like(vectors) if vectors is plus else vectors
        torch.add(users, plus[:u], out=out[:u])
        end_sum(out[u:])
        return out

    def _neighbours(self, vectors: Tensor, rows: _Rows) -> Tensor:
        """Rows of A times vectors.  On CPU a bag of weighted rows is three times as fast as a sparse product."""
        weights = self._half_weights if vectors.dtype == torch.bfloat16 else self._weights
        starts, columns, weights = rows.starts, self._columns[rows.entries], weights[rows.entries]
        if vectors.is_cuda:
            return torch.sparse_csr_tensor(starts, columns, weights, (len(starts) - 1, self._n_nodes)) @ vectors
        return embedding_bag(
            columns,
            vectors,
            starts,
            mode="sum",
            per_sample_weights=weights,
            include_last_offset=True,
        )
