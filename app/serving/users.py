"""Vectors of users as they are now."""

import numpy as np
from numpy.typing import NDArray

from app.domain.contents import ArtifactContents
from app.serving.fold_in import VectorParts, known_parts, moved_vector, new_parts, trained_parts
from app.serving.index import ServingIndex
from app.serving.options import Source
from app.serving.overlay import Overlay, Taken


class UserVector:
    """vector: (D,).  source: the model's own, corrected when the user's edges changed, or made from these alone.

    row: of the model, when the vector is as it was trained; None: it is another.
    """

    __slots__ = ("_contents", "_vector", "row", "source")
    _contents: ArtifactContents

    def __init__(self, source: Source, vector: NDArray[np.float32]) -> None:
        self.source, self._vector = source, vector
        self.row: int | None = None

    @classmethod
    def trained(cls, contents: ArtifactContents, row: int, source: Source) -> "UserVector":
        """Of a user of the model, whose vector is read when it is looked at: a ready list needs none."""
        user = cls.__new__(cls)
        user._contents, user.row, user.source = contents, row, source
        return user

    @property
    def vector(self) -> NDArray[np.float32]:
        """The vector."""
        return self._vector if self.row is None else self._contents.user_vector(self.row)


class UserVectors:
    """Of whom nothing was told since the snapshot, the model's vector; others are folded in, once for each change.

    A model without messages (see Embeddings) has its trained vectors only.
    """

    def __init__(self, index: ServingIndex, overlay: Overlay) -> None:
        self._index, self._overlay = index, overlay
        self._folded: dict[str, tuple[Taken, UserVector | None]] = {}  # no more than the overlay has users

    def get(self, user_id: str) -> UserVector | None:
        """None when nothing is known that a vector could be made of."""
        if not self._overlay.touched(user_id):
            return self._trained(self._index.user_row(user_id))
        taken = self._overlay.taken(user_id)
        kept = self._folded.get(user_id)
        if kept is None or kept[0] is not taken:
            kept = self._folded[user_id] = taken, self._fold_in(user_id)
        return kept[1]

    def part(self, user_id: str) -> None:
        """Keep nothing of a user."""
        self._folded.pop(user_id, None)

    def edge_rows(self, user_id: str) -> NDArray[np.int32]:
        """Items of the model that the user has an edge to now, ascending: what an item filter starts from."""
        row = self._trained_row(user_id)
        if row is not None and not self._overlay.touched(user_id):
            return self._index.contents.edge_rows(row)
        return self._overlay.edges(user_id).rows

    def parts(self, user_id: str) -> VectorParts | None:
        """The vector as a sum over the user's edges; None when there is none, or the model does not tell."""
        contents, row = self._index.contents, self._trained_row(user_id)
        if contents.item_messages is None:
            return None
        if row is not None and not self._overlay.touched(user_id):
            return trained_parts(contents, row)
        edges = self._overlay.edges(user_id)
        if row is not None:
            return known_parts(contents, row, edges)
        return new_parts(contents, edges) if len(edges.rows) else None

    def _fold_in(self, user_id: str) -> UserVector | None:
        row, contents = self._trained_row(user_id), self._index.contents
        if contents.item_messages is None:
            return self._trained(row)
        if row is None:
            edges = self._overlay.edges(user_id)
            return UserVector("fold_in", new_parts(contents, edges).vector) if len(edges.rows) else None
        change = self._overlay.edge_change(user_id)
        source: Source = "model" if contents.user_degrees[row] > 0 else "fold_in" if change.now.any() else "content"
        return UserVector(source, moved_vector(contents, row, change))

    def _trained(self, row: int | None) -> UserVector | None:
        if row is None:
            return None
        return UserVector.trained(self._index.contents, row, "model" if self._index.has_edges(row) else "content")

    def _trained_row(self, user_id: str) -> int | None:
        return None if self._overlay.forgotten(user_id) else self._index.user_row(user_id)
