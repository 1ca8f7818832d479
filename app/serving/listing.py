"""An overlay made from the present state, for when the changes since the snapshot are no longer to be had."""

from collections.abc import Collection, Iterable

import numpy as np

from app.domain.contents import MAX_TYPES
from app.serving.index import ServingIndex
from app.serving.overlay import Overlay

Interaction = tuple[str, str, str]  # user, course, type


class ListingReader:
    """Compares a complete listing of the interactions, in any order, with what the model has seen.

    Only what differs is kept.  Half a microsecond a row; give it thousands at once.
    """

    def __init__(self, index: ServingIndex) -> None:
        self._index = index
        self._overlay = Overlay(index)
        contents = index.contents
        users = np.repeat(np.arange(len(index.users)), np.diff(contents.seen_indptr))
        self._keys = users * len(index.items) + contents.seen_items  # (S,), ascending
        self._found = np.zeros(len(self._keys), np.uint32)  # types of the model's pairs that were listed
        self._new: dict[tuple[str, str], int] = {}  # and of all others

    def add(self, rows: Collection[Interaction]) -> None:
        """Take some of the listing in."""
        if self._index.is_partial:  # what the others have taken is read when they are asked for
            rows = [row for row in rows if row[0] in self._index.users]
        if not rows:
            return
        user_ids, course_ids, types = zip(*rows, strict=True)
        users, items = self._index.users.rows_or_absent(user_ids), self._index.items.rows_or_absent(course_ids)
        bits = np.fromiter(map(self._overlay.bit, types), np.int64, len(types))
        keys = users.astype(np.int64) * len(self._index.items) + items
        places = np.searchsorted(self._keys, keys)
        known = (users >= 0) & (items >= 0) & (places < len(self._keys)) & (bits < MAX_TYPES)
        known[known] = self._keys[places[known]] == keys[known]
        np.bitwise_or.at(self._found, places[known], np.uint32(1) << bits[known].astype(np.uint32))
        for row in np.flatnonzero(~known).tolist():
            pair = user_ids[row], course_ids[row]
            self._new[pair] = self._new.get(pair, 0) | 1 << int(bits[row])

    def finish(self, position: int, user_ids: Collection[str] | None = None) -> Overlay:
        """The overlay that tells what was listed.

        position: cluster time before which everything was written that the listing may lack.
        user_ids: whose records are still those that the model knows; its other users are forgotten.  None: all are.
        """
        overlay, index = self._overlay, self._index
        forgotten = set() if user_ids is None else set(index.users.ids).difference(user_ids)
        for user_id in forgotten:
            overlay.forget(user_id)
        users, items = np.divmod(self._keys, max(len(index.items), 1))
        # Of somebody who is forgotten nothing is as in the model, also what was listed just like it.
        differs = (self._found != index.contents.seen_types) | np.isin(users, index.users.rows(forgotten))
        columns = users[differs].tolist(), items[differs].tolist(), self._found[differs].tolist()
        for user, item, types in zip(*columns, strict=True):
            overlay.set_pair(index.users.ids[user], index.items.ids[item], types)
        for (user_id, course_id), types in self._new.items():
            overlay.set_pair(user_id, course_id, types | overlay.types_by_course(user_id).get(course_id, 0))
        overlay.advance(position)
        return overlay


def overlay_from_listing(index: ServingIndex, interactions: Iterable[Interaction], position: int) -> Overlay:
    """Overlay of a whole listing at once; see ListingReader."""
    reader = ListingReader(index)
    reader.add(list(interactions))
    return reader.finish(position)
