"""What users have done since the model's snapshot."""

import heapq
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.domain.changes import InteractionChanged, UserChanged
from app.serving.fold_in import NO_EDGES, Edges
from app.serving.index import ServingIndex

Pair = tuple[str, int]  # course id and bit of the type


@dataclass(frozen=True, slots=True)
class Taken:
    """What a user has taken.  rows: items of the model, (S,) ascending.  others: courses that it does not know."""

    rows: NDArray[np.int32]
    others: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Local:
    """Writes of this process that the stream has not come past yet, with their cluster times."""

    erased: int = 0  # when the user was deleted; 0: was not
    pairs: dict[Pair, tuple[bool, int]] = field(default_factory=dict)  # present, when


@dataclass(slots=True)
class _User:
    """A user with changes.  pairs: all types of each touched course; courses not in it are as the model has them."""

    forgotten: bool = False
    pairs: dict[str, int] = field(default_factory=dict)
    local: _Local | None = None
    taken: Taken | None = None  # kept until the next change


class Overlay:
    """Interactions and deleted users since the model's snapshot.

    What the change stream tells is the state, and replaying it changes nothing.  What this process wrote itself
    holds on top until the stream has come past the write, so that the order of the stream is what remains.
    """

    def __init__(self, index: ServingIndex) -> None:
        self.index = index
        self.position = index.contents.cluster_time
        self._bits = {name: bit for bit, name in enumerate(index.contents.types)}
        self._weights = list(index.contents.type_weights)  # of each bit
        self._pair_weights: dict[int, float] = {}  # of each bitmask that was met
        self._users: dict[str, _User] = {}
        self._ends: list[tuple[int, str]] = []  # heap of cluster times after which a user's local writes are let go

    # --- asked by requests

    def taken(self, user_id: str) -> Taken:
        """Everything the user has any interaction with now; the same object until that changes."""
        user = self._users.get(user_id)
        if user is None:
            return Taken(self.index.seen_items(user_id))
        if user.taken is None:
            user.taken = self._taken(self.types_by_course(user_id))
        return user.taken

    def forgotten(self, user_id: str) -> bool:
        """Whether the user was deleted since the snapshot; the model's vector is then nobody's."""
        user = self._users.get(user_id)
        return user is not None and (user.forgotten or (user.local is not None and user.local.erased > 0))

    def types_by_course(self, user_id: str) -> dict[str, int]:
        """Bitmask of what the user has done with each course."""
        user = self._users.get(user_id, _User())
        local = user.local or _Local()
        courses: dict[str, int] = {}
        if not local.erased:
            courses = {} if user.forgotten else self._of_model(user_id)
            courses.update(user.pairs)
        for (course_id, bit), (present, _) in local.pairs.items():
            courses[course_id] = _with_bit(courses.get(course_id, 0), bit, present)
        return {course_id: types for course_id, types in courses.items() if types}

    def edges(self, user_id: str) -> Edges:
        """What the user has now of the model's items with a weight above 0."""
        aged = self._aged(user_id)
        found = [
            (row, self._pair_weight(types, aged.get(row)))
            for course_id, types in self.types_by_course(user_id).items()
            if (row := self.index.items.row(course_id)) is not None
        ]
        edges = sorted(pair for pair in found if pair[1] > 0)
        if not edges:
            return NO_EDGES
        rows, weights = zip(*edges, strict=True)
        return Edges(np.array(rows, np.int32), np.array(weights, np.float64))

    def touched(self, user_id: str) -> bool:
        """Whether anything was told of the user since the snapshot."""
        return user_id in self._users

    def touched_users(self) -> Collection[str]:
        """Those of whom anything was told."""
        return self._users.keys()

    def bit(self, type_: str) -> int:
        """Bit of an interaction type; the model's types have theirs, others get one when they are met."""
        bit = self._bits.get(type_)
        if bit is None:
            bit = self._bits[type_] = len(self._bits)
            self._weights.append(1.0)  # as in training of a type without a weight
        return bit

    # --- told by the stream

    def apply(self, change: InteractionChanged | UserChanged) -> None:
        """Take in what the change stream tells; what it has told already is passed over."""
        if change.cluster_time <= self.position:
            return
        if isinstance(change, InteractionChanged):
            user = self._touch(change.user_id)
            types = user.pairs.get(change.course_id)
            if types is None:
                types = 0 if user.forgotten else self.index.seen_pair(change.user_id, change.course_id)
            user.pairs[change.course_id] = _with_bit(types, self.bit(change.type), not change.removed)
        elif change.removed:
            self.forget(change.user_id)  # the removal of the interactions is told as well, but need not be waited for

    def advance(self, position: int) -> None:
        """The stream has told everything up to here; local writes until then are let go."""
        self.position = max(self.position, position)
        while self._ends and self._ends[0][0] <= self.position:
            _, user_id = heapq.heappop(self._ends)
            self._let_go(user_id)

    # --- told by this process

    def apply_local(self, change: InteractionChanged | UserChanged) -> None:
        """Take in a write of this process, whose cluster time it carries, ahead of the stream."""
        time = change.cluster_time
        if time <= self.position or (isinstance(change, UserChanged) and not change.removed):
            return
        user = self._touch(change.user_id)
        local = user.local = user.local or _Local()
        if isinstance(change, InteractionChanged):
            pair = change.course_id, self.bit(change.type)
            if time >= max(local.erased, local.pairs.get(pair, (False, 0))[1]):
                local.pairs[pair] = not change.removed, time
        elif time >= local.erased:
            local.erased = time
            local.pairs = {pair: write for pair, write in local.pairs.items() if write[1] > time}
        heapq.heappush(self._ends, (time, change.user_id))

    # --- told by a listing

    def forget(self, user_id: str) -> None:
        """The user was deleted, or is another than the model knows under this id."""
        user = self._touch(user_id)
        user.forgotten = True
        user.pairs.clear()

    def set_pair(self, user_id: str, course_id: str, types: int) -> None:
        """What the user has done with the course, as a bitmask."""
        self._touch(user_id).pairs[course_id] = types

    # ---

    def _aged(self, user_id: str) -> dict[int, tuple[int, float]]:
        """By item row, what the user had done and its weight in training; empty where weights do not fall with age."""
        contents = self.index.contents
        if contents.seen_weights is None or self.forgotten(user_id):
            return {}
        types, weights = self.index.seen_types(user_id), self.index.seen_weights(user_id)
        return dict(
            zip(
                self.index.seen_items(user_id).tolist(), zip(types.tolist(), weights.tolist(), strict=True), strict=True
            )
        )

    def _pair_weight(self, types: int, aged: tuple[int, float] | None = None) -> float:
        """The largest weight of the types, as in training.

        aged: types and weight of the pair in training.  What is left of these types has lost as much of its weight as
        all of them together had; what came since is new.
        """
        if aged is not None:
            before, trained = aged
            if types == before:
                return trained
            whole, kept, new = self._pair_weight(before), types & before, types & ~before
            left = self._pair_weight(kept) * trained / whole if kept and whole > 0 else 0.0
            return max(left, self._pair_weight(new) if new else 0.0)
        weight = self._pair_weights.get(types)
        if weight is None:
            weight = max(weight for bit, weight in enumerate(self._weights) if types >> bit & 1)
            self._pair_weights[types] = weight
        return weight

    def _of_model(self, user_id: str) -> dict[str, int]:
        ids = self.index.items.ids
        items, types = self.index.seen_items(user_id), self.index.seen_types(user_id)
        return {ids[row]: bits for row, bits in zip(items.tolist(), types.tolist(), strict=True)}

    def _taken(self, courses: Iterable[str]) -> Taken:
        rows, others = [], []
        for course_id in courses:
            row = self.index.items.row(course_id)
            if row is None:
                others.append(course_id)
            else:
                rows.append(row)
        return Taken(np.array(sorted(rows), np.int32), frozenset(others))

    def _touch(self, user_id: str) -> _User:
        user = self._users.setdefault(user_id, _User())
        user.taken = None
        return user

    def _let_go(self, user_id: str) -> None:
        user = self._touch(user_id)
        if user.local is None:
            return
        if user.local.erased <= self.position:
            user.local.erased = 0
        user.local.pairs = {pair: write for pair, write in user.local.pairs.items() if write[1] > self.position}
        if not user.local.erased and not user.local.pairs:
            user.local = None


def _with_bit(types: int, bit: int, present: bool) -> int:
    return types | 1 << bit if present else types & ~(1 << bit)
