"""How much of the costly kind a process does at once."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from app.errors import UnavailableError

LARGE_BYTES = 2**20  # of a body that counts as a batch; a smaller one is read and written in a moment


class Slots:
    """A number of places; who finds none is told to come again, as waiting in memory would cost what is to be saved."""

    def __init__(self, number: int, what: str) -> None:
        self._number, self._what = number, what
        self.taken = 0

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """A place while the block runs.  Raises UnavailableError when all are taken."""
        if self.taken >= self._number:
            raise UnavailableError(f"{self._number} {self._what} are in progress, as many as are taken at once")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


@dataclass(frozen=True, slots=True)
class AllSlots:
    """Of one process."""

    batches: Slots
    streams: Slots
