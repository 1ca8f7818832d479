"""How good a ranking is: every unseen item against the held-out ones of each user."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.domain.embeddings import Embeddings
from app.training.split import Split
from app.training.users import SomeUsers

Rows = NDArray[np.int64]
Scores = Callable[[Rows], NDArray[np.float32]]
"""User rows (B,) -> scores (B, I), freshly made: the caller writes into them."""

CUTS = (10, 20)
METRIC = "ndcg@20"  # by which models are compared
COLD = 1  # interactions in training, up to which an item counts as cold
BLOCK_BYTES = 32 << 20  # of scores at a time


def evaluate(scores: Scores, split: Split) -> dict[str, float]:
    """Means over the users with held-out items: recall, ndcg, hit_rate and mrr at 10 and 20, and of the lists of 20.

    Of the lists: coverage (share of the items that are in any list), gini (of how often items are listed: 0 all
    equally, 1 one alone), popularity (mean number of training users of the listed items) and, where cold items were
    held out, cold_recall (recall of items with at most one interaction in training).
    Items seen in training are not ranked.  recall divides by the number of held-out items, the ideal of ndcg has
    min(held out, n) hits.
    """
    held = _Held(split)
    (lists,) = held.lists(lambda users: [scores(users)], 1)
    return held.measures(lists)


class Judged(NamedTuple):
    """What ``evaluate`` gives, and NDCG@20 of each user with held-out items, ascending."""

    metrics: dict[str, float]
    ndcgs: NDArray[np.float64]


def evaluate_together(blends: Callable[[Rows], list[NDArray[np.float32]]], n_blends: int, split: Split) -> list[Judged]:
    """Of each of several scores, which may share what they are made from."""
    held = _Held(split)
    return [Judged(held.measures(lists), held.ndcg(lists)) for lists in held.lists(blends, n_blends)]


def ndcg_of_users(scores: Scores, split: Split) -> NDArray[np.float64]:
    """NDCG@20 of each user with held-out items, ascending."""
    held = _Held(split)
    (lists,) = held.lists(lambda users: [scores(users)], 1)
    return held.ndcg(lists)


@dataclass(frozen=True, slots=True)
class Validation:
    """NDCG@20 of each user with held-out items, of a model without filter: what a fit is validated by."""

    split: Split

    def __call__(self, embeddings: Embeddings) -> NDArray[np.float64]:
        """Of each user with held-out items, ascending."""
        return ndcg_of_users(model_scores(embeddings), self.split)


def sweep(scores: Scores, added: Scores, weights: Sequence[float], split: Split) -> list[dict[str, float]]:
    """``evaluate`` of scores + w added for each weight w, at the price of computing both once."""

    def blends(users: Rows) -> list[NDArray[np.float32]]:
        own, others = scores(users), added(users)
        return [own + np.float32(weight) * others for weight in weights]

    return [judged.metrics for judged in evaluate_together(blends, len(weights), split)]


class _Held:
    """The held-out items of some users."""

    def __init__(self, split: Split) -> None:
        users = np.unique(split.held_users).astype(np.int64)
        self._users, self._split = users, split
        self._n_items = split.train.n_items
        self._counts = np.bincount(split.held_users, minlength=split.train.n_users)[users]
        self._keys = np.sort(split.held_users.astype(np.int64) * self._n_items + split.held_items)
        self._popularity = np.bincount(split.train.user_items.indices, minlength=self._n_items)

    def lists(self, blends: Callable[[Rows], list[NDArray[np.float32]]], n_blends: int) -> list[Rows]:
        """For each blend the best unseen items of each user, best first, (users, n); -1 where there are fewer."""
        n, seen = min(max(CUTS), self._n_items), self._split.train.seen
        block = max(1, BLOCK_BYTES // (4 * self._n_items))
        result = [np.empty((len(self._users), n), np.int64) for _ in range(n_blends)]
        for start in range(0, len(self._users), block):
            rows = self._users[start : start + block]
            taken = seen[rows]
            where = np.repeat(np.arange(len(rows)), np.diff(taken.indptr)), taken.indices
            for lists, values in zip(result, blends(rows), strict=True):
                values[where] = -np.inf
                best, items = torch.topk(torch.from_numpy(values), n)
                lists[start : start + block] = np.where(np.isneginf(best.numpy()), -1, items.numpy())
        return result

    def ndcg(self, lists: Rows) -> NDArray[np.float64]:
        """Of each user."""
        return _ndcg(self._hits(lists), self._counts)

    def _hits(self, lists: Rows) -> NDArray[np.bool_]:
        """Which of the listed items were held out, (users, n)."""
        wanted = self._users[:, None] * self._n_items + lists
        found = np.searchsorted(self._keys, wanted)
        hits: NDArray[np.bool_] = (lists >= 0) & (self._keys[np.minimum(found, len(self._keys) - 1)] == wanted)
        return hits

    def measures(self, lists: Rows) -> dict[str, float]:
        """See ``evaluate``."""
        hits = self._hits(lists)
        result: dict[str, float] = {}
        for n in CUTS:
            result |= {f"{name}@{n}": value for name, value in _measures(hits[:, :n], self._counts, n).items()}
        n = max(CUTS)
        listed = np.bincount(lists[lists >= 0], minlength=self._n_items)
        result[f"coverage@{n}"] = float(np.mean(listed > 0))
        result[f"gini@{n}"] = gini(listed)
        result[f"popularity@{n}"] = float(listed @ self._popularity / max(listed.sum(), 1))
        return result | self._cold(lists, hits, n)

    def _cold(self, lists: Rows, hits: NDArray[np.bool_], n: int) -> dict[str, float]:
        users, items = np.divmod(self._keys, self._n_items)
        cold = self._popularity <= COLD
        counts = np.bincount(users[cold[items]], minlength=self._split.train.n_users)[self._users]
        if not counts.any():
            return {}
        found = (hits & cold[lists]).sum(1)
        return {f"cold_recall@{n}": float(np.mean(found[counts > 0] / counts[counts > 0]))}


def gini(counts: NDArray[np.integer]) -> float:
    """Gini coefficient, sum_k (2k - n - 1) x_k / (n sum x) of ascending x; 0 of nothing."""
    ascending, n = np.sort(counts), len(counts)
    total = float(ascending.sum())
    return float((2.0 * np.arange(1, n + 1) - n - 1.0) @ ascending / (n * total)) if total else 0.0


def _ndcg(hits: NDArray[np.bool_], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    n = hits.shape[1]
    discounts = 1.0 / np.log2(np.arange(2, n + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    ndcg: NDArray[np.float64] = hits @ discounts / ideal[np.minimum(counts, n)]
    return ndcg


def _measures(hits: NDArray[np.bool_], counts: NDArray[np.int64], n: int) -> dict[str, float]:
    first = np.where(hits.any(1), 1.0 / (hits.argmax(1) + 1.0), 0.0)
    return {
        "recall": float(np.mean(hits.sum(1) / counts)),
        "ndcg": float(np.mean(_ndcg(hits, counts))),
        "hit_rate": float(np.mean(hits.any(1))),
        "mrr": float(np.mean(first)),
    }


def model_scores(embeddings: Embeddings) -> Scores:
    """Inner products."""
    users, items = embeddings.user_vectors, embeddings.item_vectors
    return lambda rows: users[rows] @ items.T


def scores_with(users: SomeUsers, item_vectors: NDArray[np.float32]) -> Scores:
    """The same, of users who are elsewhere."""
    return lambda rows: users.rows(rows) @ item_vectors.T


def add_sparse(dense: NDArray[np.float32], sparse: csr_array) -> NDArray[np.float32]:
    """Their sum, in place; no entry of ``sparse`` is stored twice."""
    sparse = sparse.tocsr()
    dense[np.repeat(np.arange(len(dense)), np.diff(sparse.indptr)), sparse.indices] += sparse.data
    return dense
