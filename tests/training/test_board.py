"""Sums through shared memory: by threads, which read what they write as processes do."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor

from app.errors import RankLostError
from app.training.distributed import board
from app.training.distributed.board import Board, Ends

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there is no memory without a name")


@contextmanager
def boards(size: int, timeout_seconds: float = 20.0) -> Iterator[list[Board]]:
    made = [Board(rank, ends, timeout_seconds) for rank, ends in enumerate(Ends.of_ranks(size))]
    try:
        yield made
    finally:
        for each in made:
            each.close()


def by_all(made: list[Board], do: Callable[[int, Board], list[Tensor]]) -> list[list[Tensor]]:
    with ThreadPoolExecutor(len(made)) as pool:
        return list(pool.map(do, range(len(made)), made))


def drawn(rank: int, shapes: list[tuple[int, int]]) -> list[Tensor]:
    """Whole numbers, whose sums are exact in any order."""
    rng, dtypes = np.random.default_rng(rank), (torch.float32, torch.bfloat16, torch.float64)
    return [
        torch.from_numpy(rng.integers(-9, 9, shape)).to(dtypes[place % len(dtypes)])
        for place, shape in enumerate(shapes)
    ]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_sums_of_any_shapes_one_after_the_other(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than ranks, not divisible, several pieces, the last of which is short, from one length to another."""
    monkeypatch.setattr(board, "PIECE_BYTES", 4096)
    lengths = np.random.default_rng(9).integers(1, 900, 100).tolist()
    shapes = [(1, 1), (2, 1), (1, 3), (700, 5), (1024, 1), (1025, 1), *((length, 7) for length in lengths)]
    wanted = [torch.stack(parts).sum(0) for parts in zip(*(drawn(rank, shapes) for rank in range(size)), strict=True)]

    def do(rank: int, own: Board) -> list[Tensor]:
        found = []
        for place, tensor in enumerate(drawn(rank, shapes)):
            out = tensor if place % 2 else torch.full_like(tensor, 99.0)
            end = own.begin(tensor)
            if place % (rank + 2) == 0:
                time.sleep(0.001)  # some are late
            end(out)
            found.append(out)
        return found

    with boards(size) as made:
        for found in by_all(made, do):
            for sums, right in zip(found, wanted, strict=True):
                assert torch.equal(sums, right)


def test_all_have_the_same_bits() -> None:
    """However rounded: each number is added up by one of them."""

    def do(rank: int, own: Board) -> list[Tensor]:
        tensor = torch.from_numpy(np.random.default_rng(rank).standard_normal((501, 13)).astype(np.float32))
        own.begin(tensor)(tensor)
        return [tensor]

    with boards(3) as made:
        (first,), *others = by_all(made, do)
    assert all(torch.equal(first, other) for (other,) in others)


def test_one_that_is_gone_is_known_at_once() -> None:
    with boards(3) as made:
        made[1].close()
        for rank in (0, 2):
            with pytest.raises(RankLostError, match=f"rank {rank} of 3 lost another one: rank 1"):
                made[rank].begin(torch.ones(4))(torch.ones(4))


def test_one_that_says_nothing_is_given_up_in_time() -> None:
    with boards(2, timeout_seconds=0.2) as made:
        end = made[0].begin(torch.ones(4))
        with pytest.raises(RankLostError, match="rank 0 of 2 lost another one: rank 1: timed out"):
            end(torch.ones(4))
