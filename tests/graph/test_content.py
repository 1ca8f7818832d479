"""Vectors from words and features, for nodes that the graph hardly knows."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.domain.content import ContentMap, Encoder
from app.domain.courses import CourseFacts
from app.domain.embeddings import Embeddings
from app.domain.interactions import Features, Snapshot
from app.domain.words import BLOCK, LABEL_COUNT, Words, count_tokens, words_of_courses, words_of_users
from app.graph.bipartite import BipartiteGraph
from app.graph.content import STRETCH, WELL_KNOWN, Content, contents_of, learn_encoder
from tests.support.content import with_content
from tests.support.models import make_snapshot

TITLES = {
    "python": ["Python for beginners", "Advanced Python", "Python and data", "Data with Python"],
    "painting": ["Oil painting", "Painting in the open", "The painting of Vermeer", "Watercolour painting"],
    "中文": ["机器学习导论", "深度学习与机器学习", "机器学习实践", "学习机器翻译"],
}


def words() -> Words:
    titles = [title for group in TITLES.values() for title in group]
    return words_of_courses([CourseFacts(title=title) for title in titles])


def test_texts_of_one_subject_are_near_in_any_language() -> None:
    encoder = learn_encoder(words(), 8, 0)
    assert encoder is not None
    encoded = encoder.encode(words())
    np.testing.assert_allclose(np.linalg.norm(encoded, axis=1), 1, rtol=1e-5)
    likeness = encoded @ encoded.T
    np.fill_diagonal(likeness, -1)
    assert (likeness.argmax(axis=1) // 4 == np.arange(12) // 4).all()


def test_the_encoding_of_a_record_depends_on_nothing_else() -> None:
    """Nor on the blocks in which records are counted."""
    encoder = learn_encoder(words(), 8, 0)
    assert encoder is not None
    many = Words([*words().labels] * BLOCK, [*words().texts] * BLOCK)
    one_by_one = np.concatenate([encoder.encode(words().part(row, row + 1)) for row in range(12)])
    np.testing.assert_allclose(encoder.encode(many), np.tile(one_by_one, (BLOCK, 1)), atol=1e-6)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=5))
def test_tokens_by_the_book(texts: list[str]) -> None:
    """Every word once for each time it stands there, every run of 2 to 4 characters in it too, and nothing else."""
    found = count_tokens(Words([["level:easy"]] * len(texts), texts))
    assert (np.diff(found.rows) >= 0).all()
    plain = [count_tokens(Words([[]], [text])) for text in texts]
    for row, text in enumerate(texts):
        own = found.counts[found.rows == row]
        assert own.sum() == plain[row].counts.sum() + LABEL_COUNT
        spaced = count_tokens(Words([[]], [f"  {text.upper() if text.isascii() else text} !"]))
        np.testing.assert_array_equal(spaced.tokens, plain[row].tokens)
        assert spaced.counts.sum() == sum(
            1 + sum(max(len(word) - length + 1, 0) for length in (2, 3, 4)) for word in _words(text)
        )


def _words(text: str) -> list[str]:
    import re
    import unicodedata

    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).casefold()).split()


def test_interests_meet_the_labels_of_courses() -> None:
    course = count_tokens(words_of_courses([CourseFacts(tags=("law",), categories=("law", "art"))]))
    user = count_tokens(words_of_users([{"law": 2.0, "art": -1.0}]))
    assert len(np.intersect1d(course.tokens, user.tokens)) == 1


def test_without_words_in_common_there_is_no_encoder() -> None:
    assert learn_encoder(Words([["a"], ["b"]], ["", ""]), 4, 0) is None
    assert learn_encoder(Words([], []), 4, 0) is None


def test_equal_words_have_equal_digests() -> None:
    assert words().digest == words().digest
    assert Words([["a"]], ["b"]).digest != Words([["a", "b"]], [""]).digest
    assert Words([["a"], []], ["", ""]).digest != Words([[], ["a"]], ["", ""]).digest


# --- with a model

N_USERS, N_ITEMS, SIZE = 60, 50, 6


def graph_and_vectors() -> tuple[BipartiteGraph, Embeddings]:
    """Item 0 has no edge, item 1 one, the others many; user 0 has none."""
    rng = np.random.default_rng(0)
    pairs = {(int(u), int(i)) for u in range(1, N_USERS) for i in rng.choice(np.arange(2, N_ITEMS), 25, replace=False)}
    rows = np.array(sorted(pairs | {(3, 1)}))
    graph = BipartiteGraph.from_pairs(rows[:, 0], rows[:, 1], n_users=N_USERS, n_items=N_ITEMS)
    user, item, first, messages = (
        rng.normal(size=(n, SIZE)).astype(np.float32) for n in (N_USERS, N_ITEMS, N_ITEMS, N_ITEMS)
    )
    return graph, Embeddings(user, item, first, messages)


def linear_content(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Content of which the vectors are a linear function."""
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(SIZE, SIZE)))
    content: NDArray[np.float32] = (vectors @ rotation).astype(np.float32)
    return content


def test_only_little_known_items_change_and_the_regression_speaks_for_them() -> None:
    graph, vectors = graph_and_vectors()
    assert np.bincount(graph.user_items.indices)[2:].min() >= WELL_KNOWN
    content = linear_content(vectors.item_vectors)
    placed, content_map = with_content(vectors, graph, Content(content))
    assert content_map is None, "there are no words"
    for name in ("item_vectors", "initial_item", "item_messages"):
        np.testing.assert_array_equal(getattr(placed, name)[2:], getattr(vectors, name)[2:])
    mean = vectors.item_vectors[2:].mean(axis=0)
    wanted = mean + STRETCH * (vectors.item_vectors[:2] - mean)
    np.testing.assert_allclose(placed.item_vectors[:2], wanted, atol=0.05)
    assert (placed.initial_item[0] != vectors.initial_item[0]).any()
    np.testing.assert_array_equal(placed.initial_item[1], vectors.initial_item[1])  # users' vectors are made of it
    assert placed.item_messages is not None
    assert vectors.item_messages is not None
    np.testing.assert_array_equal(placed.item_messages[1], vectors.item_messages[1])


def test_what_else_is_added_to_scores_is_told_by_content_too() -> None:
    graph, vectors = graph_and_vectors()
    more = np.random.default_rng(3).normal(size=(N_ITEMS, SIZE)).astype(np.float32)
    placed, _ = with_content(vectors, graph, Content(linear_content(vectors.item_vectors + more)), more=more)
    mean = (vectors.item_vectors + more)[2:].mean(axis=0)
    wanted = mean + STRETCH * ((vectors.item_vectors + more)[:2] - mean)
    np.testing.assert_allclose(placed.item_vectors[:2], wanted, atol=0.05)
    np.testing.assert_array_equal(placed.item_vectors[2:], vectors.item_vectors[2:])


def test_users_without_an_edge_get_a_vector_or_zeros() -> None:
    graph, vectors = graph_and_vectors()
    placed, _ = with_content(vectors, graph, None, Content(linear_content(vectors.user_vectors)))
    np.testing.assert_allclose(placed.user_vectors[0], vectors.user_vectors[0], atol=0.05)
    np.testing.assert_array_equal(placed.user_vectors[1:], vectors.user_vectors[1:])
    placed, _ = with_content(vectors, graph, None, None)
    assert not placed.user_vectors[0].any()


def test_items_of_which_nothing_is_known_stay() -> None:
    graph, vectors = graph_and_vectors()
    content = linear_content(vectors.item_vectors)
    content[0] = 0
    placed, _ = with_content(vectors, graph, Content(content))
    np.testing.assert_array_equal(placed.item_vectors[0], vectors.item_vectors[0])


def test_too_few_well_known_items_teach_nothing() -> None:
    graph, vectors = graph_and_vectors()
    content = linear_content(vectors.item_vectors)
    content[15:] = 0
    placed, _ = with_content(vectors, graph, Content(content))
    np.testing.assert_array_equal(placed.item_vectors, vectors.item_vectors)


def snapshot_of(features: Features, item_words: Words | None) -> Snapshot:
    items = [f"c{row:02}" for row in range(12)]
    return replace(make_snapshot(["u"], items, []), item_features=features, item_words=item_words)


def test_words_and_features_stand_side_by_side() -> None:
    features = Features(np.array([0, 5], np.int32), np.array([[1, 2, 3], [4, 5, 7]], np.float32))
    users, items = contents_of(snapshot_of(features, words()), 4, 0)
    assert users is None
    assert items is not None
    assert items.values.shape == (12, 8)
    np.testing.assert_array_equal(np.flatnonzero(items.values[:, 4:].any(axis=1)), [0, 5])
    _, without = contents_of(snapshot_of(features, None), 4, 0)
    assert without is not None
    assert (without.encoder, without.values.shape) == (None, (12, 4))
    assert contents_of(snapshot_of(Features.none(), None), 4, 0) == (None, None)


def test_the_map_for_newer_courses_is_the_one_for_little_known_ones() -> None:
    graph, vectors = graph_and_vectors()
    labels = [[f"topic:{row % 7}", f"level:{row % 3}"] for row in range(N_ITEMS)]
    own = Words(labels, [""] * N_ITEMS)
    encoder = learn_encoder(own, SIZE, 0)
    assert encoder is not None
    placed, content_map = with_content(vectors, graph, Content(encoder.encode(own), encoder))
    assert content_map is not None
    np.testing.assert_allclose(content_map.vectors(own.part(0, 2)), placed.item_vectors[:2], atol=1e-5)
    assert not content_map.vectors(Words([["topic:unheard-of"]], ["nothing"])).any()


@pytest.mark.parametrize("n", [0, 1])
def test_hardly_any_records(n: int) -> None:
    encoder = Encoder(np.array([7], np.uint32), np.ones(1, np.float32), np.ones((1, 2), np.float32))
    content_map = ContentMap(encoder, np.ones((2, 3), np.float32), np.zeros(3, np.float32))
    assert content_map.vectors(Words([[]] * n, [""] * n)).shape == (n, 3)
