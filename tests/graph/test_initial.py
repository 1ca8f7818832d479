import numpy as np
import pytest

from app.graph.initial import FITTED_RMS, fit_features


def features(n_rows: int, n_columns: int) -> np.ndarray:
    return np.random.default_rng(0).normal(3, 50, (n_rows, n_columns)).astype(np.float32)


def test_features_of_the_right_size_are_taken_as_they_are() -> None:
    given = features(2, 8)
    assert (fit_features(given, 8, np.random.default_rng(0)) == given).all()


@pytest.mark.parametrize(("rows", "columns"), [(40, 3), (40, 30), (4, 30), (2, 30), (1, 30), (1, 1)])
def test_other_sizes_are_fitted(rows: int, columns: int) -> None:
    vectors = fit_features(features(rows, columns), 8, np.random.default_rng(0))
    assert vectors.shape == (rows, 8)
    assert np.isfinite(vectors).all()
    assert np.sqrt(np.mean(vectors**2)) == pytest.approx(FITTED_RMS, rel=1e-4)


def test_a_projection_keeps_angles() -> None:
    given = features(10, 3)
    vectors = fit_features(given, 16, np.random.default_rng(0)).astype(np.float64)
    gram, expected = vectors @ vectors.T, given.astype(np.float64) @ given.T
    np.testing.assert_allclose(gram / gram[0, 0], expected / expected[0, 0], rtol=1e-4, atol=1e-4)


def test_a_reduction_keeps_the_main_directions() -> None:
    rng = np.random.default_rng(0)
    low = rng.normal(size=(60, 4))
    given = (low @ rng.normal(size=(4, 20))).astype(np.float32)
    vectors = fit_features(given, 4, np.random.default_rng(0)).astype(np.float64)
    centred = given - given.mean(0)
    gram, expected = vectors @ vectors.T, (centred @ centred.T).astype(np.float64)
    np.testing.assert_allclose(gram / gram[0, 0], expected / expected[0, 0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("columns", [3, 8, 30])
def test_features_that_are_all_the_same(columns: int) -> None:
    assert (fit_features(np.zeros((5, columns), np.float32), 8, np.random.default_rng(0)) == 0).all()


def test_equal_seeds_give_equal_bits() -> None:
    first, second = (fit_features(features(3, 20), 8, np.random.default_rng(4)) for _ in range(2))
    assert (first == second).all()
