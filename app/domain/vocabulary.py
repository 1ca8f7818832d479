"""External ids and their rows in the matrices."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from app.domain.packed_ids import PackedIds


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Ids in row order, and the row of each id.  Raises ValueError if an id is there twice."""

    ids: Sequence[str]
    _rows: dict[str, int] | PackedIds = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.ids, PackedIds):
            object.__setattr__(self, "_rows", self.ids)
            return
        rows = {id_: row for row, id_ in enumerate(self.ids)}
        if len(rows) != len(self.ids):
            raise ValueError("a vocabulary holds an id twice")
        object.__setattr__(self, "_rows", rows)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._rows

    def row(self, id_: str) -> int | None:
        """Row of the id, None when it is unknown."""
        return self._rows.get(id_)

    def rows(self, ids: Iterable[str]) -> NDArray[np.int32]:
        """Rows of the ids that are known, in the order given; unknown ids are left out."""
        known = (self._rows.get(id_) for id_ in ids)
        return np.fromiter((row for row in known if row is not None), dtype=np.int32)

    def rows_or_absent(self, ids: Iterable[str]) -> NDArray[np.int32]:
        """Row of each id in the order given, -1 for an unknown one."""
        return np.fromiter((row for row in map(self._rows.get, ids, repeat(-1)) if row is not None), dtype=np.int32)
