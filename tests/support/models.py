"""Small models with random or given contents, without training."""

from collections.abc import Iterable, Sequence
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
