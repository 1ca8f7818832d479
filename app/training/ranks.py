"""Who trains together: processes, "ranks", each with some of the users and all of the items.

Users are many and items few, so every rank has its own users' layer 0, edges, optimiser state and loss, and a replica
of the items' rows.  What a rank cannot know alone are sums over all users: those are taken over the ranks, and then
the replicas stay equal by themselves.  One process that trains alone is one rank, whose sums are whole as they are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.training.checkpoint import Array, Checkpoint
from app.training.device import choose_device
from app.training.job import FitJob
from app.training.part import Part

Work = Callable[[Checkpoint], Checkpoint]
"""An errand: request -> arrays of one dimension, by the same names and of the same types whoever does it, and values;
among these ``failed`` where there is nothing to show, and why."""


Do = Callable[[Checkpoint, Part | None], Checkpoint]
"""The same by a rank but the first, which may have users' vectors."""


class Gathered(NamedTuple):
    """values: of each rank.  arrays: of all, one rank's after the other's; none if some rank failed.  failed: why."""

    values: list[dict[str, Any]]
    arrays: Mapping[str, Array]
    failed: Any = None


class Ranks:
    """One rank alone.  Others are made by ``app.training.distributed``; these methods are then called by all at once.

    rank: place of this process, 0 is the first.  size: how many there are.  The first rank has what concerns them all:
    the caller's data, hooks, checkpoints, and the whole result.
    """

    rank = 0
    size = 1

    def device(self, name: str) -> torch.device:
        """Where this rank computes.  Raises UnusableDeviceError."""
        return choose_device(name)

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over all ranks, in place and returned; the same bits on each."""
        return tensor

    def begin_sum(self, tensor: Tensor) -> Callable[[Tensor], None]:
        """Begin such a sum; what is returned ends it, and writes it to a tensor of that shape, or the same.

        Until then the tensor is not to be touched, and after it it is worth nothing.
        """

        def end(out: Tensor) -> None:
            if out is not tensor:
                out.copy_(tensor)

        return end

    def total(self, array: NDArray[Any]) -> NDArray[Any]:
        """The same of an array, which stays as it is."""
        return array

    def counts(self, count: int) -> list[int]:
        """The number of each rank."""
        return [count]

    def mean(self, values: float | NDArray[np.float64]) -> float:
        """Mean over the values of all ranks."""
        return float(np.mean(values))

    def agreed(self, number: int) -> int:
        """The number of the first rank, below 256."""
        return number

    def gathered(self, requests: Sequence[Checkpoint], do: Work) -> Gathered:
        """What each rank makes of its request; the others do what they were given when they were started."""
        done = do(requests[0])
        return Gathered([dict(done.values)], done.arrays, done.values.get("failed"))

    def share(self, job: FitJob) -> FitJob:
        """This rank's part of a fit; called by the first, the others wait for theirs."""
        return job.made()

    def whole(self, arrays: Mapping[str, Array]) -> Mapping[str, Array] | None:
        """Arrays by name, with the rows of all users where they are rows of users; at the first rank, else None."""
        return arrays

    def each(self, values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Plain values of each rank; at the first, elsewhere of nobody."""
        return [values]

    def renewed(self) -> bool:
        """After a rank was lost: whether there are again as many, and the fit may be begun anew."""
        return False

    @contextmanager
    def joined(self, checkpoint: Checkpoint) -> Iterator[Checkpoint | None]:
        """A checkpoint of all ranks, at the first; None elsewhere.  ``own`` in its values: a list of each rank's.

        Its arrays may be taken once each, in their order, within the block: there are never two of all users at a time.
        """
        yield Checkpoint(checkpoint.arrays, {**checkpoint.values, "own": self.each(checkpoint.values["own"])})


ALONE = Ranks()
