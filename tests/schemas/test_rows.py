from typing import Any

import pytest
from pydantic import BaseModel

from app.schemas.courses import Course
from app.schemas.interactions import Interaction
from app.schemas.reports import RejectedRow
from app.schemas.rows import UnreadableRow, row_id, validate_rows
from app.schemas.users import User


def reject_one(model: type[BaseModel], row: Any, **options: Any) -> RejectedRow:
    good, (rejected,) = validate_rows(model, [row], **options)
    assert good == []
    return rejected


@pytest.mark.parametrize(
    ("model", "row", "detail"),
    [
        (User, {}, "user_id is missing"),
        (User, 3, "the row has value 3; wanted an object"),
        (User, {"user_id": 5}, "user_id has value 5; wanted a valid string"),
        (User, {"user_id": "a/b"}, "user_id has value 'a/b'; an id has 1 to 128 printable characters and no '/'"),
        (User, {"user_id": "u", "features": [1, "x"]}, "features.1 has value 'x'; wanted a valid number"),
        (User, {"user_id": "u", "features": [float("inf")]}, "features.0 has value inf; wanted a finite number"),
        (User, {"user_id": "u", "name": "Ann"}, "name is not a known key; wanted one of features, interests"),
        (Course, {"course_id": "c", "level": "x" * 129}, "'; wanted at most 128 characters"),
        (Interaction, {"user_id": "u", "course_id": "c", "timestamp": True}, "timestamp has value True; a time is"),
        (Interaction, {"user_id": "u", "course_id": "c", "value": []}, "value has value []; wanted a valid number"),
    ],
)
def test_a_rejection_names_the_key_the_value_and_what_was_wanted(model: type[BaseModel], row: Any, detail: str) -> None:
    rejected = reject_one(model, row)
    assert detail in rejected.detail
    assert (rejected.index, rejected.type) == (0, "invalid_value")


def test_good_and_bad_rows_keep_their_numbers() -> None:
    rows = [{"user_id": "a"}, {"user_id": ""}, UnreadableRow("the line is not JSON"), {"user_id": "b"}]
    good, rejected = validate_rows(User, rows)
    assert [(number, user.user_id) for number, user in good] == [(0, "a"), (3, "b")]
    assert [(row.index, row.id, row.type) for row in rejected] == [
        (1, None, "invalid_value"),
        (2, None, "malformed_row"),
    ]
    good, rejected = validate_rows(User, rows, numbers=[7, 8, 11, 12])
    assert ([number for number, _ in good], [row.index for row in rejected]) == ([7, 12], [8, 11])


def test_only_accepted_types_pass() -> None:
    row = {"user_id": "u", "course_id": "c", "type": "stare"}
    rejected = reject_one(Interaction, row, types=["view", "like"])
    assert rejected.detail == "type has value 'stare'; wanted one of view, like"
    assert rejected.id == "u/c/stare"
    assert len(validate_rows(Interaction, [row])[0]) == 1
    assert len(validate_rows(Interaction, [row | {"type": "like"}], types=["view", "like"])[0]) == 1


def test_a_report_stays_short_and_can_be_written() -> None:
    row = {"user_id": "\ud800" * 1_000, "features": list(range(10_000)), **{f"k{i}" * 500: "x" for i in range(1_000)}}
    rejected = reject_one(User, row)
    assert "; and 999 more" in rejected.detail
    assert len(rejected.model_dump_json().encode()) < 3_000


@pytest.mark.parametrize(
    ("row", "id_"),
    [
        ({"user_id": "u", "course_id": "c"}, "u/c"),
        ({"course_id": "c"}, "c"),
        ({"course_id": 7}, "7"),
        ({"user_id": ""}, None),
        ([], None),
        (None, None),
        (User(user_id="u"), "u"),
    ],
)
def test_a_row_is_named_as_far_as_it_can_be_read(row: object, id_: str | None) -> None:
    assert row_id(row) == id_
