"""Nearest courses and users against plain loops."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.changes import InteractionChanged, UserChanged
from app.domain.courses import CourseFacts
from app.serving.catalogue import Catalogue, CatalogueView
from app.serving.index import ServingIndex
from app.serving.live import LiveModel
from app.serving.neighbours import Neighbours, Steps, at_once, similar_by_labels
from app.serving.options import Options
from tests.support.models import TYPES, Key, light_gcn_contents

USERS, ITEMS = ["u0", "u1", "u2", "u3"], ["c0", "c1", "c2", "c3"]
START = 100

keys = st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), st.sampled_from(TYPES))
key_sets = st.sets(keys, min_size=1)


Found = TypeVar("Found")


def live_of(base: set[Key], available: set[str]) -> LiveModel:
    catalogue = Catalogue([(item, CourseFacts(available=item in available)) for item in ITEMS], START)
    contents = light_gcn_contents(USERS, ITEMS, base)
    contents.user_vectors[contents.user_degrees == 0] = 0.0  # as training leaves them
    return LiveModel(ServingIndex("m-000001", contents), catalogue)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / lengths if lengths else 0.0


@given(key_sets, st.sets(st.sampled_from(ITEMS)), st.sampled_from(ITEMS), st.integers(1, 4))
def test_similar_courses(base: set[Key], available: set[str], course: str, n: int) -> None:
    live = live_of(base, available)
    vectors = dict(zip(ITEMS, live.index.item_vectors, strict=True))
    found = Neighbours(live).courses(course, n)
    others = sorted(available - {course}, key=lambda other: -cosine(vectors[course], vectors[other]))
    assert len(found) == min(n, len(others))
    for near, expected in zip(found, others, strict=False):
        assert near.similarity == pytest.approx(cosine(vectors[course], vectors[expected]), abs=1e-5)
        assert near.similarity == pytest.approx(cosine(vectors[course], vectors[near.course_id]), abs=1e-5)
        both = {u for u, c, _ in base if c == course} & {u for u, c, _ in base if c == near.course_id}
        assert near.shared == len(both)


@given(key_sets, st.sampled_from([*USERS, "unknown"]), st.integers(1, 4), st.none() | st.sampled_from(USERS))
def test_similar_users(base: set[Key], user: str, n: int, deleted: str | None) -> None:
    live = live_of(base, set(ITEMS))
    if deleted:
        live.overlay.apply(UserChanged(START + 1, deleted, removed=True))
    with_edges = {u for u, _, type_ in base if type_ != "drop"} - {deleted}
    found = Neighbours(live).users(user, n)
    if user not in with_edges:
        assert found == []
        return
    vectors = dict(zip(USERS, live.index.contents.user_vectors, strict=True))
    expected = sorted((cosine(vectors[user], vectors[other]) for other in with_edges - {user}), reverse=True)[:n]
    assert [near.similarity for near in found] == pytest.approx(expected, abs=1e-5)
    assert {near.user_id for near in found} <= with_edges - {user}


@given(key_sets, st.sets(keys), st.sampled_from(ITEMS), st.integers(1, 4), st.none() | st.sampled_from(USERS))
def test_users_for_a_course(base: set[Key], now: set[Key], course: str, n: int, deleted: str | None) -> None:
    live = live_of(base, set(ITEMS))
    for key in sorted(base ^ now):
        live.overlay.apply(InteractionChanged(START + 1, *key, removed=key in base))
    if deleted:
        live.overlay.apply(UserChanged(START + 1, deleted, removed=True))
    ranks = {}
    for user in {u for u, _, type_ in base if type_ != "drop"} - {deleted}:
        for item in live.recommend(user, Options(n=10)).items:
            if item.course_id == course:
                ranks[user] = item.rank
    found = Neighbours(live).users_for(course, n)
    assert [near.rank for near in found] == sorted(ranks.values())[:n]
    assert all(ranks[near.user_id] == near.rank for near in found)


def told_meanwhile(steps: Steps[Found], tell: Callable[[], object]) -> Steps[Found]:
    done = None
    while True:
        try:
            work = steps.send(done)
        except StopIteration as end:
            result: Found = end.value
            return result
        done = yield work
        tell()


def test_who_is_deleted_while_others_are_looked_at_is_not_found() -> None:
    taken = {(user, "c0", "enroll") for user in USERS} | {(user, "c1", "enroll") for user in USERS[:2]}

    def ask(live: LiveModel, what: str) -> Steps[list[Any]]:
        neighbours = Neighbours(live)
        return neighbours.nearest_users(USERS[0], 9) if what == "similar" else neighbours.ranked_users("c1", 9)

    for what in ("similar", "for a course"):
        live = live_of(taken, set(ITEMS))
        before = {near.user_id for near in at_once(ask(live, what))}
        assert USERS[2] in before
        gone = partial(live.overlay.apply, UserChanged(START + 1, USERS[2], removed=True))
        found = {near.user_id for near in at_once(told_meanwhile(ask(live, what), gone))}
        assert found == before - {USERS[2]}


def test_courses_that_are_not_known() -> None:
    neighbours = Neighbours(live_of({("u0", "c0", "enroll")}, set(ITEMS)))
    assert neighbours.courses("unknown", 3) == []
    assert neighbours.users_for("unknown", 3) == []


def test_by_labels() -> None:
    courses = {
        "a": CourseFacts(categories=("x", "y"), level="easy"),
        "b": CourseFacts(categories=("x", "y"), level="hard"),
        "c": CourseFacts(categories=("x",), level="easy"),
        "d": CourseFacts(tags=("x",), level="hard"),
        "e": CourseFacts(categories=("x", "y"), level="easy", available=False),
    }
    found = similar_by_labels(CatalogueView(Catalogue(courses.items()), None), "a", 5)
    assert [(near.course_id, near.similarity) for near in found] == [("c", pytest.approx(2 / 3)), ("b", 0.5)]
    assert similar_by_labels(CatalogueView(Catalogue(courses.items()), None), "unknown", 5) == []


def test_a_new_course_is_compared_by_labels() -> None:
    courses = [(item, CourseFacts(tags=("x",) if item > "c1" else ("y",))) for item in [*ITEMS, "new"]]
    index = ServingIndex("m-000001", light_gcn_contents(USERS, ITEMS, {("u0", "c0", "enroll")}))
    found = Neighbours(LiveModel(index, Catalogue(courses, START))).courses("new", 5)
    assert [near.course_id for near in found] == ["c2", "c3"]


@given(key_sets, st.sets(st.sampled_from(["a", "b"])), st.sampled_from(ITEMS), st.integers(1, 4))
def test_similar_courses_of_some_categories_are_those_of_all_of_them(
    base: set[Key], wanted: set[str], course: str, n: int
) -> None:
    categories = {"c0": ("a",), "c1": ("a", "b"), "c2": ("b",), "c3": ()}
    catalogue = Catalogue([(item, CourseFacts(categories=categories[item])) for item in ITEMS], START)
    contents = light_gcn_contents(USERS, ITEMS, base)
    live = LiveModel(ServingIndex("m-000001", contents), catalogue)
    near = Neighbours(live).courses(course, len(ITEMS))
    fitting = [one for one in near if not wanted or wanted & set(categories[one.course_id])]
    assert Neighbours(live).courses(course, n, sorted(wanted)) == fitting[:n]
    alone = similar_by_labels(catalogue.alone(), course, len(ITEMS))
    fitting = [one for one in alone if not wanted or wanted & set(categories[one.course_id])]
    assert similar_by_labels(catalogue.alone(), course, n, sorted(wanted)) == fitting[:n]
