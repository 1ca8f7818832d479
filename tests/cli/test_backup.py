"""A backup that is taken while others write, restored on another server, serves the same lists."""

import gzip
import itertools
import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from click.testing import CliRunner
from pymongo import MongoClient

from app.cli import group
from app.cli.catalogue import generate_catalogue
from app.cli.client import Client, await_model, follow_run, request_run, send_rows
from app.errors import BackupError, SchemaVersionError
from app.store.backup import back_up, read_backup, restore
from app.store.embedded import EmbeddedMongod
from tests.support.up import Up

SETTINGS = {
    "COURSEGRAPH_AUTO_TRAIN": "false",
    "COURSEGRAPH_EPOCHS": "10",
    "COURSEGRAPH_TIME_BUDGET_SECONDS": "0",
    "COURSEGRAPH_LEASE_SECONDS": "2",
    "COURSEGRAPH_GATE_MARGIN": "1",  # any model that beats most-popular is published
}


def run(*arguments: object, raises: type[Exception] | None = None) -> str:
    result = CliRunner().invoke(group, [*map(str, arguments)])
    if raises is not None:
        assert isinstance(result.exception, raises), result.output
        return str(result.exception)
    if result.exception is not None:
        raise result.exception
    return result.output


def lists(client: Client, users: list[str]) -> tuple[dict[str, Any], list[float]]:
    """Model, source and courses of each user's list, and all its numbers."""
    answers = {user: client.get(f"/recommendations/{user}?n=20&explain=true") for user in users}
    named = {
        user: [answer["model_id"], answer["source"], *(item["course_id"] for item in answer["items"])]
        for user, answer in answers.items()
    }
    numbers: list[float] = []
    for answer in answers.values():
        for item in answer["items"]:
            parts = sorted((str(part["course_id"]), part["contribution"]) for part in item.get("because", []))
            numbers += [item["score"], item["percent"], *(contribution for _, contribution in parts)]
    return named, numbers


def contents(uri: str) -> dict[str, set[str]]:
    """Ids in each collection of data."""
    with MongoClient[dict[str, Any]](uri) as client:
        db = client["coursegraph"]
        return {name: set(db[name].distinct("_id")) for name in ("users", "courses", "interactions")}


@pytest.fixture(autouse=True)
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONGODB_URI", raising=False)


class Load:
    """Writes of every kind one after the other, until the block ends: whatever is read at one moment shows their order.

    The same number is written to one user, another and a course; a new user comes before the one before is erased.
    """

    def __init__(self, url: str, courses: list[str], name: str) -> None:
        self.acknowledged: list[str] = []  # interactions that stay
        self.rounds = 0
        self.error: Exception | None = None
        self._url, self._courses, self._name, self._stop = url, courses, name, threading.Event()
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        try:
            with Client(self._url) as client:
                while not self._stop.is_set():
                    self._round(client, self.rounds)
                    self.rounds += 1
        except Exception as error:
            self.error = error

    def _round(self, client: Client, number: int) -> None:
        for address in ("/users/count-a", "/users/count-b", "/courses/count-c"):
            client.call("PUT", address, {"attributes": {"n": number}})
        client.call("PUT", f"/users/{self._name}-{number:05}", {"interests": ["maths"]})
        if number:
            client.call("DELETE", f"/users/{self._name}-{number - 1:05}")
        user = f"busy-{self._name}-{number // 10:05}"
        rows = [
            {"user_id": user, "course_id": self._courses[(number * 7 + place) % len(self._courses)]}
            for place in range(5)
        ]
        client.post("/interactions", rows)
        self.acknowledged += [f"{user}\x1f{row['course_id']}\x1fenroll" for row in rows]
        client.post("/interactions", [{"user_id": user, "course_id": "fleeting"}])
        client.call("DELETE", f"/interactions?user_id={user}&course_id=fleeting")
        client.call("PATCH", f"/users/{user}", {"attributes": {"n": number}})

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert self.error is None, self.error


def documents(backup: Path, collection: str) -> dict[Any, dict[str, Any]]:
    """Of a collection in a backup, by ``_id``."""
    found = bson.decode_all(gzip.decompress((backup / f"{collection}.bson.gz").read_bytes()))
    return {document["_id"]: document for document in found}


def assert_of_one_moment(backup: Path, name: str) -> None:
    """What ``Load`` wrote stands in its order."""
    users, courses = documents(backup, "users"), documents(backup, "courses")
    first, second = (json.loads(users[f"count-{letter}"]["attributes"])["n"] for letter in "ab")
    third = json.loads(courses["count-c"]["attributes"])["n"]
    assert first >= second >= third >= first - 1
    chain = sorted(int(user.removeprefix(f"{name}-")) for user in users if user.startswith(f"{name}-"))
    assert chain in ([third], [third - 1, third], [third - 1])
    interactions = documents(backup, "interactions")
    assert sum("\x1ffleeting\x1f" in key for key in interactions) <= 1
    for key in interactions:  # no row without what was written before it
        user, course, _ = key.split("\x1f")
        assert user in users
        assert course in courses


def assert_models_are_whole(backup: Path) -> str:
    """The model that is served and all others have all their files, and those all their pieces; the one served."""
    models, heads = documents(backup, "models"), documents(backup, "model_files.files")
    sizes: Counter[str] = Counter()
    for chunk in documents(backup, "model_files.chunks").values():
        sizes[chunk["files_id"]] += len(chunk["data"])
    for model in models.values():
        for file_id in model["files"]:
            assert sizes[file_id] == heads[file_id]["length"]
    number = documents(backup, "settings")["current_model"]["number"]
    assert number in models
    return f"m-{number:06}"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A service with a model."""
    catalogue = generate_catalogue(n_users=200, n_interactions=2_000)
    with Up(tmp_path_factory.mktemp("source") / "data", environment=SETTINGS) as up:
        with Client(up.url) as client:
            for path in ("courses", "users", "interactions"):
                assert sum(send_rows(client, f"/{path}", getattr(catalogue, path)))
            (*_, ended) = follow_run(client, request_run(client))
            assert ended["status"] == "succeeded", ended
            await_model(client, ended["model_id"], catalogue.users[0]["user_id"])
        yield up


def test_a_backup_under_load_comes_back_elsewhere(source: Up, tmp_path: Path) -> None:
    with Client(source.url) as client:
        users = [user["user_id"] for user in client.get("/users?limit=120")["items"]]
        courses = [course["course_id"] for course in client.get("/courses?limit=50")["items"]]
        # Newer than the model, and one list that is nobody's any more.
        client.post(
            "/interactions",
            [{"user_id": users[0], "course_id": courses[0]}, {"user_id": "new", "course_id": courses[1]}],
        )
        client.call("DELETE", f"/users/{users[1]}")
        users.append("new")
        before, numbers = lists(client, users)
        with Load(source.url, courses, "first") as load:
            while load.rounds < 20:
                time.sleep(0.01)
            sure, n_before = list(load.acknowledged), load.rounds
            run("backup", tmp_path / "backup", "--data-dir", source.data_dir)
            n_rounds = load.rounds - n_before
        assert n_rounds, "there was no load while it was taken"
    assert_of_one_moment(tmp_path / "backup", "first")
    assert "interactions" in run("restore", "--check", tmp_path / "backup")
    elsewhere = tmp_path / "elsewhere"
    run("restore", tmp_path / "backup", "--data-dir", elsewhere)
    backup = read_backup(tmp_path / "backup")
    with Up(elsewhere, environment=SETTINGS) as up:
        restored = contents(EmbeddedMongod(elsewhere).uri)
        assert {name: len(ids) for name, ids in restored.items()} == {
            name: backup.collections[name].documents for name in restored
        }
        assert set(sure) <= restored["interactions"]
        there = contents(EmbeddedMongod(source.data_dir).uri)["interactions"]
        assert {key for key in restored["interactions"] if "\x1ffleeting\x1f" not in key} <= there
        with Client(up.url) as client:
            await_model(client, before[users[0]][0], users[0])
            named, now = lists(client, users)
            assert named == before
            # Single precision: sums that were made in another order differ in the seventh digit.
            assert now == pytest.approx(numbers, rel=1e-4, abs=1e-4)
            (*_, ended) = follow_run(client, request_run(client))
            assert ended["status"] == "succeeded"
        run("backup", tmp_path / "again", "--data-dir", elsewhere)
    again = read_backup(tmp_path / "again")
    for name in ("users", "courses", "interactions"):
        assert again.collections[name] == backup.collections[name], name
    assert sorted(map(str, again.collections["model_files.chunks"].indexes)) == sorted(
        map(str, backup.collections["model_files.chunks"].indexes)
    )


def test_backups_while_a_model_is_published_hold_whole_models(source: Up, tmp_path: Path) -> None:
    with Client(source.url) as client:
        courses = [course["course_id"] for course in client.get("/courses?limit=50")["items"]]
        run_id, served = request_run(client), set()
        with Load(source.url, courses, "second") as load:
            while load.rounds < 2:
                time.sleep(0.01)
            for number in itertools.count():
                ended = client.get(f"/training/runs/{run_id}")["ended_at"] is not None
                backup = tmp_path / str(number)
                run("backup", backup, "--data-dir", source.data_dir)
                assert_of_one_moment(backup, "second")
                served.add(assert_models_are_whole(backup))
                if ended:
                    break
                shutil.rmtree(backup)
        model_id = client.get(f"/training/runs/{run_id}")["model_id"]
    assert model_id in served
    assert len(served) == 2, "the model of before and that of the run"


@pytest.fixture(scope="module")
def whole(source: Up, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup with nothing wrong."""
    target = tmp_path_factory.mktemp("whole") / "backup"
    run("backup", target, "--data-dir", source.data_dir)
    return target


def test_what_is_there_is_never_overwritten(source: Up, whole: Path, mongodb_uri: str, database_name: str) -> None:
    assert "exists already" in run("backup", whole, "--data-dir", source.data_dir, raises=BackupError)
    said = run("restore", whole, "--data-dir", source.data_dir, raises=BackupError)
    assert "wanted one without data" in said
    with pytest.raises(BackupError, match="nothing to back up"):
        back_up(mongodb_uri, database_name, whole.with_name("none"))
    assert not whole.with_name("none").exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "row", "manifest", "newer"])
def test_a_damaged_backup_is_found_before_anything_is_written(
    whole: Path, tmp_path: Path, mongodb_uri: str, database_name: str, damage: str
) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(whole, backup)
    file, manifest = backup / "interactions.bson.gz", backup / "manifest.json"
    content = file.read_bytes()
    expected: type[Exception] = BackupError
    if damage == "flip":
        place = len(content) // 2
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "missing":
        file.unlink()
    elif damage == "row":
        documents = gzip.decompress(content)
        file.write_bytes(gzip.compress(documents[int.from_bytes(documents[:4], "little") :]))
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:-100])
    else:
        expected = SchemaVersionError
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema_version": 99}))
    with pytest.raises(expected) as caught:
        restore(mongodb_uri, database_name, backup)
    assert ("interactions.bson.gz" in str(caught.value)) == (damage in {"flip", "cut", "missing", "row"})
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        assert client[database_name].list_collection_names() == []
