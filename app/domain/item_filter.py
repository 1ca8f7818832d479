"""A sparse item-item matrix that adds to a score what the items a user took say directly of an item."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BYTES = np.arange(1, 256, dtype=np.uint8)
MOST_PADDED = 2  # times the entries themselves


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """F of s_ui = e_u . e_i + sum_j F_ji over the user's edges j, (I, I) as the rows of a CSR.

    starts: (I + 1,) int64.  items: (Z,) int32, ascending in a row.  values: (Z,) float32.
    sources, weights: the same by target, see ``by_target``; None: not made.
    """

    starts: NDArray[np.int64]
    items: NDArray[np.int32]
    values: NDArray[np.float32]
    sources: NDArray[np.uint16] | NDArray[np.int32] | None = None
    weights: NDArray[np.float32] | None = None

    @property
    def n_items(self) -> int:
        """I."""
        return len(self.starts) - 1

    def row(self, item: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Items and values of the entries of one row."""
        part = slice(self.starts.item(item), self.starts.item(item + 1))
        return self.items[part], self.values[part]

    def scores(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """What the items in ``rows`` (S,) add to the score of each item, (I,)."""
        if not len(rows):
            return np.zeros(self.n_items, np.float32)
        items, values = map(np.concatenate, zip(*map(self.row, rows.tolist()), strict=True))
        return np.bincount(items, values, self.n_items).astype(np.float32)

    def scores_of(self, rows: NDArray[np.integer], targets: NDArray[np.integer]) -> NDArray[np.float32]:
        """The same for a few items only, (C,), which are there once each."""
        if self.sources is None or self.weights is None or len(rows) < len(targets):
            _, columns, values = self._among_rows(rows, np.asarray(targets, np.intp))
            return np.bincount(columns, values, len(targets)).astype(np.float32)
        taken = np.zeros(self.n_items + 1, np.float32)
        taken[rows] = 1.0
        of_taken = taken.take(self.sources.take(targets, axis=0))  # (C, W)
        scores: NDArray[np.float32] = np.einsum("cw,cw->c", of_taken, self.weights.take(targets, axis=0))
        return scores

    def column(self, item: int) -> NDArray[np.float32]:
        """What each item adds to the score of this one, (I,); a look at all entries, 10 ms for ten million."""
        places = np.flatnonzero(self.items == item)
        column = np.zeros(self.n_items, np.float32)
        column[np.searchsorted(self.starts, places, side="right") - 1] = self.values[places]
        return column

    def contributions(
        self, rows: NDArray[np.integer], targets: Sequence[int] | NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """F_ji of each j in ``rows`` (S,) and i in ``targets`` (C,), (S, C); 0 for a target from I on.

        Targets below I are there once each.
        """
        result = np.zeros((len(rows), len(targets)), np.float32)
        places, columns, values = self._among(rows, targets)
        result[places, columns] = values
        return result

    def by_target(self) -> tuple[NDArray[np.uint16] | NDArray[np.int32], NDArray[np.float32]] | None:
        """For each item i all j with an entry F_ji, (I, W), and these entries; I and 0 where a row has fewer than W.

        In them what a few items get is found without a look at all that the taken ones give.  None when some items
        have so many more than others that it would take more than MOST_PADDED times the room.
        """
        counts = np.bincount(self.items, minlength=self.n_items)
        width = int(counts.max(initial=0))
        if not width or width * self.n_items > MOST_PADDED * len(self.items):
            return None
        order = np.argsort(self.items, kind="stable")
        targets = self.items[order]
        places = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        dtype = np.uint16 if self.n_items <= np.iinfo(np.uint16).max else np.int32
        sources = np.full((self.n_items, width), self.n_items, dtype)
        weights = np.zeros((self.n_items, width), np.float32)
        sources[targets, places] = np.repeat(np.arange(self.n_items), np.diff(self.starts))[order]
        weights[targets, places] = self.values[order]
        return sources, weights

    def _among(
        self, rows: NDArray[np.integer], targets: Sequence[int] | NDArray[np.integer]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Of the entries of ``rows`` in ``targets``: places in the one and in the other, and values."""
        wanted = np.asarray(targets, np.intp)
        if self.sources is None or self.weights is None or len(rows) < len(wanted):
            return self._among_rows(rows, wanted)
        try:
            sources = self.sources.take(wanted, axis=0)  # (C, W)
        except IndexError:  # some are no items of the model
            return self._among_rows(rows, wanted)
        found = _marks(self.n_items, rows).take(sources.ravel())
        hits = (found != 0).nonzero()[0]
        values = self.weights.take(wanted, axis=0).ravel().take(hits)
        return found.take(hits) - 1, hits // sources.shape[1], values

    def _among_rows(
        self, rows: NDArray[np.integer], targets: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """The same by a look at all entries of the rows."""
        marks = _marks(self.n_items, np.minimum(targets, self.n_items))
        starts, ends = self.starts.take(rows), self.starts[1:].take(rows)
        parts = [self.items[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        found = marks.take(np.concatenate(parts)) if parts else marks[:0]
        hits = (found != 0).nonzero()[0]
        until = np.cumsum(ends - starts)
        places = until.searchsorted(hits, side="right")
        return places, found[hits] - 1, self.values.take(hits + (ends - until).take(places))


def _marks(n_items: int, rows: NDArray[np.integer]) -> NDArray[np.integer]:
    """One more than the place of each item in ``rows``, 0 where it has none, (I + 1,); whatever for I itself."""
    numbers: NDArray[np.integer] = BYTES[: len(rows)] if len(rows) <= len(BYTES) else np.arange(1, len(rows) + 1)
    marks = np.zeros(n_items + 1, numbers.dtype)
    marks[rows] = numbers
    return marks
