"""What users have done since the model's snapshot."""

import heapq
import sys
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain.changes import InteractionChanged, UserChanged
from app.serving.fold_in import EdgeChange, Edges
from app.serving.index import ServingIndex

NOTHING: frozenset[str] = frozenset()  # one for all, as most users have it
Pair = tuple[str, int]  # course id and bit of the type


class Taken(NamedTuple):
    """What a user has taken.  rows: items of the model, (S,) ascending.  others: courses that it does not know."""

    rows: NDArray[np.int32]
    others: frozenset[str] = NOTHING


@dataclass(slots=True)
class _Local:
    """Writes of this process that the stream has not come past yet, with their cluster times."""

    erased: int = 0  # when the user was deleted; 0: was not
    pairs: dict[Pair, tuple[bool, int]] = field(default_factory=dict)  # present, when


@dataclass(slots=True)
class _User:
    """A user with changes.  pairs: all types of each touched course; courses not in it are as the model has them.

    alone: there are no others, as of a user who is not held here all is in ``pairs``.
    """

    alone: bool = False
    forgotten: bool = False
    pairs: dict[str, int] = field(default_factory=dict)
    local: _Local | None = None
    taken: Taken | None = None  # kept until the next change


class _Compared(NamedTuple):
    """Edges of a user in training and now, and what is taken now."""

    change: EdgeChange
    taken: Taken


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Users of whom nothing is known here yet and what they have taken is being read from the database.

    since: cluster time to which what is read must have come at least.  told: what was told of them meanwhile.
    """

    user_ids: frozenset[str]
    since: int
    told: list[tuple[InteractionChanged, bool]] = field(default_factory=list)  # and whether by this process


class Overlay:
    """Interactions and deleted users since the model's snapshot.

    Beside an index that is partial there are users of whom nothing is known here: they are absent, and what is told of
    them is passed over, until what they have taken is read and they are met.

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
        self._compared: tuple[_User, _Compared] | None = None
        self._ends: list[tuple[int, str]] = []  # heap of cluster times after which a user's local writes are let go
        self._readings: list[Reading] = []
        self._told = 0  # cluster time of the last change, which ``position`` may not have come to

    # --- asked by requests

    def taken(self, user_id: str) -> Taken:
        """Everything the user has any interaction with now; the same object until that changes."""
        user = self._users.get(user_id)
        if user is None:
            return Taken(self.index.seen_items(user_id))
        if user.taken is None:
            user.taken = self._compare(user_id).taken
        return user.taken

    def forgotten(self, user_id: str) -> bool:
        """Whether the user was deleted since the snapshot; the model's vector is then nobody's."""
        user = self._users.get(user_id)
        return user is not None and (user.forgotten or (user.local is not None and user.local.erased > 0))

    def types_by_course(self, user_id: str) -> dict[str, int]:
        """Bitmask of what the user has done with each course."""
        blank, changed = self._changed(user_id)
        courses = changed if blank else self._of_model(user_id) | changed
        return {course_id: types for course_id, types in courses.items() if types}

    def edges(self, user_id: str) -> Edges:
        """What the user has now of the model's items with a weight above 0."""
        change = self.edge_change(user_id)
        is_edge = change.now > 0
        return Edges(change.rows[is_edge], change.now[is_edge])

    def edge_change(self, user_id: str) -> EdgeChange:
        """The user's edges in training, none if the user was deleted since, and now."""
        return self._compare(user_id).change

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
        if change.cluster_time <= self.position or self._passes_over(change, local=False):
            return
        if isinstance(change, InteractionChanged):
            self._take(change)
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
        if self._passes_over(change, local=True):
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

    # --- users of whom nothing is known here

    def absent(self, user_ids: Iterable[str]) -> list[str]:
        """Those of whom nothing can be said before what they have taken is read."""
        if not self.index.is_partial:
            return []
        return [id_ for id_ in user_ids if id_ not in self._users and id_ not in self.index.users]

    @contextmanager
    def reading(self, user_ids: Iterable[str]) -> Iterator[Reading]:
        """While the block runs, what is told of these absent users is kept for ``meet``."""
        reading = Reading(frozenset(user_ids), max(self.position, self._told))
        self._readings.append(reading)
        try:
            yield reading
        finally:
            self._readings.remove(reading)

    def meet(self, reading: Reading, found: Mapping[str, Iterable[tuple[str, str]]]) -> list[str]:
        """Know from now on the users of a reading, but for those who are known already; gives them.

        found: courses and types of what each has taken, at or after ``reading.since``.
        """
        met = self.absent(reading.user_ids)
        for user_id in met:
            pairs = self._touch(user_id).pairs
            for course_id, type_ in found.get(user_id, ()):
                pairs[sys.intern(course_id)] = pairs.get(course_id, 0) | 1 << self.bit(type_)
        new = set(met)
        for change, local in reading.told:
            if change.user_id in new and local:
                self.apply_local(change)
            elif change.user_id in new:
                self._take(change)
        return met

    def part(self, user_id: str) -> None:
        """Know a user no longer who was met; of one who was deleted that remains known."""
        if not self.forgotten(user_id):
            del self._users[user_id]

    def _passes_over(self, change: InteractionChanged | UserChanged, *, local: bool) -> bool:
        """Whether the change is an absent user's.  After a deletion all is known: there is nothing."""
        if not self.index.is_partial:
            return False
        self._told = max(self._told, change.cluster_time)
        if isinstance(change, UserChanged) or not self.absent([change.user_id]):
            return False
        for reading in self._readings:
            if change.user_id in reading.user_ids:
                reading.told.append((change, local))
        return True

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

    def _changed(self, user_id: str) -> tuple[bool, dict[str, int]]:
        """Whether nothing of what the model knows counts, and the types of each course that was touched since."""
        user = self._users.get(user_id)
        if user is None:
            return False, {}
        local, alone = user.local, user.alone or user.forgotten
        if local is None:
            return alone, user.pairs
        blank = alone or local.erased > 0
        changed = {} if local.erased else dict(user.pairs)
        for (course_id, bit), (present, _) in local.pairs.items():
            types = changed.get(course_id)
            if types is None:
                types = 0 if blank else self.index.seen_pair(user_id, course_id)
            changed[course_id] = _with_bit(types, bit, present)
        return blank, changed

    def _compare(self, user_id: str) -> _Compared:
        """What the model knows of the user beside what is now; the last is kept, as a request asks several times."""
        user = self._users.get(user_id)
        if user is None or self._compared is None or self._compared[0] is not user:
            compared = self._compare_anew(user_id)
            if user is None:
                return compared
            self._compared = user, compared
        return self._compared[1]

    def _compare_anew(self, user_id: str) -> _Compared:
        blank, changed = self._changed(user_id)
        index = self.index
        rows = [] if blank else index.seen_items(user_id).tolist()
        weight = index.contents.only_weight
        before = [weight] * len(rows) if weight else [] if blank else index.trained_weights(user_id).tolist()
        aged = index.seen_types(user_id).tolist() if rows and index.contents.seen_weights is not None else None
        known = {} if aged is None else dict(zip(rows, zip(aged, before, strict=True), strict=True))
        now, gone, others = before.copy(), [], []
        for course_id, types in changed.items():
            row = index.items.row(course_id)
            if row is None:
                if types:
                    others.append(course_id)
                continue
            weight = self._pair_weight(types, known.get(row)) if types else 0.0
            place = bisect_left(rows, row)
            if place < len(rows) and rows[place] == row:
                now[place] = weight
            else:
                rows.insert(place, row)
                before.insert(place, 0.0)
                now.insert(place, weight)
            if not types:
                gone.append(row)
        touched = np.array(rows, np.int32)
        taken = touched[~np.isin(touched, gone)] if gone else touched
        change = EdgeChange(touched, np.array([before, now], np.float64))
        return _Compared(change, Taken(taken, frozenset(others) if others else NOTHING))

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

    def _take(self, change: InteractionChanged) -> None:
        user = self._touch(change.user_id)
        types = user.pairs.get(change.course_id)
        if types is None:
            alone = user.alone or user.forgotten
            types = 0 if alone else self.index.seen_pair(change.user_id, change.course_id)
        user.pairs[sys.intern(change.course_id)] = _with_bit(types, self.bit(change.type), not change.removed)

    def _touch(self, user_id: str) -> _User:
        user = self._users.get(user_id)
        if user is None:
            user = self._users[user_id] = _User(alone=self.index.is_partial and user_id not in self.index.users)
        user.taken = self._compared = None
        return user

    def _let_go(self, user_id: str) -> None:
        user = self._users.get(user_id)
        if user is None or user.local is None:  # it may be somebody who was met and parted from
            return
        user.taken = self._compared = None
        if user.local.erased <= self.position:
            user.local.erased = 0
        user.local.pairs = {pair: write for pair, write in user.local.pairs.items() if write[1] > self.position}
        if not user.local.erased and not user.local.pairs:
            user.local = None


def _with_bit(types: int, bit: int, present: bool) -> int:
    return types | 1 << bit if present else types & ~(1 << bit)
