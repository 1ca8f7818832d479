import errno
import os

import numpy as np
import pytest

from app.training.distributed.scratch import LEAST_BYTES, scratch
from app.training.layer0 import Learned


def test_the_rows_of_some_users_and_all_items() -> None:
    rng = np.random.default_rng(0)
    users, items = rng.standard_normal((9, 4), np.float32), rng.standard_normal((5, 4), np.float32)
    learned = Learned(users, items)
    assert learned.shape == (14, 4)
    np.testing.assert_array_equal(learned.whole(), np.concatenate([users, items]))
    np.testing.assert_array_equal(learned.part(2, 6), np.concatenate([users[2:6], items]))
    learned.whole()[:] = 0
    assert users.all()
    assert [*map(len, learned.tables())] == [9, 5]


def test_what_is_large_is_not_in_memory() -> None:
    small, large = scratch((10, 3), np.float64), scratch((LEAST_BYTES // 4, 1), np.float32)
    assert not isinstance(small, np.memmap)
    assert isinstance(large, np.memmap)
    assert (large.shape, large.dtype) == ((LEAST_BYTES // 4, 1), np.float32)
    large[:] = 3.0
    assert large.sum(dtype=np.float64) == 3.0 * len(large)


def test_without_room_on_the_disk_it_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "posix_fallocate", full)
    found = scratch((LEAST_BYTES // 4, 1), np.float32)
    assert not isinstance(found, np.memmap)
    found[:] = 1.0
