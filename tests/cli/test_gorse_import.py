"""`coursegraph import --from-gorse`: what Gorse has exported is loaded as it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pymongo import MongoClient
from pymongo.database import Database

from app.cli import group
from app.errors import ImportFileError

Run = Callable[..., Result]
Mongo = Database[dict[str, Any]]

# As Gorse's dashboard exports them.
USERS = """\
{"UserId":"ada","Labels":{"tags":["sql"],"age":36},"Subscribe":["x"],"Comment":"Ada"}
{"UserId":"bob","Labels":null,"Subscribe":null,"Comment":""}
"""
ITEMS = """\
{"ItemId":"vuejs:vue","IsHidden":false,"Categories":["js"],"Timestamp":"2022-02-24T00:00:00Z","Labels":["ui"],"Comment":"Vue"}
{"ItemId":"hidden","IsHidden":true,"Categories":null,"Timestamp":"0001-01-01T00:00:00Z","Labels":null,"Comment":""}
"""
FEEDBACK = """\
{"FeedbackType":"star","UserId":"ada","ItemId":"vuejs:vue","Value":5,"Timestamp":"2022-02-24T10:00:00.5Z","Updated":"2022-02-24T10:00:00Z","Comment":"good"}
{"FeedbackType":"read","UserId":"cyd","ItemId":"new","Value":0,"Timestamp":"2022-02-25T00:00:00Z","Comment":""}
"""


@pytest.fixture
def run(mongodb_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `coursegraph import` on the database of this test."""
    monkeypatch.setenv("MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("MONGODB_DATABASE", database_name)

    def call(*arguments: object, raises: type[Exception] | None = None) -> Result:
        result = CliRunner().invoke(group, ["import", *map(str, arguments)])
        error = result.exception
        if raises is None and error is not None and not isinstance(error, SystemExit):
            raise error
        assert raises is None or isinstance(error, raises)
        return result

    return call


@pytest.fixture
def mongo(mongodb_admin: MongoClient[dict[str, Any]], database_name: str) -> Mongo:
    return mongodb_admin[database_name]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    texts = {"feedback": FEEDBACK, "items": ITEMS, "users": USERS}
    paths = {name: tmp_path / f"{name}.jsonl" for name in texts}
    for name, path in paths.items():
        path.write_text(texts[name])
    return paths


def test_three_files_in_any_order(run: Run, mongo: Mongo, files: dict[str, Path]) -> None:
    for times in (1, 2):
        result = run("--from-gorse", *files.values())
        assert result.exit_code == 0, result.output
        created, updated = (2, 0) if times == 1 else (0, 2)
        for kind in ("users", "courses", "interactions"):
            assert f"{kind}: 2 rows, 2 accepted ({created} created, {updated} updated, 0 unchanged)" in result.output
    users = {user["_id"]: user for user in mongo["users"].find()}
    assert set(users) == {"ada", "bob", "cyd"}
    assert json.loads(users["ada"]["interests"]) == {"sql": 1.0}
    assert json.loads(users["ada"]["attributes"]) == {
        "gorse": {"Labels": {"tags": ["sql"], "age": 36}, "Subscribe": ["x"], "Comment": "Ada"}
    }
    courses = {course["_id"]: course for course in mongo["courses"].find()}
    assert set(courses) == {"vuejs:vue", "hidden", "new"}
    vue, hidden = courses["vuejs:vue"], courses["hidden"]
    assert (vue["title"], vue["tags"], vue["categories"], vue["available"]) == ("Vue", ["ui"], ["js"], True)
    assert (hidden["available"], hidden["published_at"]) == (False, None)
    star, read = sorted(mongo["interactions"].find(), key=lambda row: row["_id"])
    assert (star["type"], star["value"], star["comment"]) == ("star", 5, "good")
    assert star["timestamp"].isoformat() == "2022-02-24T10:00:00.500000+00:00"
    assert read["type"] == "read"
    assert "comment" not in read


def test_one_file(run: Run, mongo: Mongo, files: dict[str, Path]) -> None:
    assert run("--from-gorse", files["items"], "--dry-run").exit_code == 0
    assert mongo["courses"].count_documents({}) == 0
    assert run("--from-gorse", files["items"]).exit_code == 0
    assert mongo["courses"].count_documents({}) == 2


def test_bad_rows_are_named(run: Run, mongo: Mongo, files: dict[str, Path], tmp_path: Path) -> None:
    with files["feedback"].open("a") as file:
        file.write('{"FeedbackType":"star","UserId":"a/b","ItemId":"i"}\nnot json\n')
    with files["users"].open("a") as file:
        file.write('{"UserId":""}\n')
    report = tmp_path / "report.ndjson"
    result = run("--from-gorse", *files.values(), "--on-error", "abort")
    assert result.exit_code == 1
    assert "nothing was written, as 3 rows were rejected" in result.output
    assert mongo["users"].count_documents({}) == 0
    result = run("--from-gorse", *files.values(), "--report", report)
    assert result.exit_code == 1
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(Path(line["file"]).name, line["line"], line["type"]) for line in lines] == [
        ("users.jsonl", 3, "invalid_value"),
        ("feedback.jsonl", 3, "invalid_value"),
        ("feedback.jsonl", 4, "malformed_row"),
    ]
    assert mongo["interactions"].count_documents({}) == 2


def test_a_file_of_something_else(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"user_id":"ada"}\n')
    result = run("--from-gorse", other, raises=ImportFileError)
    assert "no row has one of the keys FeedbackType, ItemId, UserId" in str(result.exception)
    assert run("--from-gorse", tmp_path / "none.jsonl").exit_code == 2


def test_without_it_a_kind_and_files_are_wanted(run: Run) -> None:
    for arguments in ([], ["users"], ["people", "x.csv"]):
        result = run(*arguments)
        assert result.exit_code == 2
    assert "'people' is not one of 'users', 'courses', 'interactions'" in result.output
