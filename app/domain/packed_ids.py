"""Many ids as two arrays, which may be mapped files that processes share, and still found by name."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import overload
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

BLOCK_IDS = 2**16  # as Python's numbers at once
CONTINUES, CONTINUED = 0xC0, 0x80  # bits of a byte in UTF-8 that begins no character


class PackedIds(Sequence[str]):
    """Ids in row order.  A list and a dict of 100,000 take 20 MB of each process; this takes 1 MB, and 1 us to look up.

    blob: (B,) uint8, UTF-8 of all ids.  offsets: (N + 1,) int64, where they begin and end.
    Raises ValueError when these are no such arrays, or an id is there twice.
    """

    def __init__(self, blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(blob) or (np.diff(offsets) < 0).any():
            raise ValueError("the offsets do not fit the text")
        text = blob.tobytes()
        text.decode()  # whether it can be
        if ((blob[offsets[:-1][np.diff(offsets) > 0]] & CONTINUES) == CONTINUED).any():
            raise ValueError("an id begins in the middle of a character")
        hashes = np.empty(len(offsets) - 1, np.uint32)
        for first in range(0, len(hashes), BLOCK_IDS):
            block = hashes[first : first + BLOCK_IDS]
            bounds = pairwise(offsets[first : first + len(block) + 1].tolist())
            block[:] = np.fromiter((crc32(text[start:end]) for start, end in bounds), np.uint32, len(block))
        self._blob, self._offsets = blob.data, offsets.data
        # A hash table: rows by the last bits of their hashes, and where those of each begin.
        self._mask = (1 << max(len(hashes) - 1, 1).bit_length()) - 1
        buckets = hashes & np.uint32(self._mask)
        rows = np.lexsort((hashes, buckets)).astype(np.int32)
        starts = np.concatenate([[0], np.cumsum(np.bincount(buckets, minlength=self._mask + 1))]).astype(np.int32)
        self._rows, self._starts = rows.data, starts.data
        alike = np.flatnonzero(hashes[rows][1:] == hashes[rows][:-1])  # few, and mostly different ids all the same
        suspects = [self[row] for row in rows[np.union1d(alike, alike + 1)].tolist()]
        if len(set(suspects)) != len(suspects):
            raise ValueError("a vocabulary holds an id twice")

    def get(self, id_: str, default: int | None = None) -> int | None:
        """Row of an id."""
        key = id_.encode(errors="surrogatepass")
        bucket = crc32(key) & self._mask
        for place in range(self._starts[bucket], self._starts[bucket + 1]):
            row: int = self._rows[place]
            if self._blob[self._offsets[row] : self._offsets[row + 1]] == key:
                return row
        return default

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, str) and self.get(id_) is not None

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        place = row + len(self) if row < 0 else row
        if not 0 <= place < len(self):
            raise IndexError(row)
        return str(self._blob[self._offsets[place] : self._offsets[place + 1]], "utf-8")

    def __iter__(self) -> Iterator[str]:
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and [*self] == [*other]

    __hash__ = None  # type: ignore[assignment]  # as of a list


def pack_ids(ids: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """UTF-8 of all ids in one (B,) uint8, and the (len + 1,) int64 offsets at which they begin and end."""
    encoded = [id_.encode() for id_ in ids]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(id_) for id_ in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets
