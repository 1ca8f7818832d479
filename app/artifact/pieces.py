"""The files of a model that have a row for each user, written by whoever has the vectors of some users.

Several write pieces of the same files, each of its own range of users; one after the other these are the ``.npy`` files
that are mapped in serving.  One who has all users writes them in one piece.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from app.artifact.arrays import Array, file_name
from app.artifact.manifest import FileFacts, Piece
from app.artifact.top_lists import Taken, item_dtype, list_length, scored_length, top_lists
from app.domain.item_filter import ItemFilter

BLOCK_BYTES = 2**20  # written at once


class Target(Protocol):
    """A file that is written from its beginning to its end."""

    def write(self, data: bytes, /) -> object:
        """Add the bytes."""
        ...


class Digesting:
    """A target of which the digest and the size are known when all is written."""

    def __init__(self, target: Target) -> None:
        self._target, self._digest, self.size_bytes = target, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        """As a file does."""
        self._digest.update(data)
        self._target.write(data)
        self.size_bytes += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        """Of all that was written."""
        return self._digest.hexdigest()


class Form(NamedTuple):
    """The whole array of a file."""

    shape: tuple[int, ...]
    dtype: str


def forms_of_users(n_users: int, n_items: int, size: int, *, half: bool) -> dict[str, Form]:
    """By name: the arrays that have a row for each of all users.  size: numbers of a vector, of 16 bits if ``half``."""
    forms = {"user_vectors": Form((n_users, size), "<f2" if half else "<f4")}
    length = list_length(n_users, n_items, n_users * size * (2 if half else 4))
    if length:
        forms["top_items"] = Form((n_users, length), item_dtype(n_items).newbyteorder("<").str)
        forms["top_scores"] = Form((n_users, scored_length(length)), "<f4")
        forms["top_lasts"] = Form((n_users,), "<f4")
    return forms


def write_pieces(
    targets: Mapping[str, Target],
    forms: Mapping[str, Form],
    vectors: NDArray[np.float32] | NDArray[np.float16],
    taken: Taken,
    item_vectors: NDArray[np.float32],
    *,
    item_filter: ItemFilter | None,
    first: bool,
    should_stop: Callable[[], None] = lambda: None,
) -> dict[str, Piece]:
    """Write the rows of some users, (u, D) ``vectors``, and make their lists on the way.

    targets: one for each of the forms.  first: whether these are the first users, whose pieces begin the files.
    should_stop: called after each block; may raise.
    """
    digesting = {name: Digesting(targets[name]) for name in forms}
    for name, form in forms.items() if first else ():
        header = {"descr": form.dtype, "fortran_order": False, "shape": form.shape}
        np.lib.format.write_array_header_1_0(digesting[name], header)

    def add(name: str, rows: Array) -> None:
        data = np.ascontiguousarray(rows, forms[name].dtype).reshape(-1).view(np.uint8)
        for start in range(0, len(data), BLOCK_BYTES):
            digesting[name].write(data[start : start + BLOCK_BYTES].tobytes())

    for block in _blocks(vectors):
        add("user_vectors", block)
        should_stop()
    if "top_items" in forms:
        length = forms["top_items"].shape[1]
        for lists in top_lists(vectors, taken, item_vectors, item_filter, length):
            add("top_items", lists.items)
            add("top_scores", lists.scores)
            add("top_lasts", lists.lasts)
            should_stop()
    return {name: Piece(own.sha256, own.size_bytes, len(vectors)) for name, own in digesting.items()}


def _blocks(vectors: Array) -> Iterator[Array]:
    step = max(1, BLOCK_BYTES // max(vectors[:1].nbytes, 1))
    return (vectors[start : start + step] for start in range(0, len(vectors), step))


def facts_of(forms: Mapping[str, Form], pieces: Sequence[Mapping[str, Piece]]) -> dict[str, FileFacts]:
    """Of the files whose pieces these are, by file.  pieces: of one range of users after the other, by name."""
    return {
        file_name(name): FileFacts.of_pieces([piece[name] for piece in pieces], form.shape, form.dtype)
        for name, form in forms.items()
    }
