import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.serving.diversity import diversify


def cosine(a: list[int], b: list[int]) -> float:
    lengths = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


@given(st.data(), st.sampled_from([0.0, 0.3, 0.7, 1.0]), st.integers(1, 9))
def test_each_step_takes_the_best_of_the_rest(data: st.DataObject, diversity: float, n: int) -> None:
    vectors = data.draw(st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), max_size=8))
    scores = sorted(data.draw(st.lists(st.integers(-5, 5), min_size=len(vectors), max_size=len(vectors))), reverse=True)
    order = diversify(np.array(scores, np.float32), np.array(vectors, np.float32).reshape(-1, 3), diversity, n).tolist()
    assert len(order) == len(set(order)) == min(n, len(scores))
    span = max(scores, default=0) - min(scores, default=0)

    def value(place: int, taken: list[int]) -> float:
        relevance = (scores[place] - scores[-1]) / span if span else 1.0
        if not taken:
            return (1 - diversity) * relevance
        likeness = max(cosine(vectors[place], vectors[other]) for other in taken)
        return (1 - diversity) * relevance - diversity * likeness

    for step, place in enumerate(order):
        taken = order[:step]
        best = max(value(other, taken) for other in range(len(scores)) if other not in taken)
        assert value(place, taken) >= best - 1e-5


def test_without_diversity_nothing_moves() -> None:
    scores, vectors = np.array([3.0, 2.0, 2.0, 1.0], np.float32), np.ones((4, 2), np.float32)
    assert diversify(scores, vectors, 0.0, 4).tolist() == [0, 1, 2, 3]


def test_a_twin_of_the_first_comes_last() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert diversify(np.array([3.0, 2.9, 1.0], np.float32), vectors, 0.6, 3).tolist() == [0, 2, 1]
