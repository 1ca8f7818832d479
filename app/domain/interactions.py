"""What the worker reads from the database at once: the input of one retrain."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.vocabulary import Vocabulary
from app.domain.words import Words

DAY_MS = 86_400_000
LEAST_SHARE = 2.0**-20  # of its weight that an old interaction keeps; less would vanish beside new ones in 32 bits


@dataclass(frozen=True, slots=True)
class Features:
    """Content vectors of those rows that have one.

    rows: (F,) int32, ascending.  values: (F, C) float32, finite.  F may be 0, then C is 0 too.
    """

    rows: NDArray[np.int32]
    values: NDArray[np.float32]

    @classmethod
    def none(cls) -> "Features":
        """No row has features."""
        return cls(np.empty(0, np.int32), np.empty((0, 0), np.float32))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All users, courses and interactions, read once.

    cluster_time: MongoDB's time just before the read began (seconds << 32 | increment); replaying the
    changes from there over the snapshot gives the present state.
    user_rows, item_rows: (E,) int32, one entry a stored (user, course, type), sorted by (user, item).
    type_codes: (E,) uint8, index into ``types``.  timestamps: (E,) int64, milliseconds since 1970 UTC.
    half_life_days: after so long an interaction weighs half; None: it weighs the same for ever.
    user_words, item_words: of all rows; None when they were not read, because nothing needs them.
    """

    cluster_time: int
    users: Vocabulary
    items: Vocabulary
    user_rows: NDArray[np.int32]
    item_rows: NDArray[np.int32]
    type_codes: NDArray[np.uint8]
    timestamps: NDArray[np.int64]
    types: tuple[str, ...]
    user_features: Features
    item_features: Features
    user_words: Words | None = None
    item_words: Words | None = None
    half_life_days: float | None = None

    def edge_weights(self, weights: Mapping[str, float]) -> NDArray[np.float32]:
        """Weight of each entry's type, (E,), less with its age; a type without a weight counts 1 (accepted once)."""
        table = np.array([weights.get(name, 1.0) for name in self.types], np.float32)
        own = table[self.type_codes] if len(self.type_codes) else np.empty(0, np.float32)
        return own if self.half_life_days is None else own * self.shares_left(self.half_life_days)

    def shares_left(self, half_life_days: float) -> NDArray[np.float32]:
        """2^(-age / half-life), (E,); ages are counted from the newest entry that is not of the future.

        What factor all weights have in common does not matter: normalisation takes it out.  LEAST_SHARE keeps the
        oldest edges, and whoever has no others, in the graph.
        """
        now = ((self.cluster_time >> 32) + 1) * 1000  # the end of that second
        past = self.timestamps[self.timestamps <= now]
        newest = past.max() if len(past) else now
        ages = np.maximum(newest - self.timestamps, 0) / (half_life_days * DAY_MS)
        shares: NDArray[np.float32] = np.maximum(np.exp2(-ages), LEAST_SHARE).astype(np.float32)
        return shares
