"""The best courses of a user, kept so that the next request need not look at every score."""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain.contents import no_item
from app.domain.ranking import top_n
from app.serving.index import ServingIndex
from app.serving.overlay import Taken

LENGTH = 64  # courses: fills the usual list after some filters; more would make the first list of a user dearer
KEPT = 20_000  # users, 800 bytes each


class TopList(NamedTuple):
    """Rows of the model's items that the user has not taken, best first, and the scores of the first of them.

    whole: there are no others.  last: score of the last; none of the others has more.
    """

    rows: NDArray[np.int32] | NDArray[np.uint16]
    scores: NDArray[np.float32]
    whole: bool
    last: float = 0.0


class TopLists:
    """Lists of one model.  They know nothing of the catalogue, whose changes therefore leave them right."""

    def __init__(self, index: ServingIndex) -> None:
        self._index = index
        items = index.contents.top_items
        self._none = 0 if items is None else no_item(items)
        self._kept: OrderedDict[str, tuple[Taken | None, TopList]] = OrderedDict()

    def published(self, row: int) -> TopList | None:
        """The list that came with the model, right for a user of whom nothing was told since."""
        contents = self._index.contents
        items, scores = contents.top_items, contents.top_scores
        if items is None or scores is None:
            return None
        own = items[row]
        if len(own) and own[-1] != self._none:
            lasts = contents.top_lasts
            return TopList(own, scores[row], whole=False, last=float(scores[row, -1] if lasts is None else lasts[row]))
        length = int(np.count_nonzero(own != self._none))  # there are no more
        return TopList(own[:length], scores[row, :length], length < len(own))

    def first(self, row: int, n: int) -> tuple[list[int], list[float]] | None:
        """The first n rows and scores of the list that came with the model; None when it has not so many."""
        items, scores = self._index.contents.top_items, self._index.contents.top_scores
        if items is None or scores is None or n > scores.shape[1]:
            return None
        rows: list[int] = items[row, :n].tolist()
        return None if rows[-1] == self._none else (rows, scores[row, :n].tolist())

    def kept(self, user_id: str, changed: Taken | None) -> TopList | None:
        """The list made when the user had the same changes: ``changed`` must be the same object."""
        entry = self._kept.get(user_id)
        if entry is None or entry[0] is not changed:
            return None
        self._kept.move_to_end(user_id)
        return entry[1]

    def best(self, scores: NDArray[np.float32], taken: NDArray[np.int32]) -> TopList:
        """The list by all scores.  scores: (I,).  taken: rows to leave out."""
        allowed = np.ones(len(scores), np.bool_)
        allowed[taken] = False
        rows = top_n(scores, allowed, LENGTH)
        return TopList(rows.astype(np.int32), scores[rows], len(rows) < LENGTH)  # nobody asks for the last

    def keep(self, user_id: str, changed: Taken | None, top: TopList) -> None:
        """Keep a list until the user changes, or others are asked for more."""
        self._kept[user_id] = changed, top
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
