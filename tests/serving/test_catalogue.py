from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from app.domain.changes import CourseChanged
from app.domain.courses import CourseFacts
from app.serving.catalogue import Catalogue, CatalogueView
from app.serving.index import ServingIndex
from app.serving.lists import rank_latest
from app.serving.options import Options
from tests.support.models import make_contents

COURSES = ["a", "b", "c"]
START = 100

all_facts = st.builds(CourseFacts, title=st.sampled_from(["x", "y"]), available=st.booleans())
states = st.dictionaries(st.sampled_from(COURSES), all_facts)
histories = st.lists(st.tuples(st.sampled_from(COURSES), st.none() | all_facts), max_size=12).map(
    lambda pairs: [CourseChanged(time, id_, facts) for time, (id_, facts) in enumerate(pairs, START + 1)]
)


def happen(state: dict[str, CourseFacts], change: CourseChanged) -> dict[str, CourseFacts]:
    rest = {id_: facts for id_, facts in state.items() if id_ != change.course_id}
    return rest if change.facts is None else rest | {change.course_id: change.facts}


@given(states, histories, st.data())
def test_own_writes_show_at_once_and_the_order_of_the_stream_stays(
    base: dict[str, CourseFacts], history: Sequence[CourseChanged], data: st.DataObject
) -> None:
    catalogue, state = Catalogue(base.items(), START), base
    last: dict[str, bool] = {}
    told_until = 0
    for change in history:
        state = happen(state, change)
        last[change.course_id] = data.draw(st.booleans())
        if last[change.course_id]:
            catalogue.apply_local(change)
        deliver = data.draw(st.integers(told_until, change.cluster_time - START))
        for delivered in history[told_until:deliver]:
            catalogue.apply(delivered)
        told_until = deliver
        catalogue.advance(START + told_until)
        for course in COURSES:
            if last.get(course):
                assert catalogue.get(course) == state.get(course)
    for change in [*history[told_until:], *history]:
        catalogue.apply(change)
    catalogue.advance(START + len(history))
    assert dict(catalogue.items()) == state
    assert len(catalogue) == len(state)
    assert {course for course in COURSES if course in catalogue} == set(state)


@given(states, histories)
def test_the_version_tells_whether_anything_changed(
    base: dict[str, CourseFacts], history: Sequence[CourseChanged]
) -> None:
    catalogue = Catalogue(base.items(), START)
    for number, change in enumerate(history):
        before, version = dict(catalogue.items()), catalogue.version
        (catalogue.apply_local if number % 2 else catalogue.apply)(change)
        assert (catalogue.version != version) == (dict(catalogue.items()) != before)


def test_a_view_never_changes() -> None:
    catalogue = Catalogue([("a", CourseFacts(categories=("x",))), ("n", CourseFacts()), ("m", CourseFacts())])
    view = CatalogueView(catalogue, ServingIndex("m-000001", make_contents(["u"], ["a", "gone"], [])))
    assert list(view.ids) == ["a", "gone", "m", "n"]
    catalogue.apply(CourseChanged(1, "a", None))
    catalogue.apply(CourseChanged(2, "m", CourseFacts(categories=("x",))))
    assert view.eligible.tolist() == [True, False, True, True]
    assert view.labelled("categories", ["x", "y"]).tolist() == [True, False, False, False]
    assert view.rows(["n", "gone", "what"]) == [3, 1]


def test_an_event_that_is_older_than_the_listing_is_passed_over() -> None:
    catalogue = Catalogue([("a", CourseFacts())], START)
    catalogue.apply(CourseChanged(START, "a", None))
    assert "a" in catalogue


def test_when_courses_came_out() -> None:
    first, second = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    catalogue = Catalogue([("a", CourseFacts(published_at=first)), ("b", CourseFacts())], START)
    assert dict(zip(catalogue.alone().ids, catalogue.alone().published, strict=True)) == {
        "a": first.timestamp(),
        "b": 0,
    }
    catalogue.apply(CourseChanged(START + 1, "a", CourseFacts(published_at=second)))
    assert catalogue.alone().published.tolist() == [second.timestamp(), 0]
    assert [item.course_id for item in rank_latest(catalogue, (), Options()).items] == ["a", "b"]
    assert [item.course_id for item in rank_latest(catalogue, ("a",), Options()).items] == ["b"]
    assert rank_latest(catalogue, ("a",), Options(categories=("x",))).items == []
