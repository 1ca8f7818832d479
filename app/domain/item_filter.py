"""A sparse item-item matrix that adds to a score what the items a user took say directly of an item."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """F of s_ui = e_u . e_i + sum_j F_ji over the user's edges j, (I, I) as the rows of a CSR.

    starts: (I + 1,) int64.  items: (Z,) int32, ascending in a row.  values: (Z,) float32.
    """

    starts: NDArray[np.int64]
    items: NDArray[np.int32]
    values: NDArray[np.float32]

    @property
    def n_items(self) -> int:
        """I."""
        return len(self.starts) - 1

    def entries(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Items and values of all entries of these rows, one row after the other."""
        starts, ends = self.starts[rows].tolist(), self.starts[1:][rows].tolist()
        parts = [slice(*bounds) for bounds in zip(starts, ends, strict=True)]
        if not parts:
            return self.items[:0], self.values[:0]
        return np.concatenate([self.items[part] for part in parts]), np.concatenate(
            [self.values[part] for part in parts]
        )

    def scores(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """What the items in ``rows`` (S,) add to the score of each item, (I,)."""
        items, values = self.entries(rows)
        return np.bincount(items, values, self.n_items).astype(np.float32)

    def scores_of(self, rows: NDArray[np.integer], targets: NDArray[np.integer]) -> NDArray[np.float32]:
        """The same for a few items only, (C,), which are there once each."""
        places = np.full(self.n_items, len(targets), np.intp)
        places[targets] = np.arange(len(targets))
        items, values = self.entries(rows)
        return np.bincount(places[items], values, len(targets) + 1)[:-1].astype(np.float32)

    def column(self, item: int) -> NDArray[np.float32]:
        """What each item adds to the score of this one, (I,); a look at all entries, 10 ms for ten million."""
        places = np.flatnonzero(self.items == item)
        column = np.zeros(self.n_items, np.float32)
        column[np.searchsorted(self.starts, places, side="right") - 1] = self.values[places]
        return column

    def contributions(
        self, rows: NDArray[np.integer], targets: Sequence[int] | NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """F_ji of each j in ``rows`` (S,) and i in ``targets`` (C,), (S, C); 0 for a target from I on.

        Targets below I are there once each.
        """
        wanted = np.asarray(targets, np.int64)
        result = np.zeros((len(rows), len(wanted)))
        is_item = wanted < self.n_items
        columns = np.full(self.n_items, -1, np.int32)
        columns[wanted[is_item]] = np.flatnonzero(is_item)
        items, values = self.entries(rows)
        found = columns[items]  # column of each entry
        places = np.flatnonzero(found >= 0)
        ends = np.cumsum(self.starts[1:][rows] - self.starts[rows])
        result[ends.searchsorted(places, side="right"), found[places]] = values[places]
        return result
