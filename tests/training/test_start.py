from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import app.training.start as module
from app.domain.interactions import Features
from app.domain.words import Words
from app.graph.bipartite import BipartiteGraph
from app.graph.content import Content, learn_encoder
from app.training.config import Recipe, TrainingConfig
from app.training.start import start_vectors
from tests.support.graphs import random_graph

NONE = Features.none()
SPECTRAL = TrainingConfig(embedding_size=8).recipe(900, 40)
XAVIER = replace(SPECTRAL, start="xavier")


def features(rows: list[int], n_columns: int = 8) -> Features:
    values = np.random.default_rng(0).normal(3, 50, (len(rows), n_columns)).astype(np.float32)
    return Features(np.array(rows, np.int32), values)


def isolated(n_users: int = 60, n_items: int = 40) -> BipartiteGraph:
    """Every fifth user and the last item have no edge."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, n_users, 900), rng.integers(0, n_items - 1, 900)
    some = users % 5 != 0
    return BipartiteGraph.from_pairs(users[some], items[some], n_users=n_users, n_items=n_items)


@pytest.mark.parametrize("recipe", [SPECTRAL, XAVIER])
@pytest.mark.parametrize("bounds", [[0, 60], [0, 7, 8, 8, 41, 60]])
def test_parts_have_the_bits_of_the_whole(recipe: Recipe, bounds: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ROWS", 16)
    graph = isolated()
    start = start_vectors(graph, recipe, features([3, 7, 8, 59]), features([0, 39]))
    whole = start.whole()
    assert start.shape == whole.shape == (100, 8)
    for low, high in pairwise(bounds):
        np.testing.assert_array_equal(start.part(low, high), np.concatenate([whole[low:high], whole[60:]]))


def test_blocks_do_not_repeat_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ROWS", 16)
    vectors = start_vectors(isolated(), XAVIER, NONE, NONE).whole()
    assert len(np.unique(vectors, axis=0)) == len(vectors)
    assert (start_vectors(isolated(), replace(XAVIER, seed=1), NONE, NONE).whole() != vectors).all()


def test_features_of_the_right_size_are_taken_as_they_are() -> None:
    users, items = features([1, 3]), features([2])
    vectors = start_vectors(isolated(), SPECTRAL, users, items).whole()
    np.testing.assert_array_equal(vectors[[1, 3]], users.values)
    np.testing.assert_array_equal(vectors[[62]], items.values)


def test_when_all_nodes_have_features_nothing_is_drawn() -> None:
    users, items = features([*range(60)]), features([*range(40)])
    start = start_vectors(isolated(), SPECTRAL, users, items)
    assert start.sent.size == 0
    np.testing.assert_array_equal(start.whole(), np.concatenate([users.values, items.values]))


def test_rows_without_features_are_xavier() -> None:
    graph = BipartiteGraph.from_pairs(np.zeros(1, int), np.zeros(1, int), n_users=40_000, n_items=3)
    vectors = start_vectors(graph, replace(XAVIER, embedding_size=16), NONE, NONE).whole()[:40_000]
    bound = np.sqrt(6 / 40_016)
    assert vectors.dtype == np.float32
    assert np.abs(vectors).max() <= bound
    assert vectors.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)


def test_the_spectral_start_is_the_singular_vectors_of_the_wanted_size() -> None:
    graph = random_graph(weighted=True, n_users=60, n_items=40)
    norms = graph.user_items.toarray() / np.sqrt(np.outer(graph.user_degrees, graph.item_degrees).clip(1e-9))
    left, _, right = np.linalg.svd(norms)
    vectors = start_vectors(graph, replace(SPECTRAL, embedding_size=3), NONE, NONE).whole().astype(np.float64)
    assert np.sqrt(np.mean(vectors**2)) == pytest.approx(SPECTRAL.start_rms, rel=0.03)
    for own, exact in ((vectors[:60], left[:, :3]), (vectors[60:], right[:3].T)):
        cosines = np.linalg.svd(np.linalg.qr(own)[0].T @ exact)[1]  # of the angles between the two spaces
        assert cosines[1] > 0.97  # the third value of a random graph is close to the fourth


def test_a_node_without_edges_starts_from_its_words() -> None:
    graph = isolated()
    words = Words([[f"topic:{row % 7}", f"area:{row % 3}"] for row in range(40)], [""] * 40)
    encoder = learn_encoder(words, 8, 0)
    assert encoder is not None
    content = Content(encoder.encode(words), encoder)
    plain = start_vectors(graph, SPECTRAL, NONE, NONE).whole()
    told = start_vectors(graph, SPECTRAL, NONE, NONE, item_content=content).whole()
    np.testing.assert_array_equal(told[:99], plain[:99])
    assert (told[99] != plain[99]).any()
