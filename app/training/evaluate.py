"""How good a ranking is: every unseen item against the held-out ones of each user."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.training.split import Split

Rows = NDArray[np.int64]
Scores = Callable[[Rows], NDArray[np.float32]]
"""User rows (B,) -> scores (B, I), freshly made: the caller writes into them."""

CUTS = (10, 20)
BLOCK_BYTES = 32 << 20  # of scores at a time


def evaluate(scores: Scores, split: Split, *, max_users: int | None = None) -> dict[str, float]:
    """Means over the users with held-out items: recall@n, ndcg@n, hit_rate@n and mrr@n for n = 10, 20, coverage@20.

    Items seen in training are not ranked.  recall divides by the number of held-out items, the ideal of ndcg has
    min(held out, n) hits, coverage is the share of items in any list.  max_users: judge an evenly spread part only.
    """
    users = np.unique(split.held_users).astype(np.int64)
    if max_users is not None and len(users) > max_users:
        users = users[np.linspace(0, len(users) - 1, max_users).astype(np.int64)]
    n_items = split.train.n_items
    counts = np.bincount(split.held_users, minlength=split.train.n_users)[users]
    keys = np.sort(split.held_users.astype(np.int64) * n_items + split.held_items)
    lists = _top_lists(scores, split.train.seen, users, min(max(CUTS), n_items))
    wanted = users[:, None] * n_items + lists
    found = np.searchsorted(keys, wanted)
    hits = (lists >= 0) & (keys[np.minimum(found, len(keys) - 1)] == wanted)  # (users, n)
    result: dict[str, float] = {}
    for n in CUTS:
        result |= {f"{name}@{n}": value for name, value in _measures(hits[:, :n], counts, n).items()}
    result[f"coverage@{max(CUTS)}"] = len(np.unique(lists[lists >= 0])) / n_items
    return result


def _measures(hits: NDArray[np.bool_], counts: NDArray[np.int64], n: int) -> dict[str, float]:
    discounts = 1.0 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, n + 2)))])
    first = np.where(hits.any(1), 1.0 / (hits.argmax(1) + 1.0), 0.0)
    return {
        "recall": float(np.mean(hits.sum(1) / counts)),
        "ndcg": float(np.mean(hits @ discounts / ideal[np.minimum(counts, n)])),
        "hit_rate": float(np.mean(hits.any(1))),
        "mrr": float(np.mean(first)),
    }


def _top_lists(scores: Scores, seen: csr_array, users: Rows, n: int) -> Rows:
    """The n best unseen items of each user, best first, (len(users), n); -1 where there are fewer."""
    block = max(1, BLOCK_BYTES // (4 * seen.shape[1]))
    lists = np.empty((len(users), n), np.int64)
    for start in range(0, len(users), block):
        rows = users[start : start + block]
        values = scores(rows)
        taken = seen[rows]
        values[np.repeat(np.arange(len(rows)), np.diff(taken.indptr)), taken.indices] = -np.inf
        best, items = torch.topk(torch.from_numpy(values), n)
        lists[start : start + block] = np.where(np.isneginf(best.numpy()), -1, items.numpy())
    return lists


def model_scores(user_vectors: NDArray[np.float32], item_vectors: NDArray[np.float32]) -> Scores:
    """Inner products."""
    return lambda users: user_vectors[users] @ item_vectors.T
