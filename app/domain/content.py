"""From what a record says of itself to a vector: learned by the worker, used by the API for what is newer."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.words import Words, count_tokens

BLOCK = 500  # records at once, some 100 MB when their texts are long


@dataclass(frozen=True, slots=True)
class Encoder:
    """Words in S numbers: tokens weighted by (1 + log count) * rarity, and reduced to their main directions.

    tokens: (F,) uint32, ascending, at least one.  rarities: (F,) float32.  directions: (F, S) float32.
    """

    tokens: NDArray[np.uint32]
    rarities: NDArray[np.float32]
    directions: NDArray[np.float32]

    def encode(self, words: Words) -> NDArray[np.float32]:
        """(R, S) float32 of length 1; zeros for a record without a known token."""
        total = np.zeros((len(words), self.directions.shape[1]), np.float32)
        for start in range(0, len(words), BLOCK):
            self._add(total[start : start + BLOCK], words.part(start, start + BLOCK))
        return unit_rows(total)

    def _add(self, total: NDArray[np.float32], words: Words) -> None:
        found = count_tokens(words)
        places = np.minimum(np.searchsorted(self.tokens, found.tokens), len(self.tokens) - 1)
        known = self.tokens[places] == found.tokens
        rows, places = found.rows[known], places[known]
        weights = (1.0 + np.log(found.counts[known])) * self.rarities[places]  # (T,)
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        if len(starts):
            total[rows[starts]] = np.add.reduceat(weights[:, None] * self.directions[places], starts)


@dataclass(frozen=True, slots=True)
class ContentMap:
    """A ridge regression from encoded words to trained item vectors.

    weights: (S, D) float32.  offset: (D,) float32.
    """

    encoder: Encoder
    weights: NDArray[np.float32]
    offset: NDArray[np.float32]

    def vectors(self, words: Words) -> NDArray[np.float32]:
        """(R, D) float32; zeros for a record without a known token, which is then neither liked nor disliked."""
        encoded = self.encoder.encode(words)
        vectors: NDArray[np.float32] = encoded @ self.weights + self.offset
        vectors[~encoded.any(axis=1)] = 0.0
        return vectors


def unit_rows(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; rows of zeros stay."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    units: NDArray[np.float32] = np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)
    return units
