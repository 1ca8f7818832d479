import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure

from app.artifact.top_lists import SCORED, list_length
from app.errors import EmbeddedDatabaseError
from app.store import embedded
from app.store.embedded import OPLOG_MB, EmbeddedMongod
from app.store.mongod import explain_exit, find_mongod

EMPTY_DATA_BYTES = 20 * 2**20  # 11 MiB when written; 300 with mongod's own defaults
NOBODY = 65534


@contextmanager
def running(data_dir: Path) -> Iterator[EmbeddedMongod]:
    server = EmbeddedMongod(data_dir)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def pid_of(server: EmbeddedMongod) -> int:
    assert server.process is not None
    return server.process.pid


def insert(uri: str, number: int) -> None:
    with MongoClient[dict[str, object]](uri, w="majority", journal=True) as client:
        client["kept"]["rows"].insert_one({"_id": number})


def rows(uri: str) -> list[object]:
    with MongoClient[dict[str, object]](uri) as client:
        return [row["_id"] for row in client["kept"]["rows"].find().sort("_id", 1)]


def kill(server: EmbeddedMongod) -> None:
    assert server.process is not None
    server.process.kill()
    server.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMongod]:
    with running(tmp_path_factory.mktemp("server")) as started:
        yield started


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# --- how much of what changed is kept


class SmallDisk(EmbeddedMongod):
    """As if there were less room."""

    def oplog_mb(self) -> int:
        return 256


def oplog_bytes(server: EmbeddedMongod) -> int:
    with MongoClient[dict[str, Any]](server.uri) as client:
        found: int = client["local"].command("collStats", "oplog.rs")["maxSize"]
        return found


@pytest.mark.parametrize(("free_gib", "wanted_mb"), [(0.5, 256), (5, 256), (10, 512), (20, 1024), (500, 1024)])
def test_the_oplog_takes_a_twentieth_of_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_gib: float, wanted_mb: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=int(free_gib * 2**30)))
    assert EmbeddedMongod(tmp_path).oplog_mb() == wanted_mb


def test_two_models_of_a_hundred_thousand_users_fit_in_it() -> None:
    vectors, lists = 64 * 4, list_length(100_000, 40_000) * 2 + SCORED * 4 + 4
    of_users = 100_000 * (vectors + lists + 20 * 8 + 30)  # with 20 courses taken, and an id
    of_courses = 40_000 * 3 * 64 * 4
    assert 2 * (of_users + of_courses) <= 0.7 * OPLOG_MB * 2**20  # the rest is for interactions meanwhile


def test_an_oplog_made_when_there_was_less_room_grows(tmp_path: Path) -> None:
    server = SmallDisk(tmp_path)
    insert(server.start(), 1)
    assert oplog_bytes(server) == 256 * 2**20
    server.stop()
    with running(tmp_path) as again:
        assert oplog_bytes(again) == max(256, again.oplog_mb() if again.oplog_mb() >= 990 else 0) * 2**20
        assert rows(again.uri) == [1]


# --- a running server


def test_is_a_replica_set_with_sessions_and_transactions(server: EmbeddedMongod) -> None:
    with MongoClient[dict[str, object]](server.uri) as client:
        assert client.admin.command("hello")["setName"] == "rs0"
        with client.start_session() as session, session.start_transaction():
            client["kept"]["transactions"].insert_one({"_id": 1}, session=session)


def test_listens_on_loopback_only(server: EmbeddedMongod) -> None:
    listening = [c for c in psutil.Process(pid_of(server)).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [c.laddr.ip for c in listening] == ["127.0.0.1"]
    assert not list(Path("/tmp").glob(f"mongodb-{listening[0].laddr.port}.sock"))


def test_an_empty_database_is_small(server: EmbeddedMongod) -> None:
    assert sum(file.stat().st_blocks * 512 for file in server.data_dir.rglob("*")) < EMPTY_DATA_BYTES


def test_the_log_is_bounded_while_it_runs(server: EmbeddedMongod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LOG_BYTES", 1000)
    before = server.log_path.read_bytes()
    server.bound_log()
    assert server.log_path.with_suffix(".1.log").read_bytes().startswith(before)
    rows(server.uri)  # its connection is logged
    after = server.log_path.read_bytes()
    assert after.startswith(b"{")
    assert len(after) < len(before)


def test_an_occupied_data_directory(server: EmbeddedMongod) -> None:
    with pytest.raises(EmbeddedDatabaseError, match=r"is in use by another mongod; stop the `coursegraph up`"):
        EmbeddedMongod(server.data_dir).start()
    assert isinstance(rows(server.uri), list)


# --- one start after another


def test_keeps_port_and_rows_when_stopped_and_when_killed(tmp_path: Path) -> None:
    with running(tmp_path / "new" / "folder") as server:
        uri = server.uri
        insert(uri, 1)
        server.stop()
        assert server.start() == uri
        insert(uri, 2)
        kill(server)
        assert server.start() == uri
        assert rows(uri) == [1, 2]


def test_takes_another_port_when_its_own_is_taken(tmp_path: Path) -> None:
    with running(tmp_path / "original") as original:
        insert(original.uri, 1)
        original.stop()
        shutil.copytree(original.data_dir, tmp_path / "copy")
        original.start()
        with running(tmp_path / "copy") as copy:
            assert copy.uri != original.uri
            assert rows(copy.uri) == [1]
            insert(copy.uri, 2)
            moved = copy.uri
            copy.stop()
            assert copy.start() == moved


def test_a_clean_stop_leaves_no_lock(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 5.0
    assert (tmp_path / "data" / "mongod.lock").read_bytes() == b""
    assert "Now exiting" in server.log_path.read_text()


def test_no_uri_before_the_first_start(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedDatabaseError, match="no mongod has run"):
        _ = EmbeddedMongod(tmp_path).uri


def test_dies_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from app.store.embedded import EmbeddedMongod\n"
        "server = EmbeddedMongod(Path(sys.argv[1])); server.start(); print(server.process.pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        mongod = psutil.Process(int(parent.stdout.readline()))
        assert mongod.name() == "mongod"
        parent.send_signal(signal.SIGKILL)
    psutil.wait_procs([mongod], timeout=5)
    assert not mongod.is_running()


# --- where it is


def test_mongod_bin_comes_first(tmp_path: Path) -> None:
    named = program(tmp_path / "named", "")
    on_path = program(tmp_path / "mongod", "")
    environment = {"MONGOD_BIN": str(named), "PATH": str(tmp_path)}
    assert find_mongod(environment) == named
    assert find_mongod({"PATH": str(tmp_path)}) == on_path


def test_the_wheel_comes_last_and_is_not_imported() -> None:
    script = "import sys; from app.store.mongod import find_mongod; print(find_mongod({'PATH': ''})); "
    script += "assert not [name for name in sys.modules if name.startswith('fiftyone.')]"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert found.strip().endswith("fiftyone/db/bin/mongod")


@pytest.mark.parametrize("value", ["/nowhere/mongod", __file__, "/tmp"])
def test_a_wrong_mongod_bin_is_named(value: str) -> None:
    with pytest.raises(EmbeddedDatabaseError, match=f"MONGOD_BIN has value '{value}'; wanted the path of a mongod"):
        find_mongod({"MONGOD_BIN": value, "PATH": ""})


def test_no_mongod_says_what_to_install_or_set() -> None:
    script = "from app.store.mongod import find_mongod; find_mongod({'PATH': ''})"
    environment = {"PYTHONPATH": str(Path.cwd())}
    packages = Path(pytest.__file__).parent.parent
    # An interpreter that sees our code and its libraries, but not the wheel.
    hide = f"import sys; sys.path.append({str(packages)!r}); sys.modules['fiftyone'] = None; "
    ended = subprocess.run(
        [sys.executable, "-c", hide + script], capture_output=True, text=True, check=False, env=environment
    )
    assert "EmbeddedDatabaseError: no mongod for this machine" in ended.stderr
    assert "pip install 'coursegraph[embedded]'" in ended.stderr
    assert "MONGODB_URI" in ended.stderr


# --- what goes wrong


def start_error(data_dir: Path, binary: Path | None = None) -> str:
    with pytest.raises(EmbeddedDatabaseError) as caught:
        EmbeddedMongod(data_dir, binary=binary).start()
    return str(caught.value)


def test_a_missing_library(tmp_path: Path) -> None:
    line = "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file"
    broken = program(tmp_path / "broken", f"echo '{line}' >&2; exit 127")
    assert start_error(tmp_path / "d", broken).endswith(
        "libcurl.so.4, which is not installed: apt-get install libcurl4"
    )


def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    garbage = tmp_path / "mongod"
    garbage.write_bytes(b"\x7fELF garbage")
    garbage.chmod(0o755)
    assert "ended with status 126" in start_error(tmp_path / "d", garbage)
    assert "ended with status 127" in start_error(tmp_path / "d", tmp_path / "missing")


def test_a_crash_is_told_in_its_last_words(tmp_path: Path) -> None:
    crashing = program(tmp_path / "crashing", """echo '{"msg":"Boom","attr":{"error":"it broke"}}'; exit 14""")
    message = start_error(tmp_path / "d", crashing)
    assert "mongod ended with status 14; its last words" in message
    assert message.endswith("Boom it broke")


def test_an_unwritable_directory(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.stop()
    tmp_path.chmod(0o555)
    server.log_path.chmod(0o444)
    script = (
        "import os, sys; from pathlib import Path; from app.errors import EmbeddedDatabaseError\n"
        "from app.store.embedded import EmbeddedMongod; server = EmbeddedMongod(Path(sys.argv[1]))\n"
        f"if os.geteuid() == 0:\n    os.setuid({NOBODY})  # root may write everywhere\n"
        "try:\n    server.start()\nexcept EmbeddedDatabaseError as error:\n    print(error)"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith(f"cannot write to the data directory {tmp_path}")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a file system is not allowed here; the log of a full one is tested below")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_too_small_to_start(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "500k") as disk:
        assert start_error(disk) == f"the disk that holds {disk} is full; free some space, or choose another --data-dir"


def test_a_disk_that_fills_up_and_is_made_larger_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk, running(disk) as server:
        acknowledged = 0
        with MongoClient[dict[str, object]](server.uri, w="majority", journal=True, retryWrites=False) as client:
            try:
                for number in range(100):
                    batch = [{"_id": number * 100 + row, "ballast": os.urandom(1000)} for row in range(100)]
                    client["kept"]["rows"].insert_many(batch)
                    acknowledged += len(batch)
            except ConnectionFailure:
                pass
        assert 0 < acknowledged < 10_000
        assert server.process is not None
        assert "is full; free some space" in str(server.explain(server.process.wait(timeout=20)))
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert rows(server.start())[:acknowledged] == list(range(acknowledged))


FULL_DISK_LINE = {
    "s": "E",
    "msg": "WiredTiger error message",
    "attr": {"error": 28, "message": {"error_str": "No space left on device", "error_code": 28}},
}


def test_a_full_disk_is_read_from_the_log(tmp_path: Path) -> None:
    assert "is full; free some space" in explain_exit(-signal.SIGABRT, [json.dumps(FULL_DISK_LINE)], tmp_path)


def test_a_foreign_processor(tmp_path: Path) -> None:
    assert "it needs AVX" in explain_exit(-signal.SIGILL, [], tmp_path)
