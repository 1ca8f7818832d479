"""A backup that is taken while others write, restored on another server, serves the same lists."""

import gzip
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    """Users who take course after course, until the block ends."""

    def __init__(self, url: str, courses: list[str]) -> None:
        self.acknowledged: list[str] = []
        self._url, self._courses, self._stop = url, courses, threading.Event()
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        number = 0
        with Client(self._url) as client:
            while not self._stop.is_set():
                user = f"busy-{number // 10:05}"
                rows = [
                    {"user_id": user, "course_id": self._courses[(number * 7 + place) % len(self._courses)]}
                    for place in range(5)
                ]
                client.post("/interactions", rows)
                self.acknowledged += [f"{user}\x1f{row['course_id']}\x1fenroll" for row in rows]
                number += 1

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


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
        with Load(source.url, courses) as load:
            while len(load.acknowledged) < 100:
                pass
            sure = list(load.acknowledged)
            run("backup", tmp_path / "backup", "--data-dir", source.data_dir)
            n_later = len(load.acknowledged)
        assert n_later > len(sure), "there was no load while it was taken"
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
        assert restored["interactions"] <= contents(EmbeddedMongod(source.data_dir).uri)["interactions"]
        for key in restored["interactions"]:  # one moment: no row without what was written before it
            user, course, _ = key.split("\x1f")
            assert user in restored["users"]
            assert course in restored["courses"]
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
