"""Small models with random or given contents, without training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.artifact.arrays import ID_ARRAYS, USER_ARRAYS, first_users, to_arrays
from app.artifact.manifest import Description
from app.domain.contents import ArtifactContents
from app.domain.embeddings import Embeddings
from app.domain.interactions import Features, Snapshot
from app.domain.item_filter import ItemFilter
from app.domain.vocabulary import Vocabulary

WEIGHTS = {"enroll": 1.0, "like": 2.0, "drop": 0.0}
TYPES = tuple(WEIGHTS)

Key = tuple[str, str, str]  # user, course, type

DESCRIPTION = Description(
    model_id="m-000007",
    created_at=datetime(2026, 11, 24, 10, tzinfo=UTC),
    code_version="1.2.3",
    config={"n_layers": 2, "learning_rate": 0.01},
    seed=5,
    device="cpu",
    metrics={"model": {"recall@20": 0.4}, "popular": {"recall@20": 0.1}},
    losses=(0.7, 0.5),
    fence=3,
    run_id="r-000009",
)


def make_snapshot(
    users: Sequence[str], items: Sequence[str], keys: Iterable[Key], *, types: Sequence[str] = TYPES, time: int = 100
) -> Snapshot:
    """What the store gives for these records and interactions; all times are 0."""
    user_ids, item_ids = Vocabulary(sorted(users)), Vocabulary(sorted(items))
    rows = sorted({(user_ids.row(user), item_ids.row(item), types.index(type_)) for user, item, type_ in keys})
    columns = np.array(rows, np.int64).reshape(-1, 3)
    return Snapshot(
        cluster_time=time,
        users=user_ids,
        items=item_ids,
        user_rows=columns[:, 0].astype(np.int32),
        item_rows=columns[:, 1].astype(np.int32),
        type_codes=columns[:, 2].astype(np.uint8),
        timestamps=np.zeros(len(columns), np.int64),
        types=tuple(types),
        user_features=Features.none(),
        item_features=Features.none(),
    )


def random_embeddings(n_users: int, n_items: int, size: int, seed: int = 0) -> Embeddings:
    """Vectors with small whole numbers, so that scores are exact and ties happen."""
    rng = np.random.default_rng(seed)
    user, item, first = (rng.integers(-2, 3, (n, size)).astype(np.float32) for n in (n_users, n_items, n_items))
    return Embeddings(user, item, first)


def random_filter(n_items: int, seed: int = 0) -> ItemFilter:
    """A filter with small whole numbers, some entries and rows left out."""
    rng = np.random.default_rng(seed)
    dense = rng.integers(-2, 3, (n_items, n_items)) * (rng.random((n_items, n_items)) < 0.5)
    rows, items = np.nonzero(dense)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n_items))]).astype(np.int64)
    return ItemFilter(starts, items.astype(np.int32), dense[rows, items].astype(np.float32))


def dense_filter(contents: ArtifactContents) -> NDArray[np.float32]:
    """The filter of a model as a matrix, (I, I); zeros when it has none."""
    matrix = np.zeros((len(contents.items), len(contents.items)), np.float32)
    if contents.item_filter is not None:
        for row, (start, end) in enumerate(pairwise(contents.item_filter.starts.tolist())):
            matrix[row, contents.item_filter.items[start:end]] = contents.item_filter.values[start:end]
    return matrix


def make_contents(
    users: Sequence[str], items: Sequence[str], keys: Iterable[Key], *, size: int = 3, seed: int = 0, time: int = 100
) -> ArtifactContents:
    """Contents of a model of these records and interactions with random vectors and, for an odd seed, a filter."""
    snapshot = make_snapshot(users, items, keys, time=time)
    embeddings = random_embeddings(len(snapshot.users), len(snapshot.items), size, seed)
    item_filter = random_filter(len(snapshot.items), seed) if seed % 2 else None
    contents = ArtifactContents.from_snapshot(snapshot, WEIGHTS, embeddings, item_filter)
    contents.user_vectors[contents.user_degrees == 0] = 0.0  # as training leaves them
    return contents


def holding(contents: ArtifactContents, n: int) -> ArtifactContents:
    """The same model in a process that holds the first n users."""
    arrays = first_users(to_arrays(contents), n)
    held: dict[str, Any] = {name: arrays[name] for name in USER_ARRAYS if name in arrays and name not in ID_ARRAYS}
    return replace(contents, users=Vocabulary(contents.users.ids[:n]), holds_all_users=False, **held)


def light_gcn(
    snapshot: Snapshot,
    layer0: np.ndarray,
    n_layers: int,
    combination: str = "sum",
    weights: Mapping[str, float] = WEIGHTS,
) -> Embeddings:
    """Vectors of the snapshot's graph by dense matrices, layer by layer, from layer 0: (U + I, D), users first."""
    n_users = len(snapshot.users)
    adjacency = np.zeros((len(layer0), len(layer0)))
    for user, item, weight in zip(snapshot.user_rows, snapshot.item_rows, snapshot.edge_weights(weights), strict=True):
        adjacency[user, n_users + item] = adjacency[n_users + item, user] = max(weight, adjacency[user, n_users + item])
    degrees = adjacency.sum(axis=1)
    roots = np.sqrt(np.where(degrees > 0, degrees, 1.0))
    adjacency /= roots[:, None] * roots
    layers = [layer0.astype(np.float64)]
    for _ in range(n_layers):
        layers.append(adjacency @ layers[-1])
    scale = 1.0 if combination == "sum" else 1.0 / (n_layers + 1)
    vectors = scale * np.sum(layers, axis=0)
    messages = scale * np.sum([*layers[:-1], np.zeros_like(layer0)], axis=0)
    return Embeddings(
        user_vectors=vectors[:n_users].astype(np.float32),
        item_vectors=vectors[n_users:].astype(np.float32),
        initial_item=layer0[n_users:].astype(np.float32),
        item_messages=messages[n_users:].astype(np.float32),
        own_weight=scale,
    )


def light_gcn_contents(
    users: Sequence[str],
    items: Sequence[str],
    keys: Iterable[Key],
    *,
    n_layers: int = 2,
    combination: str = "sum",
    item_filter: ItemFilter | None = None,
) -> ArtifactContents:
    """Contents of a model that is propagated, not trained, from random vectors of size 4."""
    snapshot = make_snapshot(users, items, keys)
    layer0 = np.random.default_rng(7).normal(size=(len(users) + len(items), 4))
    embeddings = light_gcn(snapshot, layer0, n_layers, combination)
    return ArtifactContents.from_snapshot(snapshot, WEIGHTS, embeddings, item_filter)
