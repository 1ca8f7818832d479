import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pymongo import MongoClient
from pymongo.database import Database

from app.cli import group
from app.cli.files import CONSOLE, FORMATS, Format, RowFile, format_of, row_writer
from app.cli.tables import TABLES
from app.errors import ImportFileError, SettingError, UnavailableError
from app.schemas.courses import StoredCourse
from app.schemas.interactions import StoredInteraction
from app.schemas.rows import UnreadableRow, validate_rows
from app.schemas.users import StoredUser

Run = Callable[..., Result]
Mongo = Database[dict[str, Any]]

STORED: dict[str, type[BaseModel]] = {"users": StoredUser, "courses": StoredCourse, "interactions": StoredInteraction}


@pytest.fixture
def run(mongodb_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line on the database of this test."""
    monkeypatch.setenv("MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("MONGODB_DATABASE", database_name)

    def call(*arguments: object, input: bytes | None = None, raises: type[Exception] | None = None) -> Result:  # noqa: A002 - click's word
        result = CliRunner().invoke(group, list(map(str, arguments)), input=input)
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
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write_file


Write = Callable[[str, str | bytes], Path]


# --- cells and files

text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", '"', '""', '"x"', "a\r\nb", "\r", ",", "=1+1", "\ufeff", "|", " ", "\u2028"]
)
labels = st.lists(text.filter(bool) | st.sampled_from(["a|b", "[x", " y ", "n:1", "{"]), max_size=3)
ids = st.text(
    st.characters(exclude_categories=["C", "Z"], include_characters=" ", exclude_characters="/"), min_size=1, max_size=8
).filter(lambda id_: id_ not in {".", ".."})
numbers = st.floats(allow_nan=False, allow_infinity=False)
vectors = st.none() | st.lists(numbers, min_size=1, max_size=3)
times = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2099, 12, 31))
kept_numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(-(2.0**62), 2.0**62)
attributes = st.dictionaries(text, st.none() | st.booleans() | kept_numbers | st.lists(text, max_size=2), max_size=3)
RECORDS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "users": st.fixed_dictionaries(
        {
            "user_id": ids,
            "features": vectors,
            "interests": st.dictionaries(text.filter(bool), numbers, max_size=3),
            "attributes": attributes,
        }
    ),
    "courses": st.fixed_dictionaries(
        {
            "course_id": ids,
            "title": st.none() | text,
            "description": st.none() | text,
            "categories": labels,
            "tags": labels,
            "level": st.none() | text.filter(bool),
            "language": st.none() | text.filter(bool),
            "url": st.none() | text,
            "prerequisites": st.lists(ids, max_size=2),
            "available": st.booleans(),
            "features": vectors,
            "attributes": attributes,
            "published_at": st.none() | times,
        }
    ),
    "interactions": st.fixed_dictionaries(
        {"user_id": ids, "course_id": ids, "type": ids, "value": st.none() | numbers, "timestamp": times}
    ),
}


@pytest.mark.parametrize("suffix", ["csv", "ndjson", "csv.gz", "jsonl.gz"])
@pytest.mark.parametrize("kind", list(TABLES))
@settings(max_examples=40)
@given(data=st.data())
def test_files_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, kind: str, suffix: str, data: st.DataObject
) -> None:
    table, path = TABLES[kind], tmp_path_factory.getbasetemp() / f"{kind}.{suffix}"
    given_ = [table.model.model_validate(fields) for fields in data.draw(st.lists(RECORDS[kind], max_size=3))]
    now = datetime.now(UTC)
    with row_writer(path, format_of(path, None), table) as write_row:
        for record in given_:
            write_row(STORED[kind].model_construct(**{"created_at": now, "updated_at": now, **record.model_dump()}))

    rows = [row for _, row in RowFile(path, format_of(path, None), table).rows()]
    good, rejected = validate_rows(table.model, rows)
    assert rejected == []
    assert [record.model_dump() for _, record in good] == [record.model_dump() for record in given_]


def read(path: Path, kind: str = "interactions", format_: Format = "csv", **options: bool) -> list[tuple[int, Any]]:
    return list(RowFile(path, format_, TABLES[kind], **options).rows())


def test_cells_as_people_type_them(write: Write) -> None:
    rows = [
        "course_id,categories,tags,prerequisites,features,attributes,available,title",
        'c1,maths|  physics |,"[""a|b"", ""c""]",c0,0.5 1|2  -3e2,"{""a"": [1]}",no,"a ""title"""',
        "c2,,,,[1],,,",
    ]
    first, second = read(write("c.csv", "\n".join(rows)), "courses")
    assert first == (
        2,
        {
            "course_id": "c1",
            "categories": ["maths", "physics"],
            "tags": ["a|b", "c"],
            "prerequisites": ["c0"],
            "features": [0.5, 1.0, 2.0, -300.0],
            "attributes": {"a": [1]},
            "available": False,
            "title": 'a "title"',
        },
    )
    assert second == (3, {"course_id": "c2", "features": [1]})
    good, rejected = validate_rows(TABLES["courses"].model, [first[1], second[1]])
    assert rejected == []
    assert good[0][1].model_dump()["features"] == [0.5, 1, 2, -300]

    rows = ["user_id,interests", "u1,maths:0.5|arts", 'u2,"{""a:b"": 2}"', 'u3,"[""x""]"']
    interests = [row["interests"] for _, row in read(write("u.csv", "\n".join(rows)), "users")]
    assert interests == [{"maths": 0.5, "arts": 1.0}, {"a:b": 2}, ["x"]]


def test_a_cell_that_is_not_understood_is_named(write: Write) -> None:
    rows = ["user_id,features,interests,attributes", "u,1 x,a:b,{"]
    ((_, row),) = read(write("u.csv", "\n".join(rows)), "users")
    _, (rejected,) = validate_rows(TABLES["users"].model, [row])
    for part in (
        "features.1 has value 'x'; wanted a valid number",
        "interests.a has value 'b'",
        "attributes has value '{'",
    ):
        assert part in rejected.detail


def test_lines_are_those_of_the_file(write: Write) -> None:
    csv_rows = read(write("i.csv", '\ufeffuser_id, item_id\r\n\r\nu1,"c\n1"\r\nu2,c2\nu3\n'))
    assert csv_rows[:2] == [(3, {"user_id": "u1", "course_id": "c\n1"}), (5, {"user_id": "u2", "course_id": "c2"})]
    assert csv_rows[2] == (6, UnreadableRow("the row has 1 cells; wanted 2, as the header"))
    json_rows = read(write("i.ndjson", '\ufeff{"a": 1}\n\n  \n[1]\n{"a"\n'), format_="ndjson")
    assert json_rows[:2] == [(1, {"a": 1}), (4, [1])]
    assert json_rows[2][0] == 5
    assert isinstance(json_rows[2][1], UnreadableRow)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("i.csv", b"", r"i.csv:1: no header; wanted the column names user_id, course_id"),
        ("i.csv", b"\n\n", r"i.csv:1: no header"),
        ("i.csv", b"user_id,colour,course_id\n", r"i.csv:1: unknown column 'colour'; wanted user_id, course_id"),
        ("i.csv", b"user_id,type\n", r"i.csv:1: no column 'course_id'; wanted"),
        ("i.csv", b"user_id,course_id,item_id\n", r"i.csv:1: column 'course_id' is there twice"),
        ("i.csv", b"user_id,course_id\nu,c\nu,\xff\n", r"i.csv:3: not UTF-8: byte 0xff"),
        ("i.csv", b'user_id,course_id\nu,c\n"u,c\n', r"i.csv:3: not CSV: unexpected end of data"),
        ("i.ndjson", b"{}\n\xfe\xff\n", r"i.ndjson:2: not UTF-8"),
    ],
)
def test_a_file_that_is_not_what_it_claims_to_be(write: Write, name: str, content: bytes, problem: str) -> None:
    path = write(name, content)
    with pytest.raises(ImportFileError, match=problem):
        read(path, format_=format_of(path, None))


def test_a_gzip_file_that_is_cut_off_or_none(write: Write, tmp_path: Path) -> None:
    whole = write("i.csv.gz", "user_id,course_id\n" + "".join(f"u{i},c{i * i}\n" for i in range(5_000)))
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(whole.read_bytes()[:-100])
    rows: list[tuple[int, Any]] = []
    with pytest.raises(ImportFileError, match=r"cut.csv.gz:\d+: the gzip file is damaged or cut off"):
        rows.extend(RowFile(cut, "csv", TABLES["interactions"]).rows())
    none = tmp_path / "none.csv.gz"
    none.write_bytes(b"user_id,course_id\n")
    with pytest.raises(ImportFileError, match=r"none.csv.gz:1: the gzip file is damaged"):
        read(none)
    with pytest.raises(ImportFileError, match="No such file"):
        read(tmp_path / "absent.csv")


def test_unknown_columns_can_be_ignored(write: Write) -> None:
    path = write("i.csv", "extra,item_id,user_id,more\n1,c,u,2\n")
    assert read(path, ignore_unknown_columns=True) == [(2, {"course_id": "c", "user_id": "u"})]


def test_the_name_tells_the_format() -> None:
    names = {"a.csv": "csv", "a.b.csv.gz": "csv", "x.ndjson": "ndjson", "x.jsonl.gz": "ndjson"}
    assert {name: format_of(Path(name), None) for name in names} == names
    assert format_of(Path("a.txt"), "csv") == "csv"
    assert format_of(CONSOLE, None, default="ndjson") == "ndjson"
    for name in ("a.txt", "a", "-", "a.gz"):
        with pytest.raises(ImportFileError, match=r"wanted \.csv"):
            format_of(Path(name), None)


def test_a_file_that_cannot_be_written_whole_is_not_left_half(tmp_path: Path) -> None:
    path = tmp_path / "u.csv"
    path.write_text("before")
    now = datetime.now(UTC)
    half = StoredUser(user_id="u", created_at=now, updated_at=now)

    def write_half() -> None:
        with row_writer(path, "csv", TABLES["users"]) as write_row:
            write_row(half)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


# --- the commands


def test_import_and_report(run: Run, write: Write, mongo: Mongo, tmp_path: Path) -> None:
    lines = ["user_id,course_id,type,timestamp,value", "u1,c1,view,2024-01-01T00:00:00Z,", "u2,c1,,874965478,4.5"]
    good = write("good.csv.gz", "\n".join(lines))
    bad = write(
        "bad.ndjson",
        '{"user_id": "u1", "course_id": "c1", "type": "view", "timestamp": "2023-01-01"}\n'
        '{"user_id": "u1", "course_id": "c/1"}\n{"user_id": "u3", "course_id": "c3", "type": "stare"}\nnonsense\n',
    )
    report = tmp_path / "report.ndjson"
    result = run("import", "interactions", good, bad, "--report", report)
    assert result.exit_code == 1
    assert "6 rows, 3 accepted (2 created, 0 updated, 1 unchanged), 3 rejected" in result.stdout
    assert f"{bad}:2: invalid_value: course_id has value 'c/1'; an id has 1 to 128 printable" in result.stderr

    told = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(row["file"], row["line"], row["id"], row["type"]) for row in told] == [
        (str(bad), 2, "u1/c/1", "invalid_value"),
        (str(bad), 3, "u3/c3/stare", "invalid_value"),
        (str(bad), 4, None, "malformed_row"),
    ]
    assert "type has value 'stare'; wanted one of view, like" in told[1]["detail"]
    stored = {row["_id"]: row["value"] for row in mongo["interactions"].find()}
    assert stored == {"u1\x1fc1\x1fview": None, "u2\x1fc1\x1fenroll": 4.5}
    assert mongo["users"].count_documents({}) == 2

    again = run("import", "interactions", good)
    assert again.exit_code == 0
    assert "2 accepted (0 created, 2 updated, 0 unchanged), 0 rejected" in again.stdout


def test_only_some_rejected_rows_are_printed(run: Run, write: Write) -> None:
    result = run("import", "users", write("u.ndjson", '{"user_id": "/"}\n' * 50))
    assert result.stderr.count("invalid_value") == 20
    assert "... and 30 more; --report FILE names all of them" in result.stderr


def test_abort_writes_nothing(run: Run, write: Write, mongo: Mongo) -> None:
    good, bad = write("a.csv", "user_id\nu1\n"), write("b.csv", "user_id\nu2\nu/3\n")
    result = run("import", "users", good, bad, "--on-error", "abort")
    assert result.exit_code == 1
    assert "nothing was written, as 1 rows were rejected" in result.stdout
    assert mongo["users"].count_documents({}) == 0
    result = run("import", "users", good, "--on-error", "abort")
    assert (result.exit_code, mongo["users"].count_documents({})) == (0, 1)
    assert "1 accepted (1 created" in result.stdout
    run("import", "users", "-", "--format", "csv", "--on-error", "abort", raises=ImportFileError)


def test_dry_run_writes_nothing(run: Run, write: Write, mongo: Mongo) -> None:
    path = write("i.csv", "user_id,course_id\nu,c\nu,/\n")
    result = run("import", "interactions", path, "--dry-run")
    assert result.exit_code == 1
    assert "checked only: 1 acceptable, 1 rejected" in result.stdout
    result = run("import", "interactions", path, "--dry-run", "--no-auto-create")
    assert "checked only: 0 acceptable, 2 rejected" in result.stdout
    assert [mongo[name].count_documents({}) for name in TABLES] == [0, 0, 0]


def test_without_auto_create_unknown_users_are_rejected_by_name(run: Run, write: Write, mongo: Mongo) -> None:
    run("import", "users", write("u.csv", "user_id\nu\n"))
    run("import", "courses", write("c.csv", "item_id\nc\n"))
    path = write("i.csv", "user_id,item_id\nu,c\nx,c\nu,y\n")
    result = run("import", "interactions", path, "--no-auto-create")
    assert result.exit_code == 1
    assert f"{path}:3: unknown_user: user_id 'x' is not known" in result.stderr
    assert f"{path}:4: unknown_course: course_id 'y' is not known" in result.stderr
    assert [mongo[name].count_documents({}) for name in TABLES] == [1, 1, 1]
    assert run("import", "interactions", path, "--no-auto-create", "--on-error", "abort").exit_code == 1


def test_rows_before_a_damaged_place_are_told(run: Run, write: Write, mongo: Mongo) -> None:
    content = b"user_id\n" + b"".join(b"u%d\n" % i for i in range(2_500)) + b"\xff\n"
    result = run("import", "users", write("u.csv", content), raises=ImportFileError)
    assert "2,000 accepted" in result.stdout
    assert "u.csv:2502: not UTF-8" in str(result.exception)
    assert mongo["users"].count_documents({}) == 2_000


def test_standard_input_and_output(run: Run) -> None:
    result = run("import", "users", "-", "--format", "ndjson", input=b'{"user_id": "u", "interests": ["a"]}\n')
    assert "1 accepted (1 created" in result.stdout
    row = json.loads(run("export", "users").stdout)
    assert (row["user_id"], row["interests"]) == ("u", {"a": 1.0})
    assert run("export", "users", "-", "--format", "csv").stdout.splitlines()[1].startswith("u,,a:1.0,,2")


@pytest.mark.parametrize("name", ["{}.csv", "{}.ndjson.gz"])
def test_what_is_exported_can_be_imported_elsewhere(
    run: Run, write: Write, tmp_path: Path, mongo: Mongo, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    users = [
        {
            "user_id": "$ü.1",
            "features": [0.1, 1e-300],
            "interests": {"a:b": 0.3, "$ref": 1},
            "attributes": {"$id": [{}]},
        },
        {"user_id": "2"},
    ]
    courses = [
        {"course_id": "00", "title": "", "description": 'a\r\n"b",', "categories": ["x|y", "z"], "available": False},
        {"course_id": "c", "published_at": "2024-01-01T00:00:00.007Z", "prerequisites": ["00"], "url": '"'},
    ]
    interactions = [
        {"user_id": u, "course_id": "c", "type": t, "value": 0.1, "timestamp": f"2024-01-01T00:00:00.{i:03}Z"}
        for i, (u, t) in enumerate([("$ü.1", "view"), ("2", "drop"), ("2", "enroll")])
    ]
    for kind, rows in (("users", users), ("courses", courses), ("interactions", interactions)):
        path = write(f"first-{kind}.ndjson", "\n".join(map(json.dumps, rows)))
        assert run("import", kind, path).exit_code == 0
        run("export", kind, tmp_path / name.format(kind))
    before = {kind: run("export", kind).stdout for kind in TABLES}
    assert all(before.values())

    monkeypatch.setenv("MONGODB_DATABASE", f"{mongo.name}_2")
    try:
        for kind in TABLES:
            result = run("import", kind, tmp_path / name.format(kind))
            assert result.exit_code == 0, result.stderr
        after = {kind: run("export", kind).stdout for kind in TABLES}
    finally:
        mongo.client.drop_database(f"{mongo.name}_2")
    assert {kind: contents(text_) for kind, text_ in after.items()} == {k: contents(v) for k, v in before.items()}


def contents(ndjson: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in ndjson.splitlines()]
    return [{key: value for key, value in row.items() if key not in ("created_at", "updated_at")} for row in rows]


def test_an_empty_database_exports_an_empty_file(run: Run, tmp_path: Path) -> None:
    for format_ in FORMATS:
        path = tmp_path / f"i.{format_}"
        run("export", "interactions", path)
        assert run("import", "interactions", path).exit_code == 0


def test_without_a_database_it_says_what_to_set(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("u.csv", "user_id\nu\n")
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:1/?directConnection=true")
    monkeypatch.setenv("COURSEGRAPH_DATABASE_TIMEOUT_SECONDS", "0.2")
    result = run("import", "users", path, raises=UnavailableError)
    assert "MongoDB does not answer: 127.0.0.1:1" in str(result.exception)
    monkeypatch.delenv("MONGODB_URI")
    result = run("import", "users", path, raises=SettingError)
    assert "MONGODB_URI" in str(result.exception)
    assert "--data-dir" in str(result.exception)


def test_the_embedded_database_is_started_for_the_time_being(tmp_path: Path, write: Write) -> None:
    """As a program of its own: two commands one after the other, and an error as one sentence."""
    environment = {key: value for key, value in os.environ.items() if key != "MONGODB_URI"}

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    data_dir = tmp_path / "data"
    result = call("import", "courses", write("c.csv", "course_id,title\nc1,Graphs\n"), "--data-dir", data_dir)
    assert (result.returncode, result.stdout.count("1 created")) == (0, 1), result.stderr
    result = call("export", "courses", "--data-dir", data_dir)
    assert json.loads(result.stdout)["title"] == "Graphs"
    result = call("import", "courses", write("d.csv", "colour\n"), "--data-dir", data_dir)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("coursegraph: ")
    assert "Traceback" not in result.stderr


def test_real_interactions(run: Run, data_folder: Path, mongo: Mongo) -> None:
    path = data_folder / "canvas-network" / "interactions_train.csv.gz"
    if not path.exists():
        pytest.skip(f"no {path}")
    result = run("import", "interactions", path)
    assert "45,735 accepted (45,735 created, 0 updated, 0 unchanged), 0 rejected" in result.stdout
    assert mongo["courses"].count_documents({}) == 238
    assert mongo["users"].count_documents({}) == 6_717
