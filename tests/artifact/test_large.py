"""What is looked at piece by piece, so that a large model takes no memory, is looked at whole."""

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from app.artifact import load
from app.artifact.top_lists import LEAST, LENGTH, list_length
from app.artifact.write import _write_array


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("block", [1, 2, 3, 7, 1000])
def test_order_within_rows_is_seen_across_pieces(seed: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "BLOCK_NUMBERS", block)
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(rng.integers(0, 4, 12))])
    rows = [np.sort(rng.permutation(9)[: last - first]) for first, last in pairwise(starts)]
    items = np.concatenate(rows).astype(np.int32)
    assert load._ascending(starts, items)
    for place in range(1, len(items)):
        spoilt = items.copy()
        spoilt[place] = spoilt[place - 1]  # ascends no more, unless another row begins here
        assert load._ascending(starts, spoilt) == _ascending(starts, spoilt)


def _ascending(starts: np.ndarray, items: np.ndarray) -> bool:
    return all((np.diff(items[first:last]) > 0).all() for first, last in pairwise(starts))


@pytest.mark.parametrize("shape", [(0, 3), (5, 0), (1, 1), (10, 3), (4, 100)])
def test_pieces_are_the_whole(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "BLOCK_NUMBERS", 7)
    array = np.arange(shape[0] * shape[1]).reshape(shape)
    pieces = [*load._blocks(array)]
    assert all(piece.size for piece in pieces)
    assert sum(piece.size for piece in pieces) == array.size
    if pieces:
        assert np.array_equal(np.concatenate(pieces), array)


@pytest.mark.parametrize("shape", [(0,), (3,), (3_000_000,), (7, 5)])
def test_a_file_that_is_written_in_pieces_is_what_numpy_writes(shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.random.default_rng(0).random(shape, np.float32)
    facts = _write_array(tmp_path / "ours.npy", array)
    np.save(tmp_path / "numpy.npy", array)
    data = (tmp_path / "ours.npy").read_bytes()
    assert data == (tmp_path / "numpy.npy").read_bytes()
    assert facts.sha256 == hashlib.sha256(data).hexdigest()
    assert (facts.size_bytes, facts.shape, facts.dtype) == (len(data), shape, "<f4")


def test_lists_of_millions_of_users_take_no_more_than_their_vectors() -> None:
    vectors = 5_000_000 * 64 * 4
    length = list_length(5_000_000, 100_000, vectors)
    assert LEAST < length < LENGTH
    assert 5_000_000 * (8 * length + 4) <= vectors
    assert list_length(5_000_000, 100_000) == 0
