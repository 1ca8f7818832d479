"""The users' vectors after a fit, each range of users at the rank that learned them.

Nobody needs all of them at once.  What is asked of them are the rows of a few, sums over all, and changes of each by
itself; the first rank asks, and one that trains alone does so of itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from app.graph.normalise import normalised_user_items
from app.training.checkpoint import Array, Checkpoint
from app.training.filters import taken_items
from app.training.part import Owned, Part
from app.training.ranks import Ranks

LARGEST_HALF = 60_000.0  # float16 ends at 65,504
BLOCK_ROWS = 65_536  # in 64 bits at once
WHAT = "of users"  # in a request: what is asked of them

Rows = NDArray[np.int64]


class Sums(NamedTuple):
    """Over all users, in 64 bits.  total: (D,) E'1.  products: (D, D) E'E.  received: (I, D) R'E, R 1 where taken."""

    total: NDArray[np.float64]
    products: NDArray[np.float64]
    received: NDArray[np.float64]


class SomeUsers(Protocol):
    """Vectors that can be asked for."""

    def rows(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Vectors of these users, (n, D), in this order."""
        ...

    def sums(self) -> Sums:
        """Over all users."""
        ...


class Users:
    """The users' vectors of the latest fit that left them with the ranks; asked by the first.

    owned: those of this rank.  All of these raise RankLostError.
    """

    def __init__(self, ranks: Ranks, owned: Owned) -> None:
        self._ranks, self.own = ranks, owned.part
        self.bounds = np.concatenate([[0], np.cumsum(owned.counts)])

    def __len__(self) -> int:
        return int(self.bounds[-1])

    @property
    def size(self) -> int:
        """D."""
        return int(self.own.vectors.shape[1])

    def rows(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """See ``SomeUsers``."""
        order = np.argsort(rows, kind="stable")
        requests: list[Mapping[str, Array]] = [{"rows": own} for own in self._divided(rows[order])]
        _, found = self._ask("rows", requests)
        result = np.empty((len(rows), self.size), np.float32)
        result[order] = found["vectors"].reshape(len(rows), self.size)
        return result

    def sums(self, *, received: bool = True) -> Sums:
        """See ``SomeUsers``.  received: whether R'E, which is large, is wanted; else it has no rows."""
        values, found = self._ask("sums", [{}] * self._ranks.size, received=received)
        total, products, of_items = (found[name].reshape(len(values), -1).sum(axis=0) for name in Sums._fields)
        return Sums(total, products.reshape(self.size, self.size), of_items.reshape(-1, self.size))

    def own_regression(
        self, sent: NDArray[np.float32], messages: NDArray[np.float32], item_degrees: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """X'X (S, S) and X'Y (S, D) over all users, in 64 bits: X = N sent, and Y = e_u - N messages their own parts.

        sent: (I, S), messages: (I, D), N the normalised edges.  item_degrees: (I,), of all users' edges.
        """
        tables: Mapping[str, Array] = {"sent": sent, "messages": messages, "item_degrees": item_degrees}
        values, found = self._ask("own", [tables] * self._ranks.size)
        squares, products = (found[name].reshape(len(values), sent.shape[1], -1).sum(axis=0) for name in found)
        return squares, products

    def few(self, rows: NDArray[np.integer]) -> "FewUsers":
        """The vectors of these, ascending, to be kept while the ranks go on; sums may be added."""
        return FewUsers(rows, self.rows(rows))

    def divide(self, by: float) -> None:
        """Divide all vectors."""
        self._ask("divide", [{}] * self._ranks.size, by=by)

    def place(self, rows: NDArray[np.integer], vectors: NDArray[np.float32]) -> None:
        """Give users without edges other vectors: these, or zeros.  rows: ascending, of users without edges."""
        parts = np.split(vectors.reshape(len(rows), self.size), np.searchsorted(rows, self.bounds[1:-1]))
        requests: list[Mapping[str, Array]] = [
            {"rows": own, "vectors": part} for own, part in zip(self._divided(rows), parts, strict=True)
        ]
        self._ask("place", requests)

    def to_half(self) -> bool:
        """Make them float16, if none is too large for that; whether they are."""
        values, _ = self._ask("largest", [{}] * self._ranks.size)
        if not all(value["largest"] <= LARGEST_HALF for value in values):  # also NaN, of any rank
            return False
        self._ask("half", [{}] * self._ranks.size)
        return True

    def _divided(self, rows: NDArray[np.integer]) -> list[Rows]:
        """Ascending rows of all users as rows of each rank's."""
        parts = np.split(rows.astype(np.int64), np.searchsorted(rows, self.bounds[1:-1]))
        return [part - low for part, low in zip(parts, self.bounds.tolist(), strict=False)]

    def _ask(
        self, what: str, arrays: Sequence[Mapping[str, Array]], **values: Any
    ) -> tuple[list[dict[str, Any]], Mapping[str, Array]]:
        requests = [Checkpoint(own, {WHAT: what, **values}) for own in arrays]
        gathered = self._ranks.gathered(requests, lambda request: of_part(self.own, request))
        if gathered.failed is not None:
            raise RuntimeError(f"a rank could not tell of its users: {gathered.failed}")
        return gathered.values, gathered.arrays


class FewUsers:
    """Vectors of some users and sums over all, kept when the ranks go on to the next fit.

    users: ascending rows.  vectors: theirs, (n, D).
    """

    def __init__(self, users: NDArray[np.integer], vectors: NDArray[np.float32], sums: Sums | None = None) -> None:
        self._users, self._vectors, self._sums = users, vectors, sums

    def with_sums(self, sums: Sums) -> "FewUsers":
        """The same with the sums over all users."""
        return FewUsers(self._users, self._vectors, sums)

    def rows(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """See ``SomeUsers``.  Raises KeyError for whoever was not kept."""
        places = np.minimum(np.searchsorted(self._users, rows), max(len(self._users) - 1, 0))
        if len(rows) and not np.array_equal(self._users[places], rows):
            raise KeyError("the vectors of other users were not kept")
        return self._vectors[places]

    def sums(self) -> Sums:
        """See ``SomeUsers``."""
        assert self._sums is not None
        return self._sums


def of_part(part: Part | None, request: Checkpoint) -> Checkpoint:
    """What a rank does of what ``Users`` asks."""
    if part is None:
        return Checkpoint({}, {"failed": "this rank has no vectors of users"})
    return WORK[request.values[WHAT]](part, request)


def _rows(part: Part, request: Checkpoint) -> Checkpoint:
    return Checkpoint({"vectors": part.vectors[request.arrays["rows"]].astype(np.float32).ravel()}, {})


def _sums(part: Part, request: Checkpoint) -> Checkpoint:
    size, with_items = part.vectors.shape[1], request.values["received"]
    total, products = np.zeros(size), np.zeros((size, size))
    received = np.zeros((part.graph.n_items if with_items else 0, size))
    taken = taken_items(part.graph)
    for start in range(0, len(part.vectors), BLOCK_ROWS):
        users = part.vectors[start : start + BLOCK_ROWS].astype(np.float64)
        total += users.sum(axis=0)
        products += users.T @ users
        if with_items:
            received += taken[start : start + BLOCK_ROWS].T @ users
    return Checkpoint({"total": total, "products": products.ravel(), "received": received.ravel()}, {})


def _own(part: Part, request: Checkpoint) -> Checkpoint:
    sent, messages, size = request.arrays["sent"], request.arrays["messages"], part.vectors.shape[1]
    squares, products = np.zeros((sent.shape[1], sent.shape[1])), np.zeros((sent.shape[1], size))
    graph = replace(part.graph, item_degrees=request.arrays["item_degrees"])
    for start in range(0, len(part.vectors), BLOCK_ROWS):
        received = normalised_user_items(graph, start, start + BLOCK_ROWS)
        inputs = (received @ sent).astype(np.float64)
        own = part.vectors[start : start + BLOCK_ROWS].astype(np.float64) - received @ messages
        squares += inputs.T @ inputs
        products += inputs.T @ own
    return Checkpoint({"squares": squares.ravel(), "products": products.ravel()}, {})


def _divide(part: Part, request: Checkpoint) -> Checkpoint:
    part.vectors = part.vectors / part.vectors.dtype.type(request.values["by"])
    return Checkpoint({}, {})


def _place(part: Part, request: Checkpoint) -> Checkpoint:
    part.vectors = part.vectors if part.vectors.flags.owndata else part.vectors.copy()
    part.vectors[np.diff(part.graph.user_items.indptr) == 0] = 0.0
    part.vectors[request.arrays["rows"]] = request.arrays["vectors"]
    return Checkpoint({}, {})


def _largest(part: Part, _: Checkpoint) -> Checkpoint:
    return Checkpoint({}, {"largest": float(np.abs(part.vectors).max(initial=0.0))})


def _half(part: Part, _: Checkpoint) -> Checkpoint:
    part.vectors = part.vectors.astype(np.float16)
    return Checkpoint({}, {})


WORK: Mapping[str, Callable[[Part, Checkpoint], Checkpoint]] = {
    "rows": _rows,
    "sums": _sums,
    "own": _own,
    "divide": _divide,
    "place": _place,
    "largest": _largest,
    "half": _half,
}
