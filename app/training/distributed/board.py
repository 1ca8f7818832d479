"""Sums over the ranks of one machine, through memory that they share.

Each rank has a board that it writes and the others read, and a line to each of them over which it says that it has
written.  Of a sum every rank adds up one part, and shows it.  Over sockets, as gloo does it, a sum of some MB takes
twice to three times as long.
"""

import mmap
import os
import socket
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from app.errors import RankLostError

PIECE_BYTES = 1 << 22  # what is written before the others read it, from the cache
SAID = b"."


class Ends(NamedTuple):
    """What one rank is given.

    file: descriptor of the memory of all boards, 2 PIECE_BYTES for each rank.  lines: to the other ranks, in order.
    """

    file: int
    lines: list[socket.socket]

    @classmethod
    def of_ranks(cls, size: int) -> "list[Ends]":
        """For each rank of this machine; none where there is no memory without a name, which nobody can leave."""
        try:
            file = os.memfd_create("boards")
        except (AttributeError, OSError):  # not Linux, or a sandbox forbids it
            return []
        os.truncate(file, 2 * PIECE_BYTES * size)
        lines: list[list[socket.socket]] = [[] for _ in range(size)]
        for pair in combinations(range(size), 2):
            for rank, line in zip(pair, socket.socketpair(), strict=True):
                lines[rank].append(line)
        return [cls(file if rank == 0 else os.dup(file), own) for rank, own in enumerate(lines)]

    @classmethod
    def inherited(cls, descriptors: Sequence[int]) -> "Ends":
        """As ``descriptors`` gave them to the process that started this one."""
        return cls(descriptors[0], [socket.socket(fileno=line) for line in descriptors[1:]])

    @property
    def descriptors(self) -> list[int]:
        """To be inherited."""
        return [self.file, *(line.fileno() for line in self.lines)]

    def close(self) -> None:
        """The others find that nobody is there."""
        os.close(self.file)
        for line in self.lines:
            line.close()


class Board:
    """All ranks take the same sums, of tensors of the same shapes on the CPU, in the same order.

    timeout_seconds: how long one waits for another.  The ends are this object's now.
    """

    def __init__(self, rank: int, ends: Ends, timeout_seconds: float) -> None:
        self._rank, self._size, self._lines = rank, len(ends.lines) + 1, ends.lines
        memory = np.frombuffer(mmap.mmap(ends.file, 2 * PIECE_BYTES * self._size), np.uint8)
        os.close(ends.file)
        # Two places, for whoever has all he needs of one sum writes of the next while others still read
        places = torch.from_numpy(memory).view(self._size, 2, PIECE_BYTES)
        self._parts, self._sums = places[:, 0], places[:, 1]
        self._others = [other for other in range(self._size) if other != rank]
        for line in self._lines:
            line.settimeout(timeout_seconds)

    def close(self) -> None:
        """The others find that this rank is gone."""
        for line in self._lines:
            line.close()

    def begin(self, tensor: Tensor) -> Callable[[Tensor], None]:
        """Begin a sum of a contiguous tensor; what is returned ends it, and writes it to a tensor of its shape.

        The same may be both.  Raises RankLostError, as its end does.
        """
        whole, most = tensor.view(-1), PIECE_BYTES // tensor.element_size()
        self._show_parts(whole[:most])

        def end(out: Tensor) -> None:
            places = out.view(-1)
            for start in range(0, len(whole), most):
                if start:
                    self._show_parts(whole[start : start + most])
                self._add(whole[start : start + most], places[start : start + most])

        return end

    def _show_parts(self, piece: Tensor) -> None:
        """Those that others add up."""
        board, (low, high) = self._parts[self._rank].view(piece.dtype), self._bounds(piece)[self._rank]
        board[:low] = piece[:low]
        board[high : len(piece)] = piece[high:]
        self._say()

    def _add(self, piece: Tensor, place: Tensor) -> None:
        """Add up this rank's part and show it; take the others'."""
        bounds = self._bounds(piece)
        low, high = bounds[self._rank]
        own, total = piece[low:high], place[low:high]
        self._hear()
        for other in self._others:
            own = torch.add(own, self._parts[other].view(piece.dtype)[low:high], out=total)
        self._sums[self._rank].view(piece.dtype)[: len(own)] = own
        self._say()
        self._hear()
        for other in self._others:
            low, high = bounds[other]
            place[low:high] = self._sums[other].view(piece.dtype)[: high - low]

    def _bounds(self, piece: Tensor) -> list[tuple[int, int]]:
        return list(pairwise(len(piece) * rank // self._size for rank in range(self._size + 1)))

    def _say(self) -> None:
        for other, line in zip(self._others, self._lines, strict=True):
            try:
                line.sendall(SAID)
            except OSError as error:
                raise self._lost(other, error) from error

    def _hear(self) -> None:
        for other, line in zip(self._others, self._lines, strict=True):
            try:
                said = line.recv(len(SAID))
            except OSError as error:
                raise self._lost(other, error) from error
            if not said:
                raise self._lost(other, "it ended")

    def _lost(self, other: int, reason: OSError | str) -> RankLostError:
        return RankLostError(self._rank, self._size, f"rank {other}: {reason}")
