"""An item filter by what was taken and by target, against the matrix."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.domain.item_filter import ItemFilter
from tests.support.models import random_filter

N_ITEMS = 30

rows_of = st.sets(st.integers(0, N_ITEMS - 1), max_size=12).map(lambda rows: np.array(sorted(rows), np.int32))
targets_of = st.lists(st.integers(0, N_ITEMS - 1), unique=True, max_size=12).map(lambda rows: np.array(rows, np.int32))


def dense(item_filter: ItemFilter) -> NDArray[np.float32]:
    matrix = np.zeros((item_filter.n_items, item_filter.n_items), np.float32)
    rows = np.repeat(np.arange(item_filter.n_items), np.diff(item_filter.starts))
    matrix[rows, item_filter.items] = item_filter.values
    return matrix


def both(n_items: int, seed: int) -> list[ItemFilter]:
    """The same without and with its entries by target."""
    alone = random_filter(n_items, seed)
    by_target = alone.by_target()
    assert by_target is not None
    return [alone, replace(alone, sources=by_target[0], weights=by_target[1])]


@given(seed=st.integers(0, 20), rows=rows_of, targets=targets_of)
def test_what_a_few_items_get_is_in_the_matrix(seed: int, rows: NDArray[np.int32], targets: NDArray[np.int32]) -> None:
    for item_filter in both(N_ITEMS, seed):
        expected = dense(item_filter)[np.ix_(rows, targets)]
        np.testing.assert_array_equal(item_filter.contributions(rows, targets), expected)
        np.testing.assert_array_equal(item_filter.scores_of(rows, targets), expected.sum(axis=0))
        np.testing.assert_array_equal(item_filter.scores(rows), dense(item_filter)[rows].sum(axis=0))


@given(seed=st.integers(0, 20), rows=rows_of)
def test_courses_that_the_model_does_not_know_get_nothing(seed: int, rows: NDArray[np.int32]) -> None:
    for item_filter in both(N_ITEMS, seed):
        parts = item_filter.contributions(rows, [N_ITEMS, 3, N_ITEMS + 4])
        np.testing.assert_array_equal(parts[:, 1], dense(item_filter)[rows, 3])
        assert not parts[:, [0, 2]].any()


def test_for_hundreds_of_courses_taken() -> None:
    rows, targets = np.arange(0, 600, 2), np.array([599, 0, 300])
    for item_filter in both(600, 1):
        matrix = dense(item_filter)
        np.testing.assert_array_equal(item_filter.contributions(rows, targets), matrix[np.ix_(rows, targets)])
        np.testing.assert_array_equal(item_filter.contributions(targets, rows), matrix[np.ix_(targets, rows)])


@pytest.mark.parametrize("n_items", [0, 5])
def test_without_entries_there_is_nothing_by_target(n_items: int) -> None:
    empty = ItemFilter(np.zeros(n_items + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    assert empty.by_target() is None
    assert not empty.scores(np.arange(n_items)).any()


def test_items_with_far_more_entries_than_others_are_not_padded_for() -> None:
    """One column with an entry in each row would make every row of the padded matrix as long."""
    starts, items = np.arange(101, dtype=np.int64), np.zeros(100, np.int32)
    assert ItemFilter(starts, items, np.ones(100, np.float32)).by_target() is None
