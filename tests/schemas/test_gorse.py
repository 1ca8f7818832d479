"""Gorse's records in our words and back."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.schemas.courses import Course, StoredCourse
from app.schemas.gorse.feedback import GorseFeedback, to_interaction
from app.schemas.gorse.items import GorseItem, item_json, merge_item
from app.schemas.gorse.labels import fields_of_item, fields_of_user
from app.schemas.gorse.times import ZERO, parse_time, write_time
from app.schemas.gorse.users import GorseUser, merge_user, user_json
from app.schemas.users import StoredUser, User

TIMES = {
    "2022-02-24": "2022-02-24T00:00:00Z",
    "20220224": "2022-02-24T00:00:00Z",
    "2022": "2022-01-01T00:00:00Z",
    "2022-02": "2022-02-01T00:00:00Z",
    "2022/02/24": "2022-02-24T00:00:00Z",
    "2022-02-24T10:00:00Z": "2022-02-24T10:00:00Z",
    "2022-02-24T10:00:00.123456789+08:00": "2022-02-24T02:00:00.123456Z",
    "2022-02-24 10:00:00 +0000 UTC": "2022-02-24T10:00:00Z",
    "2026-11-24 13:17:14.123456789 +0800 CST m=+0.001": "2026-11-24T05:17:14.123456Z",
    "11/24/2026 1:17:14 PM": "2026-11-24T13:17:14Z",
    "11/24/2026 13:17:14": "2026-11-24T13:17:14Z",
    "Mon, 02 Jan 2006 15:04:05 GMT": "2006-01-02T15:04:05Z",
    "Mon Jan  2 15:04:05 2006": "2006-01-02T15:04:05Z",
    "May 8, 2009 5:57:51 PM": "2009-05-08T17:57:51Z",
    "8 May 2009": "2009-05-08T00:00:00Z",
    "1700000000": "2023-11-14T22:13:20Z",
    "1700000000123": "2023-11-14T22:13:20.123Z",
    "1922-01-01": "1922-01-01T00:00:00Z",
    "0099-01-01T00:00:00Z": "0099-01-01T00:00:00Z",
    "": ZERO,
    ZERO: ZERO,
}


@pytest.mark.parametrize(("text", "wanted"), TIMES.items())
def test_times_in_many_forms(text: str, wanted: str) -> None:
    assert write_time(parse_time(text)) == wanted


@pytest.mark.parametrize(
    "text", ["yesterday", "24.12.2022", "12", "99999999999", "2022-13-01", "１７０００００００００"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="wanted a time such as"):
        parse_time(text)


@given(st.datetimes(min_value=datetime(1, 1, 2), timezones=st.just(UTC)))
def test_times_are_read_as_they_are_written(time: datetime) -> None:
    assert parse_time(write_time(time)) == time


@pytest.mark.parametrize(
    ("labels", "item", "user"),
    [
        (None, {}, {}),
        ([], {}, {}),
        ("text", {}, {}),
        (["a", "b", "a"], {"tags": ["a", "b"]}, {"interests": {"a": 1.0, "b": 1.0}}),
        ([1, "a"], {}, {}),
        (["a", "", "x" * 129], {"tags": ["a"]}, {"interests": {"a": 1.0}}),
        ({"tags": ["a"], "age": 3}, {"tags": ["a"]}, {"interests": {"a": 1.0}}),
        ({"Tags": ["a"], "FEATURES": [1, 2.5]}, {"tags": ["a"], "features": [1.0, 2.5]}, None),
        ({"interests": {"x": 2}, "tags": ["a"]}, {"tags": ["a"]}, {"interests": {"x": 2.0}}),
        ({"interests": ["x"]}, {}, {"interests": {"x": 1.0}}),
        ({"features": ["a"], "tags": "b", "interests": 7}, {}, {}),
    ],
)
def test_what_is_taken_from_labels(labels: Any, item: dict[str, Any], user: dict[str, Any] | None) -> None:
    assert fields_of_item(labels) == item
    if user is not None:
        assert fields_of_user(labels) == user


def put_item(row: dict[str, Any], before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Our course of a row of Gorse's, as it is stored."""
    given_ = GorseItem.model_validate(row)
    merged = merge_item(before or {"course_id": given_.ItemId}, dict(given_))
    return Course.model_validate(merged).model_dump()


characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
texts, words = st.text(characters, max_size=1200), st.text(characters, max_size=5)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(-(2.0**62), 2.0**62)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@given(
    labels=json_values,
    comment=texts,
    hidden=st.booleans(),
    categories=st.lists(st.text("abc", min_size=1, max_size=2), max_size=3),
    time=st.none() | st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)),
)
@example(labels="", comment="", hidden=False, categories=[], time=None)
def test_an_item_comes_back_as_it_was_given(
    labels: Any, comment: str, hidden: bool, categories: list[str], time: datetime | None
) -> None:
    row = {
        **{"ItemId": "i", "IsHidden": hidden, "Categories": categories, "Labels": labels, "Comment": comment},
        "Timestamp": ZERO if time is None else write_time(time.replace(microsecond=0, tzinfo=UTC)),
    }
    stored = put_item(row)
    assert item_json(stored) == row
    assert stored["available"] is not hidden
    again = put_item(row, stored)
    assert again == stored


def test_a_new_row_leaves_alone_what_gorse_does_not_know() -> None:
    before = Course(course_id="i", description="long", level="beginner", tags=["a"], attributes={"x": 1}).model_dump()
    after = put_item({"ItemId": "i", "Comment": "T", "Labels": {"features": [1, 2]}}, before)
    assert (after["description"], after["level"], after["tags"], after["title"]) == ("long", "beginner", ["a"], "T")
    assert after["attributes"] == {"x": 1, "gorse": {"Labels": {"features": [1, 2]}}}
    last = put_item({"ItemId": "i"}, after)
    assert (last["features"], last["title"], last["tags"], last["attributes"]) == (None, None, ["a"], {"x": 1})


def test_labels_that_are_replaced_take_theirs_along() -> None:
    first = put_item({"ItemId": "i", "Labels": ["a", "b"]})
    assert first["tags"] == ["a", "b"]
    second = put_item({"ItemId": "i", "Labels": {"size": 3}}, first)
    assert (second["tags"], item_json(second)["Labels"]) == ([], {"size": 3})


def test_records_of_ours_as_gorse_shows_them() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    course = StoredCourse(course_id="c", title="T", tags=["a"], created_at=now, updated_at=now)
    assert item_json(course.__dict__) == {
        **{"ItemId": "c", "IsHidden": False, "Categories": [], "Timestamp": ZERO, "Labels": ["a"], "Comment": "T"}
    }
    user = StoredUser(user_id="u", interests={"a": 2.0}, created_at=now, updated_at=now)
    shown = user_json(user.__dict__)
    assert shown == {"UserId": "u", "Labels": ["a"], "Subscribe": None, "Comment": ""}
    sent_back = merge_user(user.model_dump(), dict(GorseUser.model_validate(shown)))
    assert User.model_validate(sent_back).interests == {"a": 2.0}  # what is shown may be sent back


def test_feedback_without_a_time_is_of_now() -> None:
    row = {
        "feedbacktype": "like",
        "USERID": "u",
        "ItemId": "i",
        "Timestamp": ZERO,
        "Comment": None,
        "Value": None,
        "x": 1,
    }
    interaction = to_interaction(GorseFeedback.model_validate(row))
    assert abs((datetime.now(UTC) - interaction.timestamp).total_seconds()) < 60
    assert (interaction.type, interaction.value, interaction.comment) == ("like", None, None)
