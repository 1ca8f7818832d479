import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.ranking import softmax_percent, top_n
from app.serving.options import Options

finite = st.floats(-50, 50, allow_subnormal=False)


def sorted_rows(scores: np.ndarray, allowed: np.ndarray, n: int) -> list[int]:
    rows = [row for row in range(len(scores)) if allowed[row]]
    return sorted(rows, key=lambda row: (-scores[row], row))[:n]


@given(st.data())
def test_small_top_n_is_the_sorted_list(data: st.DataObject) -> None:
    scores = np.array(data.draw(st.lists(st.integers(-3, 3), max_size=30)), np.float32)
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))), np.bool_)
    n = data.draw(st.integers(1, 40))
    assert top_n(scores, allowed, n).tolist() == sorted_rows(scores, allowed, n)


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1000, 5000),
    levels=st.sampled_from([1, 3, 100, 10**6]),
    share=st.sampled_from([0.0, 0.001, 0.01, 0.5, 1.0]),
    n=st.sampled_from([1, 10, 100, 500, 1500, 9000]),
)
def test_large_top_n_is_the_sorted_list(seed: int, size: int, levels: int, share: float, n: int) -> None:
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, levels, size) / 8).astype(np.float32)
    allowed = rng.random(size) < share
    assert top_n(scores, allowed, n).tolist() == sorted_rows(scores, allowed, n)


def test_a_refused_row_is_not_listed_even_when_it_is_the_only_good_one() -> None:
    assert top_n(np.array([9.0, -9.0, 1.0]), np.array([False, True, False]), 3).tolist() == [1]


@given(scores=st.lists(finite, min_size=1, max_size=20), temperature=st.floats(0.1, 100))
def test_percent_is_the_softmax(scores: list[float], temperature: float) -> None:
    exponentials = [math.exp((score - max(scores)) / temperature) for score in scores]
    expected = [100 * value / sum(exponentials) for value in exponentials]
    found = softmax_percent(np.array(scores), temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert found.sum() == pytest.approx(100)


@given(over=st.lists(finite, min_size=1, max_size=30), n=st.integers(0, 30), temperature=st.floats(0.1, 100))
def test_percent_over_more_than_is_listed(over: list[float], n: int, temperature: float) -> None:
    scores = np.array(over)
    found = softmax_percent(scores[:n], temperature, scores)
    np.testing.assert_allclose(found, softmax_percent(scores, temperature)[:n], rtol=1e-12)
    assert found.sum() <= 100 + 1e-9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", [5e-324, 1e-30, 1.0, 1e300])
def test_nothing_overflows(dtype: type[np.floating], temperature: float) -> None:
    found = softmax_percent(np.array([3e38, 3e38, 0, -3e38], dtype), temperature)
    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(100)
    assert found[0] == found[1]


def test_an_empty_list_has_no_percentages() -> None:
    assert len(softmax_percent(np.empty(0), 1.0)) == 0


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"offset": -1}, {"temperature": 0.0}, {"temperature": math.inf}, {"temperature": math.nan}]
)
def test_options_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="; wanted"):
        Options(**wrong)  # type: ignore[arg-type]  # names and kinds are right, mypy cannot see it
