"""Fold-in and explanation against whole propagations of the changed graph."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.changes import InteractionChanged, UserChanged
from app.domain.contents import ArtifactContents
from app.domain.courses import CourseFacts
from app.serving.catalogue import Catalogue
from app.serving.content import Profile
from app.serving.fold_in import Edges, known_parts, new_parts, trained_edges
from app.serving.index import ServingIndex
from app.serving.live import LiveModel
from app.serving.options import Options
from tests.support.models import TYPES, Key, light_gcn, light_gcn_contents, make_snapshot, random_filter

USERS, ITEMS = ["u0", "u1", "u2"], ["c0", "c1", "c2", "c3", "c4"]
START = 100

layers, combinations = st.integers(0, 3), st.sampled_from(["sum", "mean"])
key_sets = st.sets(st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), st.sampled_from(TYPES)), min_size=1)


def live_of(contents: ArtifactContents) -> LiveModel:
    return LiveModel(ServingIndex("m-000001", contents), Catalogue([(item, CourseFacts()) for item in ITEMS], START))


def change(live: LiveModel, before: set[Key], after: set[Key]) -> None:
    for key in sorted(before ^ after):
        live.overlay.apply(InteractionChanged(START + 1, *key, removed=key in before))


@given(key_sets, layers, combinations)
def test_the_parts_of_a_trained_vector_add_up_to_it(keys: set[Key], n_layers: int, combination: str) -> None:
    contents = light_gcn_contents(USERS, ITEMS, keys, n_layers=n_layers, combination=combination)
    for row in range(len(USERS)):
        parts = known_parts(contents, row, trained_edges(contents, row))
        np.testing.assert_allclose(parts.vector, contents.user_vectors[row], rtol=1e-6)


@given(key_sets, layers, combinations)
def test_the_own_part_is_layer_0(keys: set[Key], n_layers: int, combination: str) -> None:
    """What is left of a user's vector without the edges is the weighted layer 0, though the model does not keep it."""
    contents = light_gcn_contents(USERS, ITEMS, keys, n_layers=n_layers, combination=combination)
    layer0 = np.random.default_rng(7).normal(size=(len(USERS) + len(ITEMS), 4))
    for row in range(len(USERS)):
        parts = known_parts(contents, row, trained_edges(contents, row))
        np.testing.assert_allclose(parts.own, contents.own_weight * layer0[row], atol=1e-5)


@given(key_sets, key_sets, layers, combinations, st.booleans())
def test_the_own_contribution_is_that_of_layer_0(
    before: set[Key], after: set[Key], n_layers: int, combination: str, filtered: bool
) -> None:
    """It is given as what the others leave of the score, which says something of them as it is known without them."""
    item_filter = random_filter(len(ITEMS)) if filtered else None
    contents = light_gcn_contents(
        USERS, ITEMS, before, n_layers=n_layers, combination=combination, item_filter=item_filter
    )
    live = live_of(contents)
    change(live, before, after)
    layer0 = np.random.default_rng(7).normal(size=(len(USERS) + len(ITEMS), 4))
    for row, user_id in enumerate(USERS):
        if live.index.user_row(user_id) is None:
            continue
        own = contents.own_weight * layer0[row] @ contents.item_vectors.T
        for reasons, expected in zip(live.explain(user_id, ITEMS), own, strict=True):
            assert reasons[-1].course_id is None
            assert reasons[-1].contribution == pytest.approx(expected, abs=1e-4)


@given(key_sets, key_sets, st.integers(0, 1), combinations)
def test_up_to_one_layer_a_changed_user_is_as_if_propagated_anew(
    before: set[Key], after: set[Key], n_layers: int, combination: str
) -> None:
    """One layer sees the items' layer 0 alone, which the change leaves as it is: there fold-in is exact."""
    after = {key for key in before if key[0] != "u0"} | {key for key in after if key[0] == "u0"}
    live = live_of(light_gcn_contents(USERS, ITEMS, before, n_layers=n_layers, combination=combination))
    change(live, before, after)
    layer0 = np.random.default_rng(7).normal(size=(len(USERS) + len(ITEMS), 4))
    user = live.users.get("u0")
    if user is None:
        assert not any(key[0] == "u0" and key[2] != "drop" for key in after)
    elif live.index.user_row("u0") is not None:
        expected = light_gcn(make_snapshot(USERS, ITEMS, after), layer0, n_layers, combination).user_vectors[0]
        np.testing.assert_allclose(user.vector, expected, atol=1e-5)
        if any(key[0] == "u0" and key[2] != "drop" for key in before):
            assert user.source == "model"
        else:  # had only what content says
            assert user.source == (
                "fold_in" if any(key[0] == "u0" and key[2] != "drop" for key in after) else "content"
            )
    else:
        assert user.source == "fold_in"


@given(key_sets, key_sets, st.integers(0, 1), combinations)
def test_up_to_one_layer_a_new_user_is_as_if_propagated_anew(
    before: set[Key], own: set[Key], n_layers: int, combination: str
) -> None:
    """From a layer 0 that is one normalised hop of the items'."""
    live = live_of(light_gcn_contents(USERS, ITEMS, before, n_layers=n_layers, combination=combination))
    added = {("v", item, type_) for _, item, type_ in own}
    change(live, before, before | added)
    user = live.users.get("v")
    if all(type_ == "drop" for _, _, type_ in added):
        assert user is None
        return
    layer0 = np.random.default_rng(7).normal(size=(len(USERS) + len(ITEMS), 4))
    grown = make_snapshot([*USERS, "v"], ITEMS, before | added)  # v comes last
    start = np.insert(layer0, len(USERS), 0.0, axis=0)
    one_hop = light_gcn(grown, start, 1).user_vectors[-1]
    start[len(USERS)] = one_hop
    assert user is not None
    assert user.source == "fold_in"
    expected = light_gcn(grown, start, n_layers, combination).user_vectors[-1]
    np.testing.assert_allclose(user.vector, expected, atol=1e-5)


@given(key_sets, layers)
def test_changing_nothing_changes_no_vector(keys: set[Key], n_layers: int) -> None:
    live = live_of(light_gcn_contents(USERS, ITEMS, keys, n_layers=n_layers))
    change(live, set(), keys)  # all are told again
    for row, user_id in enumerate(USERS):
        user = live.users.get(user_id)
        if user is not None:
            np.testing.assert_allclose(user.vector, live.index.contents.user_vectors[row], rtol=1e-6, atol=1e-7)


@given(key_sets, st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.5, 1.0, 2.0])), min_size=1))
def test_fold_in_by_the_formula(keys: set[Key], pairs: list[tuple[int, float]]) -> None:
    contents = light_gcn_contents(USERS, ITEMS, keys, n_layers=3, combination="mean")
    edges = dict(sorted(pairs))
    found = new_parts(contents, Edges(np.array(list(edges), np.int32), np.array(list(edges.values())))).vector
    assert contents.item_messages is not None
    expected = np.zeros(4)
    for item, weight in edges.items():
        norm = weight / np.sqrt(sum(edges.values()) * (contents.item_degrees[item] + weight))
        expected += norm * (contents.item_messages[item] + contents.own_weight * contents.initial_item[item])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@given(key_sets, st.sets(st.sampled_from(ITEMS), min_size=1))
def test_strangers_are_folded_in_by_the_messages_that_are_for_them(keys: set[Key], taken: set[str]) -> None:
    contents = light_gcn_contents(USERS, ITEMS, keys, n_layers=2)
    sent = np.random.default_rng(0).standard_normal(contents.item_vectors.shape).astype(np.float32)
    live = live_of(replace(contents, fold_in_messages=sent))
    change(live, set(), {("stranger", course_id, TYPES[0]) for course_id in taken})
    user, edges = live.users.get("stranger"), live.overlay.edges("stranger")
    assert user is not None
    norms = edges.weights / np.sqrt(edges.weights.sum() * (contents.item_degrees[edges.rows] + edges.weights))
    np.testing.assert_allclose(user.vector, norms @ sent[edges.rows], rtol=1e-5, atol=1e-6)
    answer = live.recommend("stranger", Options(n=100, exclude_seen=False))
    assert answer.source == "fold_in"
    for item, reasons in zip(
        answer.items, live.explain("stranger", [item.course_id for item in answer.items]), strict=True
    ):
        assert sum(reason.contribution for reason in reasons) == pytest.approx(item.score, abs=1e-5)


@given(
    before=key_sets,
    after=st.sets(st.tuples(st.sampled_from([*USERS, "v"]), st.sampled_from(ITEMS), st.sampled_from(TYPES))),
    n_layers=layers,
    combination=combinations,
    user=st.sampled_from([*USERS, "v", "never-met"]),
)
def test_contributions_add_up_to_the_score(
    before: set[Key], after: set[Key], n_layers: int, combination: str, user: str
) -> None:
    live = live_of(light_gcn_contents(USERS, ITEMS, before, n_layers=n_layers, combination=combination))
    change(live, before, after)
    answer = live.recommend(user, Options(n=100, exclude_seen=False))
    explained = live.explain(user, [item.course_id for item in answer.items])
    if answer.source == "popular":
        assert explained == [[]] * len(answer.items)
        return
    edges = {course for u, course, type_ in after if u == user and type_ != "drop"}
    for item, reasons in zip(answer.items, explained, strict=True):
        assert sum(reason.contribution for reason in reasons) == pytest.approx(item.score, abs=1e-5)
        assert sum(abs(reason.percent) for reason in reasons) == pytest.approx(100)
        assert {reason.course_id for reason in reasons} == edges | {None}
        by_courses = [reason.contribution for reason in reasons[:-1]]
        assert by_courses == sorted(by_courses, reverse=True)


class TestWho:
    """Whose vector is used."""

    @pytest.fixture
    def live(self) -> LiveModel:
        keys = {("u0", "c0", "enroll"), ("u1", "c0", "enroll"), ("u1", "c1", "like"), ("u2", "c2", "drop")}
        contents = light_gcn_contents(USERS, ITEMS, keys)
        contents.user_vectors[2] = 0.0  # as training leaves somebody without an edge of whom nothing else is known
        return live_of(contents)

    def test_a_deleted_user_who_comes_again_is_new(self, live: LiveModel) -> None:
        live.overlay.apply(UserChanged(START + 1, "u0", removed=True))
        assert live.recommend("u0", Options()).source == "popular"
        live.overlay.apply(InteractionChanged(START + 2, "u0", "c1", "enroll", removed=False))
        assert live.recommend("u0", Options()).source == "fold_in"
        assert [reason.course_id for reason in live.explain("u0", ["c2"])[0]] == ["c1", None]
        assert live.explain("u0", ["c2"])[0][-1].contribution == 0

    def test_somebody_without_an_edge_has_no_vector_until_there_is_one(self, live: LiveModel) -> None:
        assert live.recommend("u2", Options()).source == "popular"
        live.overlay.apply(InteractionChanged(START + 1, "u2", "c1", "enroll", removed=False))
        assert live.recommend("u2", Options()).source == "fold_in"

    def test_somebody_without_an_edge_may_have_a_vector_from_content(self, live: LiveModel) -> None:
        live.index.contents.user_vectors[2] = [1.0, 2.0, 0.0, -1.0]
        answer = live.recommend("u2", Options(exclude_seen=False))
        assert answer.source == "content"
        reasons = live.explain("u2", [answer.items[0].course_id])[0]
        assert [reason.course_id for reason in reasons] == [None]
        assert reasons[0].contribution == pytest.approx(answer.items[0].score)
        live.overlay.apply(InteractionChanged(START + 1, "u2", "c1", "enroll", removed=False))
        assert live.recommend("u2", Options()).source == "fold_in"
        assert [reason.course_id for reason in live.explain("u2", ["c0"])[0]] == ["c1", None]

    def test_a_course_that_the_model_does_not_know_makes_no_vector(self, live: LiveModel) -> None:
        live.overlay.apply(InteractionChanged(START + 1, "v", "new", "enroll", removed=False))
        assert live.recommend("v", Options()).source == "popular"

    def test_the_vector_is_made_once_for_each_change(self, live: LiveModel) -> None:
        live.overlay.apply(InteractionChanged(START + 1, "u0", "c1", "enroll", removed=False))
        first = live.users.get("u0")
        assert live.users.get("u0") is first
        live.overlay.apply(InteractionChanged(START + 2, "u0", "c2", "enroll", removed=False))
        assert live.users.get("u0") is not first

    def test_anonymous(self, live: LiveModel) -> None:
        answer = live.recommend_to(["c0"], Profile({}), Options())
        live.overlay.apply(InteractionChanged(START + 1, "v", "c0", "enroll", removed=False))
        known = live.recommend("v", Options())
        assert (answer.source, answer.items) == ("fold_in", known.items)
        assert live.recommend_to([], Profile({}), Options()).source == "popular"
        assert live.recommend_to(["unheard-of"], Profile({"art": 1.0}), Options()).source == "popular"
