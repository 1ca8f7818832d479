"""Ranks of torch.distributed: gloo between CPUs, NCCL between GPUs."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch._C._distributed_c10d import Store  # torch.distributed has it too, but not its type

from app.errors import RankLostError
from app.training.checkpoint import Array, Checkpoint
from app.training.device import choose_device
from app.training.distributed.board import Board
from app.training.distributed.parts import OF_ALL, job_part, packed, unpacked, user_bounds
from app.training.distributed.scratch import scratch
from app.training.job import FitJob
from app.training.ranks import Gathered, Ranks, Work

log = logging.getLogger(__name__)

PIECE_BYTES = 1 << 28  # of an array that is sent
IDLE = timedelta(days=7)  # how long a rank waits for work: the first may judge, draw and publish meanwhile
FIT, ERRAND, END = "fit", "errand", "end"
BEAT_SECONDS = 0.5  # between two signs of life of a rank on an errand, at most
POLL_SECONDS = 0.02
PATIENCE_SECONDS = 60.0  # without a sign of life


class Group(Ranks):
    """This process in the default process group of torch, which is there already.

    store: over which the first rank tells the others what comes.  local: place among the ranks of this machine, for
    the choice of a GPU.  bounds: where the users of each rank begin, and U; None: evenly by work.
    patience_seconds: how long a rank on an errand may give no sign of life.  board: of this rank, if all are on one
    machine and have one: sums on the CPU are taken there.
    """

    def __init__(
        self,
        store: Store,
        local: int,
        bounds: Sequence[int] | None = None,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        board: Board | None = None,
    ) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._patience, self._board = patience_seconds, board
        self._store, self._local, self._bounds = store, local, bounds
        self._told = 0
        self._counts = [0] * self.size
        self.summed_bytes = 0

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # of torch.distributed; all that goes wrong between processes is one
            reason = str(error).partition(". This is typically")[0].rpartition("] ")[2]
            raise RankLostError(self.rank, self.size, reason) from error

    def device(self, name: str) -> torch.device:
        """One GPU each where there are some."""
        device = choose_device(name)
        if device.type == "cuda" and device.index is None:
            device = choose_device(f"cuda:{self._local % torch.cuda.device_count()}")
            torch.cuda.set_device(device)
        return device

    def sum(self, tensor: Tensor) -> Tensor:
        """See ``Ranks``; raises RankLostError, as all of these do."""
        self.begin_sum(tensor)(tensor)
        return tensor

    def begin_sum(self, tensor: Tensor) -> Callable[[Tensor], None]:
        """See ``Ranks``."""
        if not tensor.numel():
            return lambda out: None
        self.summed_bytes += tensor.numel() * tensor.element_size()
        if self._board is not None and tensor.device.type == "cpu":
            return self._board.begin(tensor)
        with self._guarded():
            under_way = dist.all_reduce(tensor, async_op=True)

        def end(out: Tensor) -> None:
            with self._guarded():
                under_way.wait()
            if out is not tensor:
                out.copy_(tensor)

        return end

    def total(self, array: NDArray[Any]) -> NDArray[Any]:
        """See ``Ranks``."""
        result: NDArray[Any] = self.sum(torch.from_numpy(array.copy())).numpy()
        return result

    def counts(self, count: int) -> list[int]:
        """See ``Ranks``."""
        own, found = torch.tensor([count]), [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with self._guarded():
            dist.all_gather(found, own)
        return [int(number) for number in found]

    def mean(self, values: float | NDArray[np.float64]) -> float:
        """See ``Ranks``; in the order of the ranks, so that it is the mean that one process would find."""
        own = torch.from_numpy(np.atleast_1d(values))
        counts = self.counts(len(own))
        most = max(counts)
        padded = torch.zeros(most, dtype=torch.float64)
        padded[: len(own)] = own
        found = [torch.zeros(most, dtype=torch.float64) for _ in counts]
        with self._guarded():
            dist.all_gather(found, padded)
        parts = [part[:count].numpy() for part, count in zip(found, counts, strict=True)]
        return float(np.mean(np.concatenate(parts)))

    def agreed(self, number: int) -> int:
        """See ``Ranks``."""
        own = torch.tensor([number], dtype=torch.uint8)
        with self._guarded():
            dist.broadcast(own, 0)
        return int(own)

    def share(self, job: FitJob) -> FitJob:
        """Tell the others that there is a fit, and send each its part."""
        bounds = self._bounds or user_bounds(job.graph, self.size)
        self._tell(FIT)
        with self._guarded():
            for rank, (low, high) in enumerate(pairwise(bounds[1:]), 1):
                _send(packed(job_part(job, low, high)), rank)
        self._counts = np.diff(bounds).tolist()
        return job_part(job, *bounds[:2])  # last, so that at no time there are two

    def gathered(self, requests: Sequence[Checkpoint], do: Work) -> Gathered:
        """See ``Ranks``; called by the first, while the others are in ``next_work``."""
        work = self._told
        self._tell(ERRAND)
        with self._guarded():
            for rank, request in enumerate(requests[1:], 1):
                _send(request, rank)
        try:
            own = do(requests[0])
            answers = [dict(own.values), *(self._answer(work, rank) for rank in range(1, self.size))]
        except BaseException:
            with suppress(RankLostError), self._guarded():
                self._store.set(f"go/{work}", "no")
            raise
        failed = next((values["failed"] for values in answers if "failed" in values), None)
        if failed is not None:
            self._store.set(f"go/{work}", "no")
            return Gathered(answers, {}, failed)
        self._store.set(f"go/{work}", "yes")
        lengths = [[len(array) for array in own.arrays.values()], *(values.pop("lengths") for values in answers[1:])]
        arrays, joined = dict(own.arrays), {}
        del own
        for place, name in enumerate([*arrays]):
            array = arrays.pop(name)
            bounds = np.cumsum([0, *(counts[place] for counts in lengths)])
            joined[name] = np.empty(bounds[-1], array.dtype)
            joined[name][: len(array)] = array
            with self._guarded():
                for rank in range(1, self.size):
                    _fill(joined[name][bounds[rank] : bounds[rank + 1]], rank)
        return Gathered(answers, joined)

    def _answer(self, work: int, rank: int) -> dict[str, Any]:
        """What a rank says of its errand; its arrays follow.  Raises RankLostError."""
        heard, at = -1, time.monotonic()
        with self._guarded():
            while not self._store.check([f"done/{work}/{rank}"]):
                beats = self._store.add(f"alive/{work}/{rank}", 0)
                if beats != heard:
                    heard, at = beats, time.monotonic()
                elif time.monotonic() - at > self._patience:
                    raise RankLostError(self.rank, self.size, f"no sign of rank {rank} for {self._patience:g} s")
                if self._ended(rank):
                    raise RankLostError(self.rank, self.size, f"rank {rank} ended")
                time.sleep(POLL_SECONDS)
            answer: dict[str, Any] = json.loads(self._store.get(f"done/{work}/{rank}"))
        return answer

    def _ended(self, rank: int) -> bool:
        """Whether it is known that a rank is gone."""
        return False

    def run_errand(self, request: Checkpoint, do: Work) -> None:
        """This rank's part of ``gathered``."""
        work = self._told - 1
        with self._beating(f"alive/{work}/{self.rank}"):
            try:
                done = do(request)
            except Exception as error:  # the first says what is to be done about it
                log.exception("rank %s could not do what it was asked for", self.rank)
                done = Checkpoint({}, {"failed": f"{type(error).__name__}: {error}"})
        answer = {**done.values, "lengths": [len(array) for array in done.arrays.values()]}
        with self._guarded():
            self._store.set(f"done/{work}/{self.rank}", json.dumps(answer))
            self._store.wait([f"go/{work}"], IDLE)
            if self._store.get(f"go/{work}").decode() == "yes":
                for array in done.arrays.values():
                    _give(array, 0)

    @contextmanager
    def _beating(self, name: str) -> Iterator[None]:
        over = threading.Event()

        def beat() -> None:
            with suppress(RuntimeError):  # of torch.distributed: the first is gone, which the next call tells
                while not over.wait(min(BEAT_SECONDS, self._patience / 4)):
                    self._store.add(name, 1)

        thread = threading.Thread(target=beat, name="beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def next_work(self) -> FitJob | Checkpoint | None:
        """This rank's part of the next fit, or an errand; None: there is nothing more to do.  Blocks."""
        name = f"work/{self._told}"
        self._told += 1
        with self._guarded():
            self._store.wait([name], IDLE)
            what = self._store.get(name).decode()
            if what == END:
                return None
            parcel = _receive(0)
        if what == ERRAND:
            return parcel
        job = unpacked(parcel)
        self._counts[self.rank] = job.graph.n_users
        return job

    def end(self) -> None:
        """Tell the others that there is nothing more to do."""
        self._tell(END)

    def _tell(self, what: str) -> None:
        with self._guarded():
            self._store.set(f"work/{self._told}", what)
        self._told += 1

    def whole(self, arrays: Mapping[str, Array]) -> Mapping[str, Array] | None:
        """See ``Ranks``."""
        if self.rank:
            self._give_users(arrays)
            return None
        return {name: self._with_others(name, array) for name, array in arrays.items()}

    @contextmanager
    def joined(self, checkpoint: Checkpoint) -> Iterator[Checkpoint | None]:
        """See ``Ranks``."""
        values = {**checkpoint.values, "own": self.each(checkpoint.values["own"])}
        if self.rank:
            self._give_users(checkpoint.arrays)
            yield None
            return
        arrays = _Joining(checkpoint.arrays, self._with_others)
        yield Checkpoint(arrays, values)
        arrays.finish()

    def _give_users(self, arrays: Mapping[str, Array]) -> None:
        with self._guarded():
            for name, array in arrays.items():
                if name in OF_ALL:
                    _give(np.ascontiguousarray(array[: self._counts[self.rank]]), 0)

    def _with_others(self, name: str, own: Array) -> Array:
        """An array of the first rank with the rows of all users, where there are such."""
        if name not in OF_ALL:
            return own
        counts = self._counts
        whole = scratch((len(own) + sum(counts[1:]), *own.shape[1:]), own.dtype)
        bounds = np.cumsum([0, *counts])
        whole[: counts[0]], whole[bounds[-1] :] = own[: counts[0]], own[counts[0] :]
        with self._guarded():
            for rank in range(1, self.size):
                _fill(whole[bounds[rank] : bounds[rank + 1]], rank)
        return whole

    def each(self, values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """See ``Ranks``."""
        with self._guarded():
            if self.rank:
                _send(Checkpoint({}, values), 0)
                return []
            return [values, *(_receive(rank).values for rank in range(1, self.size))]


class _Joining(Mapping[str, Array]):
    """Arrays that come from all ranks when they are taken: once each, in their order."""

    def __init__(self, own: Mapping[str, Array], join: Callable[[str, Array], Array]) -> None:
        self._own, self._join = own, join
        self._left = [*own]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._own])

    def __len__(self) -> int:
        return len(self._own)

    def __getitem__(self, name: str) -> Array:
        if not self._left or self._left[0] != name:
            raise KeyError(name)
        del self._left[0]
        return self._join(name, self._own[name])

    def finish(self) -> None:
        """Take those that nobody took: the others have sent them."""
        for name in [*self._left]:
            self[name]


def _send(parcel: Checkpoint, rank: int) -> None:
    arrays = {name: np.ascontiguousarray(array) for name, array in parcel.arrays.items()}
    described = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    head = np.frombuffer(json.dumps([described, parcel.values]).encode(), np.uint8)
    dist.send(torch.tensor([len(head)]), rank)
    for array in (head, *arrays.values()):
        _give(array, rank)


def _give(array: Array, rank: int) -> None:
    for piece in _pieces(array):
        dist.send(torch.from_numpy(piece.copy() if not piece.flags.writeable else piece), rank)


def _receive(rank: int) -> Checkpoint:
    length = torch.zeros(1, dtype=torch.int64)
    dist.recv(length, rank)
    head = np.empty(int(length), np.uint8)
    _fill(head, rank)
    described, values = json.loads(head.tobytes())
    arrays: dict[str, Array] = {}
    for name, dtype, shape in described:
        arrays[name] = np.empty(shape, dtype)
        _fill(arrays[name], rank)
    return Checkpoint(arrays, values)


def _fill(array: Array, rank: int) -> None:
    for piece in _pieces(array):
        dist.recv(torch.from_numpy(piece), rank)


def _pieces(array: Array) -> Iterator[NDArray[np.uint8]]:
    """Views of a contiguous array's bytes."""
    whole = array.reshape(-1).view(np.uint8)
    for start in range(0, len(whole), PIECE_BYTES):
        yield whole[start : start + PIECE_BYTES]
