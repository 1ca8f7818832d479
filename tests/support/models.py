"""Small models with random or given contents, without training."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from app.artifact.manifest import Description
from app.domain.contents import ArtifactContents
from app.domain.embeddings import Embeddings
from app.domain.interactions import Features, Snapshot
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


def make_contents(
    users: Sequence[str], items: Sequence[str], keys: Iterable[Key], *, size: int = 3, seed: int = 0, time: int = 100
) -> ArtifactContents:
    """Contents of a model of these records and interactions with random vectors."""
    snapshot = make_snapshot(users, items, keys, time=time)
    embeddings = random_embeddings(len(snapshot.users), len(snapshot.items), size, seed)
    return ArtifactContents.from_snapshot(snapshot, WEIGHTS, embeddings)


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
    users: Sequence[str], items: Sequence[str], keys: Iterable[Key], *, n_layers: int = 2, combination: str = "sum"
) -> ArtifactContents:
    """Contents of a model that is propagated, not trained, from random vectors of size 4."""
    snapshot = make_snapshot(users, items, keys)
    layer0 = np.random.default_rng(7).normal(size=(len(users) + len(items), 4))
    return ArtifactContents.from_snapshot(snapshot, WEIGHTS, light_gcn(snapshot, layer0, n_layers, combination))
