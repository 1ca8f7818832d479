import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.domain.courses import CourseFacts
from app.errors import InvalidValueError, UnknownCourseError, UnknownUserError
from app.schemas.courses import Course
from app.schemas.fields import MAX_ATTRIBUTES, MAX_FEATURES, MAX_ID_LENGTH, MAX_LABELS, MAX_TEXT_LENGTH
from app.schemas.interactions import Interaction
from app.schemas.users import User
from app.store.client import Database, cluster_time
from app.store.courses import CourseStore
from app.store.interactions import InteractionStore
from app.store.merge import merge_patch
from app.store.users import UserStore

COURSE = {
    "course_id": "c1",
    "title": "Graphs",
    "description": "",
    "categories": ["maths", "a.b", "$set"],
    "tags": ["t"],
    "level": "beginner",
    "language": "en",
    "url": "https://example.org",
    "prerequisites": ["c0"],
    "available": False,
    "features": [0.1, -2.0, 1e-300],
    "attributes": {"$ref": {"$id": 1}, "a.b": [None, True, 1.5], "": {}},
    "published_at": "2024-05-01T10:00:00.123000Z",
}

json_keys = st.sampled_from(["$ref", "$id", "$set", "a.b", "", "$where"]) | st.text(
    st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=5
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-(2.0**62), 2.0**62),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(json_keys, children, max_size=3),
    max_leaves=10,
)
ids = st.text(
    st.characters(exclude_categories=["C", "Z"], include_characters=" ", exclude_characters="/"),
    min_size=1,
    max_size=MAX_ID_LENGTH,
).filter(lambda id_: id_ not in {".", ".."})


async def test_a_course_comes_back_as_it_was_put(database: Database) -> None:
    store = CourseStore(database)
    written = await store.put(Course.model_validate(COURSE))
    assert (written.created, written.updated, written.unchanged) == (1, 0, 0)

    stored = json.loads((await store.get("c1")).model_dump_json())
    assert {key: stored[key] for key in COURSE} == COURSE
    assert stored["created_at"] == stored["updated_at"]


async def test_putting_replaces_all_but_the_time_of_creation(database: Database) -> None:
    store = CourseStore(database)
    await store.put(Course.model_validate(COURSE))
    created_at = (await store.get("c1")).created_at
    await asyncio.sleep(0.002)

    written = await store.put(Course(course_id="c1", title="Trees"))
    assert (written.created, written.updated) == (0, 1)
    course = await store.get("c1")
    assert (course.title, course.level, course.categories, course.attributes) == ("Trees", None, [], {})
    assert course.available
    assert course.created_at == created_at < course.updated_at


async def test_of_equal_ids_in_a_batch_the_last_counts(database: Database) -> None:
    store = CourseStore(database)
    await store.put(Course(course_id="old"))
    rows = [Course(course_id="new", title="1"), Course(course_id="old"), Course(course_id="new", title="2")]
    written = await store.put_many(rows)
    assert (written.created, written.updated, written.unchanged) == (1, 1, 1)
    assert (await store.get("new")).title == "2"


async def test_a_large_batch_of_new_and_known_records(database: Database) -> None:
    store = UserStore(database)
    await store.put_many([User(user_id=f"u{i}") for i in range(0, 3_000, 2)])
    written = await store.put_many([User(user_id=f"u{i}", features=[i]) for i in range(3_000)])
    assert (written.created, written.updated, written.unchanged) == (1_500, 1_500, 0)
    assert [user.features async for user in store.stream() if user.user_id == "u1000"] == [[1000.0]]
    assert await store.count() == 3_000


async def test_a_large_batch_with_a_single_known_record(database: Database) -> None:
    store = UserStore(database)
    await store.put(User(user_id="u1"))
    written = await store.put_many([User(user_id=f"u{i}", features=[i]) for i in range(1_000)])
    assert (written.created, written.updated, written.unchanged) == (999, 1, 0)
    assert (await store.get("u1")).features == [1.0]


async def test_a_write_tells_the_cluster_time_at_which_it_is_stored(database: Database) -> None:
    store = UserStore(database)
    before = await cluster_time(database)
    written = await store.put(User(user_id="u"))
    patched = await store.patch("u", {"attributes": {"a": 1}})
    erased = await store.delete("u")
    after = await cluster_time(database)
    assert before < written.cluster_time < patched.cluster_time < erased.cluster_time <= after


async def test_an_empty_batch_writes_nothing(database: Database) -> None:
    written = await UserStore(database).put_many([])
    assert (written.created, written.updated, written.unchanged) == (0, 0, 0)


async def test_unknown_ids(database: Database) -> None:
    users, courses = UserStore(database), CourseStore(database)
    with pytest.raises(UnknownUserError, match="'nobody'"):
        await users.get("nobody")
    with pytest.raises(UnknownUserError):
        await users.patch("nobody", {})
    with pytest.raises(UnknownUserError):
        await users.delete("nobody")
    with pytest.raises(UnknownCourseError, match="'nothing'"):
        await courses.delete("nothing")
    await users.create_bare(["a", "b"])
    assert await users.existing(["a", "c", "b"]) == {"a", "b"}
    assert await users.existing([]) == set()


async def test_a_bare_record_has_the_defaults(database: Database) -> None:
    courses = CourseStore(database)
    await courses.create_bare(["c"])
    course = await courses.get("c")
    assert (course.title, course.categories, course.available, course.attributes) == (None, [], True, {})
    assert [facts async for facts in courses.facts()] == [("c", CourseFacts())]


async def test_facts_are_what_serving_filters_by(database: Database) -> None:
    courses = CourseStore(database)
    await courses.put(Course.model_validate(COURSE))
    facts = CourseFacts("Graphs", ("maths", "a.b", "$set"), ("t",), "beginner", "en", ("c0",), available=False)
    assert [entry async for entry in courses.facts()] == [("c1", facts)]


# --- PATCH


async def test_patch_keeps_what_is_absent_and_clears_what_is_null(database: Database) -> None:
    store = UserStore(database)
    await store.put(User(user_id="u", interests={"a": 1, "b": 2}, attributes={"x": {"y": 1, "z": 2}}, features=[1]))
    await store.patch("u", {"interests": {"a": None, "c": 3}, "attributes": {"x": {"y": None}}})
    user = await store.get("u")
    assert (user.interests, user.attributes, user.features) == ({"b": 2, "c": 3}, {"x": {"z": 2}}, [1])
    patched = await store.patch("u", {"features": None, "interests": ["d"], "attributes": None})
    assert (patched.record.interests, patched.record.attributes, patched.record.features) == ({"d": 1}, {}, None)
    assert patched.record == await store.get("u")


async def test_a_change_sees_the_record_and_replaces_it(database: Database) -> None:
    store = UserStore(database)
    await store.put(User(user_id="u", interests={"a": 1}, attributes={"x": {"y": 1}}))
    changed = await store.change("u", lambda fields: {**fields, "attributes": {"x": {"z": None}}})
    assert changed.record == await store.get("u")
    assert (changed.record.interests, changed.record.attributes) == ({"a": 1}, {"x": {"z": None}})
    counted = [
        store.change("u", lambda fields: {**fields, "features": [*(fields["features"] or []), 1]}) for _ in range(5)
    ]
    await asyncio.gather(*counted)
    assert (await store.get("u")).features == [1] * 5
    with pytest.raises(UnknownUserError):
        await store.change("v", lambda fields: fields)
    with pytest.raises(ValidationError):
        await store.change("u", lambda fields: {**fields, "interests": 1})


async def test_rows_merged_into_records_are_not_written(database: Database) -> None:
    store = UserStore(database)
    await store.put(User(user_id="u", interests={"a": 1}, features=[1]))
    rows: list[tuple[str, dict[str, Any]]] = [
        ("u", {"features": None}),
        ("v", {"interests": {"b": 1}}),
        ("v", {"features": [2]}),
    ]
    records = await store.merged(rows, lambda before, changes: {**before, **changes})
    assert [(one.user_id, one.interests, one.features) for one in records] == [
        ("u", {"a": 1}, None),
        ("v", {"b": 1}, [2]),
    ]
    assert [one.features for one in (await store.page(10)).items] == [[1]]


async def test_patch_checks_the_result(database: Database) -> None:
    store = CourseStore(database)
    await store.put(Course(course_id="c", title="T", published_at="2024-01-01"))
    with pytest.raises(ValidationError):
        await store.patch("c", {"title": 5})
    with pytest.raises(ValidationError):
        await store.patch("c", {"colour": "red"})
    with pytest.raises(InvalidValueError, match="course_id has value 'd'"):
        await store.patch("c", {"course_id": "d"})
    patched = await store.patch("c", {"course_id": "c", "available": None, "title": None})
    assert patched.record.available
    assert patched.record.title is None
    assert patched.record.published_at is not None


async def test_patches_at_the_same_time_are_all_kept(database: Database) -> None:
    store = UserStore(database)
    await store.put(User(user_id="u"))
    await asyncio.gather(*(store.patch("u", {"attributes": {f"k{i}": i}}) for i in range(6)))
    assert (await store.get("u")).attributes == {f"k{i}": i for i in range(6)}


@given(target=json_values, patch=json_values)
def test_merge_is_that_of_rfc_7396(target: Any, patch: Any) -> None:
    copies = json.dumps(target), json.dumps(patch)
    merged = merge_patch(target, patch)
    assert (json.dumps(target), json.dumps(patch)) == copies, "the arguments are left alone"
    assert merge_patch(merged, patch) == merged, "twice is once"
    if not isinstance(patch, dict):
        assert merged == patch
        return
    before = target if isinstance(target, dict) else {}
    assert set(merged) == {key for key in before | patch if patch.get(key, ...) is not None}
    for key, value in merged.items():
        assert value == (merge_patch(before.get(key), patch[key]) if key in patch else before[key])


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # appendix A of RFC 7396
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_of_the_examples_of_rfc_7396(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


# --- ids and attributes


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(id_=ids, attributes=st.dictionaries(json_keys, json_values, max_size=4))
async def test_any_id_and_any_json_come_back(database: Database, id_: str, attributes: dict[str, Any]) -> None:
    users = UserStore(database)
    user = User(user_id=id_, attributes=attributes, interests=dict.fromkeys(filter(None, attributes), 0.5))
    await users.put(user)
    await users.patch(id_, {})
    stored = await users.get(id_)
    assert (stored.user_id, stored.interests) == (id_, user.interests)
    assert json.dumps(stored.attributes) == json.dumps(attributes), "the same types in the same order"
    assert (await users.delete(id_)).deleted.users == 1


async def test_the_largest_record_fits_in_a_document(database: Database) -> None:
    label = "\U0001f600" * MAX_ID_LENGTH
    course = Course(
        course_id=label,
        title=label,
        description="\U0001f600" * MAX_TEXT_LENGTH,
        categories=[label] * MAX_LABELS,
        tags=[label] * MAX_LABELS,
        prerequisites=[label] * MAX_LABELS,
        features=[1 / 3] * MAX_FEATURES,
        attributes={"a": "\x01" * (MAX_ATTRIBUTES - 100)},  # each is six characters in JSON
    )
    courses = CourseStore(database)
    await courses.put(course)
    assert (await courses.get(label)).model_dump(exclude={"created_at", "updated_at"}) == course.model_dump()
    with pytest.raises(ValidationError, match="must not have more than"):
        Course(course_id="c", attributes={"a": "x" * MAX_ATTRIBUTES})
    with pytest.raises(ValidationError, match="must not have more than"):
        Course(course_id="c", attributes={"a": list(range(MAX_ATTRIBUTES // 20))})


# --- pages


async def test_pages_follow_each_other_in_id_order_while_others_write(database: Database) -> None:
    store = UserStore(database)
    names = sorted(["a", "B", "é", "z", "$x", "a.b", "10", "9", "😀", "\uffef"])
    await store.create_bare(names)
    first = await store.page(4)
    assert [user.user_id for user in first.items] == names[:4]
    await store.delete(names[3])
    await store.put(User(user_id="!earlier"))
    second = await store.page(4, first.after)
    assert [user.user_id for user in second.items] == names[4:8]
    last = await store.page(2, second.after)
    assert [user.user_id for user in last.items] == names[8:]
    assert last.after is None


# --- deletion


async def test_a_deleted_user_takes_their_interactions_along(database: Database) -> None:
    users, courses, interactions = UserStore(database), CourseStore(database), InteractionStore(database)
    pairs = [("u", "c1"), ("u", "c2"), ("u2", "c1"), ("u ", "c1"), ("u.*", "c1")]
    await interactions.write_many([Interaction(user_id=u, course_id=c) for u, c in pairs], auto_create=True)

    erased = await users.delete("u")
    assert (erased.deleted.users, erased.deleted.courses, erased.deleted.interactions) == (1, 0, 2)
    left = {(row.user_id, row.course_id) async for row in interactions.stream()}
    assert left == {("u2", "c1"), ("u ", "c1"), ("u.*", "c1")}

    erased = await courses.delete("c1")
    assert (erased.deleted.users, erased.deleted.courses, erased.deleted.interactions) == (0, 1, 3)
    assert [row async for row in interactions.stream()] == []
    assert await users.existing(["u2", "u "]) == {"u2", "u "}


async def test_a_deletion_that_was_broken_off_is_finished_by_the_next(database: Database) -> None:
    users, interactions = UserStore(database), InteractionStore(database)
    await interactions.write_many([Interaction(user_id="u", course_id="c")], auto_create=True)
    await database["users"].delete_one({"_id": "u"})  # as if the server had died right after
    erased = await users.delete("u")
    assert (erased.deleted.users, erased.deleted.interactions) == (0, 1)
    with pytest.raises(UnknownUserError):
        await users.delete("u")
