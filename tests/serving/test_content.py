"""What labels tell of courses that are newer than the model, and of interests."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.artifact.top_lists import with_top_lists
from app.domain.changes import CourseChanged, InteractionChanged
from app.domain.content import ContentMap
from app.domain.contents import ArtifactContents
from app.domain.courses import CourseFacts
from app.domain.words import words_of_courses
from app.graph.content import learn_encoder
from app.serving.catalogue import Catalogue, CatalogueView
from app.serving.content import NewCourses, Profile, known_edges
from app.serving.fold_in import new_parts
from app.serving.index import ServingIndex
from app.serving.live import LiveModel
from app.serving.options import Options
from tests.support.models import light_gcn_contents

ITEMS = tuple(f"c{number:02}" for number in range(40))
USERS = tuple(f"u{number:02}" for number in range(30))
START = 100


def facts_of(row: int) -> CourseFacts:
    return CourseFacts(categories=("art" if row % 2 else "law",), tags=(f"t{row % 5}",), level="easy")


@pytest.fixture
def contents() -> ArtifactContents:
    """Half the users take art only, the others law."""
    keys = {
        (user, item, "enroll")
        for number, user in enumerate(USERS)
        for row, item in enumerate(ITEMS)
        if row % 2 == number % 2 and (row + number) % 3
    }
    return replace(light_gcn_contents(USERS, ITEMS, keys), popularity=np.full(40, 12, np.float32))


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue([(item, facts_of(row)) for row, item in enumerate(ITEMS)], START)


@pytest.fixture
def index(contents: ArtifactContents) -> ServingIndex:
    """The model with a map from the courses' words, as a retrain publishes it."""
    words = words_of_courses([facts_of(row) for row in range(len(ITEMS))])
    encoder = learn_encoder(words, 4, 0)
    assert encoder is not None
    weights, *_ = np.linalg.lstsq(encoder.encode(words), contents.item_vectors, rcond=None)
    return ServingIndex("m-000001", replace(contents, content=ContentMap(encoder, weights, np.zeros(4, np.float32))))


def test_unknown_words_say_nothing(index: ServingIndex) -> None:
    assert index.contents.content is not None
    new = NewCourses(index.contents.content)
    assert not new.vectors([CourseFacts(tags=("unheard-of",)), CourseFacts()]).any()


def test_each_new_course_is_asked_once(index: ServingIndex) -> None:
    content = index.contents.content
    assert content is not None
    new = NewCourses(content)
    some = [facts_of(0), facts_of(1), facts_of(0)]
    first = new.vectors(some)
    np.testing.assert_array_equal(first, content.vectors(words_of_courses(some)))
    again = new.vectors([*some, facts_of(2)])
    np.testing.assert_array_equal(again[:3], first)
    np.testing.assert_allclose(again[3], content.vectors(words_of_courses([facts_of(2)]))[0], rtol=1e-6)


def test_new_courses_take_their_places_in_the_lists(index: ServingIndex, catalogue: Catalogue) -> None:
    live = LiveModel(index, catalogue)
    for name, label in (("new-art", "art"), ("new-law", "law")):
        catalogue.apply(CourseChanged(START + 1, name, CourseFacts(categories=(label,), level="easy")))
    for wanted in (Options(n=100), Options(n=3), Options(n=3, offset=2, percent_over="candidates")):
        answer = live.recommend("u01", wanted)
        vector = index.contents.user_vectors[1]
        scores = {item: float(index.item_vectors[row] @ vector) for row, item in enumerate(ITEMS)}
        for place, name in enumerate(("new-art", "new-law")):
            scores[name] = float(live.shelf.course_vectors([40 + place])[0] @ vector)
        taken = {ITEMS[row] for row in index.seen_items("u01")}
        best = sorted((id_ for id_ in scores if id_ not in taken), key=lambda id_: -scores[id_])
        assert [item.course_id for item in answer.items] == best[wanted.offset : wanted.offset + wanted.n]
        for item in answer.items:
            assert item.score == pytest.approx(scores[item.course_id], abs=1e-5)
    assert scores["new-art"] > scores["new-law"]
    assert next(live.recommend_many(["u01"], Options(n=100))).items == live.recommend("u01", Options(n=100)).items
    assert sum(reason.contribution for reason in live.explain("u01", ["new-art"])[0]) == pytest.approx(
        scores["new-art"], abs=1e-5
    )


def test_a_new_course_that_was_taken_is_not_listed(index: ServingIndex, catalogue: Catalogue) -> None:
    live = LiveModel(index, catalogue)
    catalogue.apply(CourseChanged(START + 1, "new-art", CourseFacts(categories=("art",))))
    assert "new-art" in {item.course_id for item in live.recommend("u01", Options(n=100)).items}
    live.overlay.apply_local(InteractionChanged(START + 1, "u01", "new-art", "enroll", removed=False))
    assert "new-art" not in {item.course_id for item in live.recommend("u01", Options(n=100)).items}


def test_interests_share_their_weight(contents: ArtifactContents, catalogue: Catalogue) -> None:
    view = CatalogueView(catalogue, ServingIndex("m-000001", contents))
    edges = known_edges(view, ["c00", "unheard-of"], {"t1": 4.0, "art": 2.0, "law": -1.0, "nothing": 9.0})
    weights = dict(zip(edges.rows.tolist(), edges.weights.tolist(), strict=True))
    assert weights[0] == 1.0
    assert weights[1] == pytest.approx(4 / 8 + 2 / 20)  # both t1 and art
    assert weights[3] == pytest.approx(2 / 20)
    assert weights[6] == pytest.approx(4 / 8)
    assert 2 not in weights


def test_interests_find_their_courses(contents: ArtifactContents, catalogue: Catalogue) -> None:
    live = LiveModel(ServingIndex("m-000001", contents), catalogue)
    answer = live.recommend_to([], Profile({"art": 1.0}), Options(n=10))
    assert answer.source == "content"
    assert sum(int(item.course_id[1:]) % 2 for item in answer.items) >= 8


some_facts = st.builds(
    CourseFacts,
    categories=st.lists(st.sampled_from(["art", "law"]), max_size=2, unique=True).map(tuple),
    tags=st.lists(st.sampled_from(["t0", "t3", "unheard-of"]), max_size=2, unique=True).map(tuple),
    level=st.none() | st.just("easy"),
    available=st.sampled_from([True, True, False]),
)
wishes = st.builds(
    Options,
    n=st.sampled_from([1, 5, 10, 100]),
    offset=st.sampled_from([0, 0, 3]),
    categories=st.sampled_from([(), (), ("art",), ("art", "law")]),
    tags=st.sampled_from([(), (), ("t0",), ("t3", "unheard-of")]),
    exclude=st.lists(st.sampled_from([*ITEMS[:9], "new-1"]), max_size=3).map(tuple),
    exclude_seen=st.booleans(),
)


def may_be_listed(course: str, facts: CourseFacts, seen: set[str], wanted: Options) -> bool:
    return (
        facts.available
        and course not in seen
        and course not in wanted.exclude
        and (not wanted.categories or not set(facts.categories).isdisjoint(wanted.categories))
        and (not wanted.tags or not set(facts.tags).isdisjoint(wanted.tags))
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the model never changes
@given(
    new=st.dictionaries(st.sampled_from(["a-new", "new-1", "z-new"]), some_facts, min_size=1),
    taken=st.sets(st.sampled_from([*ITEMS[:12], "a-new", "new-1"]), max_size=4),
    interests=st.dictionaries(st.sampled_from(["art", "law", "t0", "t3", "unheard-of"]), st.floats(0.1, 4), max_size=3),
    wanted=wishes,
    who=st.sampled_from(["u01", "u02", "met-later", "anonymous"]),
    length=st.sampled_from([0, 8, 100]),
)
def test_lists_with_new_courses_and_profiles_are_the_brute_force_ones(
    index: ServingIndex,
    new: dict[str, CourseFacts],
    taken: set[str],
    interests: dict[str, float],
    wanted: Options,
    who: str,
    length: int,
) -> None:
    contents = with_top_lists(index.contents, length) if length else index.contents
    catalogue = Catalogue([(item, facts_of(row)) for row, item in enumerate(ITEMS)], START)
    live = LiveModel(ServingIndex("m-000001", contents), catalogue)
    for course, facts in new.items():
        catalogue.apply(CourseChanged(START + 1, course, facts))
    if who == "anonymous":
        answer = live.recommend_to(sorted(taken), Profile(interests), wanted)
        edges, seen = known_edges(live.shelf.view, sorted(taken), interests), taken
        vector = new_parts(contents, edges).vector if len(edges.rows) else None
    else:
        for course in sorted(taken):
            live.overlay.apply(InteractionChanged(START + 1, who, course, "enroll", removed=False))
        answer, user = live.recommend(who, wanted), live.users.get(who)
        seen, vector = set(live.overlay.types_by_course(who)), None if user is None else user.vector
    assert contents.content is not None
    vectors = dict(zip(ITEMS, contents.item_vectors, strict=True))
    for course, facts in new.items():
        vectors[course] = contents.content.vectors(words_of_courses([facts]))[0]
    catalogue_now = {item: facts_of(row) for row, item in enumerate(ITEMS)} | new
    left_out = seen if wanted.exclude_seen else set()
    allowed = [course for course, facts in catalogue_now.items() if may_be_listed(course, facts, left_out, wanted)]
    ids = [item.course_id for item in answer.items]
    assert len(set(ids)) == len(ids)
    assert set(ids) <= set(allowed)
    if ids:
        assert sum(item.percent for item in answer.items) == pytest.approx(100)
    if vector is None:
        assert answer.source == "popular"
        assert len(ids) == max(0, min(wanted.n, len(allowed) - wanted.offset))
        return
    scores = {course: float(sum(vector.astype(float) * vectors[course])) for course in allowed}
    best = sorted(scores.values(), reverse=True)[wanted.offset : wanted.offset + wanted.n]
    np.testing.assert_allclose([item.score for item in answer.items], best, rtol=0, atol=1e-5)
    np.testing.assert_allclose([item.score for item in answer.items], [scores[id_] for id_ in ids], rtol=0, atol=1e-5)
    reasons = live.explain_to(sorted(taken), Profile(interests), ids) if who == "anonymous" else live.explain(who, ids)
    sums = [sum(reason.contribution for reason in own) for own in reasons]
    np.testing.assert_allclose(sums, best, rtol=0, atol=1e-5)
