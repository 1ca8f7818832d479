"""Layer 0 as what gives the rows of some users at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Layer0(Protocol):
    """(N, D) float32, users first; all of it is large, so whoever has users asks for theirs."""

    @property
    def shape(self) -> tuple[int, int]:
        """N, D."""
        ...

    def part(self, low: int, high: int) -> NDArray[np.float32]:
        """Of the users low..high and of all items, (high - low + I, D), to be written to."""
        ...

    def whole(self) -> NDArray[np.float32]:
        """Of all nodes, to be written to."""
        ...

    def tables(self) -> Iterator[NDArray[Any]]:
        """All that it depends on beside graph and recipe."""
        ...


@dataclass(frozen=True, slots=True)
class Learned:
    """Of a fit that is over.  users: (U, D).  items: (I, D)."""

    users: NDArray[np.float32]
    items: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        """See ``Layer0``."""
        return len(self.users) + len(self.items), self.items.shape[1]

    def part(self, low: int, high: int) -> NDArray[np.float32]:
        """See ``Layer0``."""
        return np.concatenate([self.users[low:high], self.items])

    def whole(self) -> NDArray[np.float32]:
        """See ``Layer0``."""
        return self.part(0, len(self.users))

    def tables(self) -> Iterator[NDArray[Any]]:
        """See ``Layer0``."""
        yield from (self.users, self.items)
