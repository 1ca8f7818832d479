import numpy as np
import pytest

from app.domain.interactions import Features
from app.graph.initial import FITTED_RMS, initial_vectors


def features(rows: list[int], n_columns: int, seed: int = 0) -> Features:
    values = np.random.default_rng(seed).normal(3, 50, (len(rows), n_columns)).astype(np.float32)
    return Features(np.array(rows, np.int32), values)


def test_features_of_the_right_size_are_taken_as_they_are() -> None:
    given = features([1, 3], 8)
    vectors = initial_vectors(5, 8, given, np.random.default_rng(0))
    assert (vectors[[1, 3]] == given.values).all()


def test_rows_without_features_are_xavier() -> None:
    vectors = initial_vectors(4000, 16, Features.none(), np.random.default_rng(0))
    bound = np.sqrt(6 / 4016)
    assert vectors.dtype == np.float32
    assert np.abs(vectors).max() <= bound
    assert vectors.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)


@pytest.mark.parametrize(("rows", "columns"), [(40, 3), (40, 30), (4, 30), (2, 30), (1, 30), (1, 1)])
def test_other_sizes_are_fitted(rows: int, columns: int) -> None:
    vectors = initial_vectors(50, 8, features(list(range(rows)), columns), np.random.default_rng(0))
    assert vectors.shape == (50, 8)
    assert np.isfinite(vectors).all()
    assert np.sqrt(np.mean(vectors[:rows] ** 2)) == pytest.approx(FITTED_RMS, rel=1e-4)


def test_a_projection_keeps_angles() -> None:
    given = features(list(range(10)), 3)
    vectors = initial_vectors(10, 16, given, np.random.default_rng(0)).astype(np.float64)
    gram, expected = vectors @ vectors.T, given.values.astype(np.float64) @ given.values.T
    np.testing.assert_allclose(gram / gram[0, 0], expected / expected[0, 0], rtol=1e-4, atol=1e-4)


def test_a_reduction_keeps_the_main_directions() -> None:
    rng = np.random.default_rng(0)
    low = rng.normal(size=(60, 4))
    given = Features(np.arange(60, dtype=np.int32), (low @ rng.normal(size=(4, 20))).astype(np.float32))
    vectors = initial_vectors(60, 4, given, np.random.default_rng(0)).astype(np.float64)
    centred = given.values - given.values.mean(0)
    gram, expected = vectors @ vectors.T, (centred @ centred.T).astype(np.float64)
    np.testing.assert_allclose(gram / gram[0, 0], expected / expected[0, 0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("columns", [3, 8, 30])
def test_features_that_are_all_the_same(columns: int) -> None:
    given = Features(np.arange(5, dtype=np.int32), np.zeros((5, columns), np.float32))
    vectors = initial_vectors(6, 8, given, np.random.default_rng(0))
    assert (vectors[:5] == 0).all()


def test_equal_seeds_give_equal_bits() -> None:
    first, second = (initial_vectors(30, 8, features([2, 5, 7], 20), np.random.default_rng(4)) for _ in range(2))
    assert (first == second).all()
