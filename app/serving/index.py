"""One immutable model, ready to be asked."""

from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.contents import ArtifactContents, pair_weights
from app.domain.vocabulary import Vocabulary

BLOCK_USERS = 2**16  # looked at at once: 16 MB of vectors


def blocks_of(n_users: int) -> Iterator[slice]:
    """Rows of users, some at a time."""
    return (slice(start, start + BLOCK_USERS) for start in range(0, n_users, BLOCK_USERS))


class LoadedModel(Protocol):
    """What an index is made of; ``artifact.load.Artifact`` is one."""

    @property
    def model_id(self) -> str:
        """Id under which it is published."""
        ...

    @property
    def contents(self) -> ArtifactContents:
        """The arrays, which may be mapped files."""
        ...


class ServingIndex:
    """Vectors, vocabularies and what was seen when the model was trained; nothing in it ever changes."""

    def __init__(self, model_id: str, contents: ArtifactContents) -> None:
        self.model_id = model_id
        self.contents = contents
        self.users: Vocabulary = contents.users
        self.items: Vocabulary = contents.items
        self.item_vectors = contents.item_vectors  # (I, D)
        self.item_filter = contents.item_filter
        self._degrees, self._starts = contents.user_degrees.data, contents.seen_indptr.data  # faster for one number
        self.is_partial = not contents.holds_all_users  # whether the model has more users than are known here
        self._asked: tuple[str | None, int | None] = None, None  # the last user, as a request asks several times

    @classmethod
    def from_artifact(cls, artifact: LoadedModel) -> "ServingIndex":
        """Index of a loaded artifact, whose mapped arrays it uses as they are."""
        return cls(artifact.model_id, artifact.contents)

    @cached_property
    def user_lengths(self) -> NDArray[np.float32]:
        """(U,) lengths of the users' vectors."""
        vectors = self.contents.user_vectors
        lengths = np.empty(len(vectors), np.float32)
        for part in blocks_of(len(vectors)):
            lengths[part] = np.linalg.norm(vectors[part].astype(np.float32, copy=False), axis=1)
        return lengths

    def user_products(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """(U,) inner products of the users' vectors with this one."""
        vectors = self.contents.user_vectors
        products = np.empty(len(vectors), np.float32)
        for part in blocks_of(len(vectors)):
            np.matmul(vectors[part].astype(np.float32, copy=False), vector, out=products[part])
        return products

    @cached_property
    def longest_item(self) -> float:
        """Length of the longest of the items' vectors."""
        return float(np.sqrt(np.einsum("id,id->i", self.item_vectors, self.item_vectors).max(initial=0.0)))

    @cached_property
    def score_moments(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation of each user's scores of all items, (U,) each."""
        users, items = self.contents.user_vectors, self.contents.item_vectors
        centred = items - items.mean(axis=0)
        covariance = centred.T @ centred / max(len(items), 1)  # (D, D)
        variances = np.empty(len(users), np.float32)
        for part in blocks_of(len(users)):
            some = users[part].astype(np.float32, copy=False)
            variances[part] = np.einsum("ud,ud->u", some @ covariance, some)
        deviations: NDArray[np.float32] = np.sqrt(np.maximum(variances, np.finfo(np.float32).tiny))
        return self.user_products(items.mean(axis=0)), deviations

    def user_row(self, user_id: str) -> int | None:
        """Row of a user with a vector that means something; without an edge one may have it from content, or zeros."""
        row = self._row(user_id)
        if row is None or (not self.has_edges(row) and not self.contents.user_vectors[row].any()):
            return None
        return row

    def has_edges(self, row: int) -> bool:
        """Whether the user in a row had an edge in training."""
        return bool(self._degrees[row] > 0)

    def _row(self, user_id: str) -> int | None:
        asked, row = self._asked
        if asked != user_id:
            row = self.users.row(user_id)
            self._asked = user_id, row
        return row

    def seen_items(self, user_id: str) -> NDArray[np.int32]:
        """Rows of the items that the user had seen, ascending; none for an unknown user.

        Raises LookupError, as do the next ones, when it is not known whether the user is.
        """
        return self.contents.seen_items[self._seen(user_id)]

    def seen_types(self, user_id: str) -> NDArray[np.uint32]:
        """What the user had done with each of ``seen_items``; bit t stands for ``contents.types[t]``."""
        return self.contents.seen_types[self._seen(user_id)]

    def trained_weights(self, user_id: str) -> NDArray[np.float64]:
        """Edge weights of ``seen_items`` in training; 0: no edge."""
        seen, contents = self._seen(user_id), self.contents
        if contents.seen_weights is not None:
            return contents.seen_weights[seen].astype(np.float64)
        return pair_weights(contents.seen_types[seen], contents.type_weights).astype(np.float64)

    def seen_pair(self, user_id: str, course_id: str) -> int:
        """What the user had done with one course, as a bitmask; 0: nothing, or the model does not know them."""
        row = self.items.row(course_id)
        if row is None:
            return 0
        items = self.seen_items(user_id)
        place = int(np.searchsorted(items, row))
        return int(self.seen_types(user_id)[place]) if place < len(items) and items[place] == row else 0

    def _seen(self, user_id: str) -> slice:
        row = self._row(user_id)
        if row is None:
            if self.is_partial:  # rather than a list with what she has taken
                raise LookupError(f"nothing is known here of user {user_id}")
            return slice(0)
        return slice(self._starts[row], self._starts[row + 1])
