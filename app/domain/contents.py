"""What a trained model consists of: all that serving needs, as arrays."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from app.domain.content import ContentMap
from app.domain.embeddings import Embeddings
from app.domain.interactions import Snapshot
from app.domain.item_filter import ItemFilter
from app.domain.vocabulary import Vocabulary

MAX_TYPES = 32  # interaction types, one bit each
TABLED_TYPES = 10  # up to so many types the weights of all their combinations are looked up, 4 kB


@dataclass(frozen=True, slots=True)
class ArtifactContents:
    """A model's vectors, and what was known when it was trained.

    user_vectors: (U, D) float32, or float16: see ``user_vector``.  own_weight: as in Embeddings, like
    item_vectors, initial_item, item_messages, fold_in_messages: (I, D) float32.
    seen: the S known (user, item) pairs, those with weight 0 too, as a CSR: the items of user u are
    ``seen_items[seen_indptr[u]:seen_indptr[u + 1]]``, ascending.  seen_indptr: (U + 1,) int64.  seen_items: (S,) int32.
    seen_types: (S,) uint32, bit t is set when the user did ``types[t]`` with the item.
    seen_weights: (S,) float32, the edge weights in training, 0: no edge.  None: they follow from the types alone.
    popularity: (I,) float32, number of users with an edge to the item, or less where older ones count less.
    user_degrees, item_degrees: (U,) and (I,) float64, sums of edge weights.
    user_feature_weights: (C + 1, D) float32, a vector of a user without edges is (features, 1) @ it; None: not known.
    type_weights: edge weight of each type; a pair weighs the most that one of its types does.
    top_items: (U, L) uint16 or, with too many items for that, int32, the best unseen items of each user, best first,
    see ``top_lists``; a row with fewer ends in ``no_item``.  top_scores: (U, K) float32, scores of the first K <= L.
    top_lasts: (U,) float32, the score of the last of the L; None: K is L.  All None: they were not computed.
    filter_starts, filter_items, filter_values: the item filter, see ItemFilter; None: the model has none.
    filter_sources, filter_weights: the same by target; None: it is not published so.
    content: vectors of courses that are newer than the model, from their words; None: too few to learn from.
    cluster_time: replaying the changes from there gives the present state; see Snapshot.
    holds_all_users: whether the U users are all that the model was trained with, or a process holds some of them only.
    """

    users: Vocabulary
    items: Vocabulary
    user_vectors: NDArray[np.float32] | NDArray[np.float16]
    item_vectors: NDArray[np.float32]
    initial_item: NDArray[np.float32]
    seen_indptr: NDArray[np.int64]
    seen_items: NDArray[np.int32]
    seen_types: NDArray[np.uint32]
    popularity: NDArray[np.float32]
    user_degrees: NDArray[np.float64]
    item_degrees: NDArray[np.float64]
    types: tuple[str, ...]
    type_weights: tuple[float, ...]
    n_interactions: int
    cluster_time: int
    data_fingerprint: str
    own_weight: float = 1.0
    user_feature_weights: NDArray[np.float32] | None = None
    item_messages: NDArray[np.float32] | None = None
    fold_in_messages: NDArray[np.float32] | None = None
    top_items: NDArray[np.uint16] | NDArray[np.int32] | None = None
    top_scores: NDArray[np.float32] | None = None
    top_lasts: NDArray[np.float32] | None = None
    filter_starts: NDArray[np.int64] | None = None
    filter_items: NDArray[np.int32] | None = None
    filter_values: NDArray[np.float32] | None = None
    filter_sources: NDArray[np.uint16] | NDArray[np.int32] | None = None
    filter_weights: NDArray[np.float32] | None = None
    content: ContentMap | None = None
    seen_weights: NDArray[np.float32] | None = None
    holds_all_users: bool = True

    @classmethod
    def from_snapshot(
        cls,
        snapshot: Snapshot,
        weights: Mapping[str, float],
        embeddings: Embeddings,
        item_filter: ItemFilter | None = None,
    ) -> "ArtifactContents":
        """Contents of a model trained on a snapshot with these edge weights.

        The embeddings may have no users, when their vectors are elsewhere.
        Raises ValueError if there are more than MAX_TYPES types or the vectors do not fit the snapshot.
        """
        if len(snapshot.types) > MAX_TYPES:
            raise ValueError(f"there are {len(snapshot.types)} interaction types; wanted at most {MAX_TYPES}")
        n_users, n_items = len(snapshot.users), len(snapshot.items)
        if len(embeddings.user_vectors) not in {0, n_users} or len(embeddings.item_vectors) != n_items:
            raise ValueError(
                f"vectors of {len(embeddings.user_vectors)} users and {len(embeddings.item_vectors)} items "
                f"were given; wanted {n_users} and {n_items}"
            )
        users, items, types, edge_weights = _pairs(snapshot, weights)
        type_weights = tuple(float(weights.get(name, 1.0)) for name in snapshot.types)  # as Snapshot.edge_weights
        return cls(
            users=snapshot.users,
            items=snapshot.items,
            user_vectors=embeddings.user_vectors,
            item_vectors=embeddings.item_vectors,
            initial_item=embeddings.initial_item,
            seen_indptr=np.concatenate([[0], np.cumsum(np.bincount(users, minlength=n_users))]).astype(np.int64),
            seen_items=items,
            seen_types=types,
            popularity=np.bincount(items[edge_weights > 0], minlength=n_items).astype(np.float32),
            user_degrees=np.bincount(users, edge_weights, minlength=n_users).astype(np.float64),
            item_degrees=np.bincount(items, edge_weights, minlength=n_items).astype(np.float64),
            types=snapshot.types,
            type_weights=type_weights,
            n_interactions=len(snapshot.user_rows),
            cluster_time=snapshot.cluster_time,
            data_fingerprint=data_fingerprint(snapshot),
            seen_weights=None if snapshot.half_life_days is None else edge_weights,
            own_weight=embeddings.own_weight,
            item_messages=embeddings.item_messages,
            fold_in_messages=embeddings.fold_in_messages,
            filter_starts=item_filter.starts if item_filter else None,
            filter_items=item_filter.items if item_filter else None,
            filter_values=item_filter.values if item_filter else None,
        )

    @property
    def item_filter(self) -> ItemFilter | None:
        """What is added to the inner products."""
        if self.filter_starts is None or self.filter_items is None or self.filter_values is None:
            return None
        csr = self.filter_starts, self.filter_items, self.filter_values
        return ItemFilter(*csr, self.filter_sources, self.filter_weights)

    def user_vector(self, row: int) -> NDArray[np.float32]:
        """(D,) of one user."""
        vector: NDArray[np.float32] = self.user_vectors[row].astype(np.float32, copy=False)
        return vector

    def edge_rows(self, user: int) -> NDArray[np.int32]:
        """Items that a user had an edge to in training, ascending."""
        of_user = slice(self.seen_indptr.item(user), self.seen_indptr.item(user + 1))
        rows = self.seen_items[of_user]
        if self.only_weight:  # then every pair is one
            return rows
        return rows[pair_weights(self.seen_types[of_user], self.type_weights) > 0]

    @property
    def only_weight(self) -> float | None:
        """What every known pair weighs, if all weigh the same, as is very often so; None: they do not."""
        weights = self.type_weights
        if self.seen_weights is not None or not weights or weights.count(weights[0]) != len(weights):
            return None
        return weights[0]

    @property
    def embedding_size(self) -> int:
        """D."""
        return int(self.item_vectors.shape[1])


def recent_popularity(snapshot: Snapshot, weights: Mapping[str, float], half_life_days: float) -> NDArray[np.float32]:
    """Users with an edge to each item, (I,), who count half for each such time since they last took it up."""
    keys = snapshot.user_rows.astype(np.int64) * len(snapshot.items) + snapshot.item_rows
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    if not len(starts):
        return np.zeros(len(snapshot.items), np.float32)
    is_edge = np.array([weights.get(name, 1.0) > 0 for name in snapshot.types])[snapshot.type_codes]
    shares = np.maximum.reduceat(np.where(is_edge, snapshot.shares_left(half_life_days), 0.0), starts)
    return np.bincount(snapshot.item_rows[starts], shares, len(snapshot.items)).astype(np.float32)


def no_item(items: NDArray[np.integer]) -> int:
    """What stands in such an array of items where there is none."""
    return int(np.iinfo(np.uint16).max) if items.dtype == np.uint16 else -1


def pair_weights(types: NDArray[np.uint32], type_weights: tuple[float, ...]) -> NDArray[np.float32]:
    """The largest weight among the types of each pair, (S,) bitmasks -> (S,) float32; 0 without any."""
    if len(type_weights) <= TABLED_TYPES:
        tabled: NDArray[np.float32] = _weight_table(type_weights)[types]
        return tabled
    return _pair_weights(types, type_weights)


@lru_cache(maxsize=8)
def _weight_table(type_weights: tuple[float, ...]) -> NDArray[np.float32]:
    """Of every bitmask."""
    return _pair_weights(np.arange(2 ** len(type_weights), dtype=np.uint32), type_weights)


def _pair_weights(types: NDArray[np.uint32], type_weights: tuple[float, ...]) -> NDArray[np.float32]:
    weights = np.zeros(len(types), np.float32)
    for code, weight in enumerate(type_weights):
        has = (types >> np.uint32(code)) & np.uint32(1)
        np.maximum(weights, has * np.float32(weight), out=weights)
    return weights


def data_fingerprint(snapshot: Snapshot) -> str:
    """SHA-256 of all data and words; equal for equal ones, whatever the order of the types."""
    digest = hashlib.sha256()
    names = sorted({snapshot.types[code] for code in np.unique(snapshot.type_codes)})
    codes = np.array([names.index(name) if name in names else 0 for name in snapshot.types] or [0], np.uint8)
    type_codes = codes[snapshot.type_codes]
    order = np.lexsort((type_codes, snapshot.item_rows, snapshot.user_rows))
    for ids in (snapshot.users.ids, snapshot.items.ids, names):
        text = "\n".join(ids).encode()  # no id has a line break
        digest.update(f"{len(ids)} {len(text)}\n".encode() + text)
    for column in (snapshot.user_rows, snapshot.item_rows, type_codes, snapshot.timestamps):
        _update(digest, column[order])
    for features in (snapshot.user_features, snapshot.item_features):
        _update(digest, features.rows)
        _update(digest, features.values)
    digest.update(f"{snapshot.half_life_days}".encode())
    for words in (snapshot.user_words, snapshot.item_words):
        if words is not None:
            digest.update(words.digest.encode())
    return digest.hexdigest()


def _update(digest: "hashlib._Hash", array: NDArray[np.generic]) -> None:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    digest.update(f"{little.dtype.str} {little.shape}\n".encode())
    digest.update(little.tobytes())


def _pairs(
    snapshot: Snapshot, weights: Mapping[str, float]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint32], NDArray[np.float32]]:
    """User row, item row, types and edge weight of each known pair, in order."""
    keys = snapshot.user_rows.astype(np.int64) * len(snapshot.items) + snapshot.item_rows
    starts = np.flatnonzero(np.diff(keys, prepend=-1))  # the snapshot is sorted by (user, item)
    if not len(starts):
        return np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.uint32), np.empty(0, np.float32)
    bits = np.uint32(1) << snapshot.type_codes.astype(np.uint32)
    types = np.bitwise_or.reduceat(bits, starts)
    edge_weights = np.maximum.reduceat(snapshot.edge_weights(weights), starts)
    return snapshot.user_rows[starts].astype(np.int64), snapshot.item_rows[starts], types, edge_weights
