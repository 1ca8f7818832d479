"""Layer 0 that training starts from, made for some of the users at a time: of all of them it is large."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.interactions import Features
from app.graph.bipartite import BipartiteGraph
from app.graph.content import Content
from app.graph.initial import fit_features
from app.graph.normalise import normalised_user_items
from app.graph.spectral import inverse_of, right_singular_vectors
from app.training.config import Recipe

NOISE = 0.1  # of the spectral start, so that the directions it lacks can be learned
BLOCK_ROWS = 16_384  # drawn one after the other; each block has a generator of its own
USERS, ITEMS = range(2)

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class StartVectors:
    """Layer 0 of a graph, see ``Layer0``; the same bits however many users are made at a time.

    told: of users, and of items, those that start from content, (F, D).  directions: (I, r), the spectral start of
    items, and of what users receive theirs, ``sent``; of no numbers, then nodes start at random.
    """

    graph: BipartiteGraph
    recipe: Recipe
    told: tuple[Features, Features]
    directions: Vectors
    sent: Vectors

    @property
    def shape(self) -> tuple[int, int]:
        """See ``Layer0``."""
        return self.graph.n_nodes, self.recipe.embedding_size

    def whole(self) -> Vectors:
        """See ``Layer0``."""
        return self.part(0, self.graph.n_users)

    def part(self, low: int, high: int) -> Vectors:
        """See ``Layer0``."""
        vectors = np.empty((high - low + self.graph.n_items, self.shape[1]), np.float32)
        users, items = vectors[: high - low], vectors[high - low :]
        for first, last in _blocks(low, high):
            received: Vectors | None = None
            if self.sent.size:
                received = normalised_user_items(self.graph, first, last) @ self.sent
            self._fill(users[first - low : last - low], USERS, self.graph.n_users, first, received)
        for first, last in _blocks(0, self.graph.n_items):
            own = self.directions[first:last] if self.directions.size else None
            self._fill(items[first:last], ITEMS, self.graph.n_items, first, own)
        return vectors

    def _fill(self, rows: Vectors, side: int, n_rows: int, first: int, directions: Vectors | None) -> None:
        """Rows from ``first`` on of one side, all of one block."""
        place, skipped = divmod(first, BLOCK_ROWS)
        rng, shape = np.random.default_rng([self.recipe.seed, side, place]), (skipped + len(rows), rows.shape[1])
        if directions is None:
            bound = np.sqrt(6.0 / (n_rows + shape[1]))
            rows[:] = rng.uniform(-bound, bound, shape)[skipped:]
        else:
            rows[:] = rng.standard_normal(shape, np.float32)[skipped:] * np.float32(NOISE * self.recipe.start_rms)
            rows[:, : directions.shape[1]] += directions
        told = self.told[side]
        some = slice(*np.searchsorted(told.rows, [first, first + len(rows)]))
        rows[told.rows[some] - first] = told.values[some]

    def tables(self) -> Iterator[NDArray[Any]]:
        """See ``Layer0``."""
        yield from (self.directions, self.sent)
        for told in self.told:
            yield from (told.rows, told.values)


def start_vectors(
    graph: BipartiteGraph,
    recipe: Recipe,
    user_features: Features,
    item_features: Features,
    *,
    user_content: Content | None = None,
    item_content: Content | None = None,
) -> StartVectors:
    """Layer 0 to train from.

    Nodes with features start from them, the others as the recipe says: from the singular vectors of N, of rms
    ``start_rms`` with noise, or drawn uniformly from +-sqrt(6 / (rows + D)) (Glorot and Bengio 2010, "Xavier").  Where
    that is at random, or a node has no edge, from what its words say.
    """
    rng = np.random.default_rng(recipe.seed)
    spectral = recipe.start == "spectral" and graph.n_edges > 0
    told = [
        _told(features, content, (degrees > 0) & spectral, recipe.embedding_size, rng)
        for features, content, degrees in (
            (user_features, user_content, graph.user_degrees),
            (item_features, item_content, graph.item_degrees),
        )
    ]
    right, sent = np.empty((2, graph.n_items, 0), np.float32)
    if spectral and sum(len(features.rows) for features in told) < graph.n_nodes:
        values, right = right_singular_vectors(normalised_user_items(graph), recipe.embedding_size, rng)
        inverse = inverse_of(values)
        # The columns on both sides together: those of users are of length 1 too, but of those without a value.
        squares = right.shape[1] + np.count_nonzero(inverse)
        right *= np.float32(recipe.start_rms / np.sqrt(squares / (graph.n_nodes * right.shape[1])))
        sent = right * inverse
    return StartVectors(graph, recipe, (told[USERS], told[ITEMS]), right, sent)


def _told(
    features: Features, content: Content | None, otherwise: NDArray[np.bool_], size: int, rng: np.random.Generator
) -> Features:
    """Rows of one side that start from their features or else, unless they start from elsewhere, from their words."""
    rows: Sequence[NDArray[np.int32]] = [features.rows]
    values: Sequence[Vectors] = [fit_features(features.values, size, rng)] if len(features.rows) else []
    if content is not None and content.encoder is not None:
        words = content.of_words()
        speaking = words.any(axis=1) & ~otherwise
        speaking[features.rows] = False
        if speaking.any():
            rows = [*rows, np.flatnonzero(speaking).astype(np.int32)]
            values = [*values, fit_features(words[speaking], size, rng)]
    if not values:
        return Features(np.empty(0, np.int32), np.empty((0, size), np.float32))
    told, vectors = np.concatenate(rows), np.concatenate(values)
    order = np.argsort(told)
    return Features(told[order], vectors[order])


def _blocks(low: int, high: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows of one block each."""
    for block in range(low - low % BLOCK_ROWS, high, BLOCK_ROWS):
        yield max(block, low), min(block + BLOCK_ROWS, high)
