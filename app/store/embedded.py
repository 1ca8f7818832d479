"""A real mongod on this machine, as a replica set of one node: what `up`, `demo` and the tests run on.

Change streams and transactions need a replica set, so there is no stand-in: it is the same server as in production.

A data directory holds ``data`` (mongod's files), ``mongod.log`` and ``port``.  The port of the first start is kept,
so that clients find a restarted server again.
"""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from app.errors import EmbeddedDatabaseError
from app.leash import leashed
from app.store.mongod import EXIT_PORT_IN_USE, explain_exit, find_mongod

HOST = "127.0.0.1"
REPLICA_SET = "rs0"
FLAGS = (
    *("--bind_ip", HOST, "--nounixsocket", "--replSet", REPLICA_SET),
    *("--wiredTigerCacheSizeGB", "0.5"),
    # Together with the next but one: an empty data directory takes 11 MiB instead of 300.
    *("--wiredTigerEngineConfigString", "log=(prealloc=false,file_max=10MB)"),
    *("--networkMessageCompressors", "disabled"),  # a known flaw of its zlib, and loopback gains nothing
    *("--setParameter", "diagnosticDataCollectionEnabled=false"),
    # What a process that is killed leaves begun holds others up for so long (default 60); ours take milliseconds.
    *("--setParameter", "transactionLifetimeLimitSeconds=10"),
)
# How far back a change stream can start.  A model of 100,000 users is 200 MB, all of which passes through the oplog
# when it is published; what a stream has not read when the second one comes should still be there.
LEAST_OPLOG_MB, OPLOG_MB = 256, 1024
OPLOG_SHARE = 20  # of the disk that is free it takes a twentieth at most, as mongod does by itself
RESIZABLE_MB = 990  # mongod resizes to no less
START_SECONDS = 120.0  # after a crash the journal is replayed first; usually 1 s
STOP_SECONDS = 8.0  # of the 10 in which `up` ends
POLL_SECONDS = 0.02
LOG_BYTES = 16 * 2**20  # kept twice: the running log and the one before it

NOT_YET_INITIALIZED = 94  # error code of a server that has no replica set configuration, or has not read it yet
SETTLING = {NOT_YET_INITIALIZED, 23, 109, 11602}  # AlreadyInitialized, ConfigurationInProgress, state just changed
LISTENING = '"id":23016'  # the log line that names the port

Document = dict[str, Any]


class PortInUseError(EmbeddedDatabaseError):
    """Something else listens on the port that clients of this data directory know."""


class EmbeddedMongod:
    """One mongod on one data directory.

    ``start`` and ``stop`` run it here; a parent that owns its children itself (`up`) calls ``command``,
    ``wait_until_primary`` and ``explain`` around a process of its own instead.

    ``binary`` is looked for when not given, see ``find_mongod``.
    """

    def __init__(self, data_dir: Path, *, binary: Path | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.log_path = self.data_dir / "mongod.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._binary = binary
        self._port_path = self.data_dir / "port"
        self._log_start = 0

    @property
    def uri(self) -> str:
        """Address of the running server.  Raises EmbeddedDatabaseError before its first start."""
        port = self._kept_port()
        if port is None:
            raise EmbeddedDatabaseError(f"no mongod has run in {self.data_dir} yet")
        return _uri(port)

    def start(self) -> str:
        """Start the server in this thread, wait until it takes writes, and give its URI.

        The server is killed when the thread that called this ends.  Raises EmbeddedDatabaseError.
        """
        try:
            return self._start(self.command())
        except PortInUseError:  # taken a moment ago, or by something older than this start
            return self._start(self.command(any_port=True))

    def stop(self, timeout_seconds: float = STOP_SECONDS) -> None:
        """Shut the server down cleanly, or kill it when that takes longer than ``timeout_seconds``."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def command(self, *, any_port: bool = False) -> list[str]:
        """The command line of the next start, on the kept port unless there is none or ``any_port``.

        Makes the directories and bounds the log.  Raises EmbeddedDatabaseError.
        """
        binary = self._binary or find_mongod(os.environ)
        with _disk_errors(self.data_dir):
            (self.data_dir / "data").mkdir(parents=True, exist_ok=True)
            self.bound_log()
            self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        port = 0 if any_port else self._kept_port() or 0
        place = ["--dbpath", str(self.data_dir / "data"), "--port", str(port)]
        return [str(binary), *place, "--oplogSize", str(self.oplog_mb()), *FLAGS]

    def oplog_mb(self) -> int:
        """Megabytes of changes that are kept; written bit by bit, so that an idle server takes little."""
        with _disk_errors(self.data_dir):
            free = shutil.disk_usage(self.data_dir).free
        return max(LEAST_OPLOG_MB, min(OPLOG_MB, free // OPLOG_SHARE // 2**20))

    def open_log(self) -> IO[bytes]:
        """The log, for the output of the process; each line is added at the end, wherever the log was cut."""
        with _disk_errors(self.data_dir):
            return self.log_path.open("ab")

    def bound_log(self) -> None:
        """Move the log aside when it has grown long, also under a running server."""
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_BYTES:
            with contextlib.suppress(OSError):  # on a full disk, room is worth more than an old log
                shutil.copyfile(self.log_path, self.log_path.with_suffix(".1.log"))
            os.truncate(self.log_path, 0)
            self._log_start = 0

    def wait_until_primary(self, returncode: Callable[[], int | None]) -> str:
        """Wait until the process takes writes, keep its port, and give its URI.

        ``returncode`` tells whether the process has ended, and how.  Raises EmbeddedDatabaseError.
        """
        deadline = time.monotonic() + START_SECONDS
        port = self._wait_for_port(returncode, deadline)
        while not _become_primary(port):
            self._check(returncode(), deadline)
            time.sleep(POLL_SECONDS)
        _grow_oplog(port, self.oplog_mb())
        with _disk_errors(self.data_dir):
            aside = self._port_path.with_suffix(".new")
            aside.write_text(f"{port}\n")
            aside.replace(self._port_path)
        return _uri(port)

    def explain(self, returncode: int) -> EmbeddedDatabaseError:
        """Why the server of the last start ended with this status, and what to do."""
        reason = explain_exit(returncode, self._log_lines(), self.data_dir)
        kind = PortInUseError if returncode == EXIT_PORT_IN_USE else EmbeddedDatabaseError
        return kind(reason)

    def _start(self, command: list[str]) -> str:
        with self.open_log() as log:
            self.process = subprocess.Popen(  # noqa: S603 - the command is ours
                leashed(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            return self.wait_until_primary(self.process.poll)
        except BaseException:
            self.stop(timeout_seconds=0)
            raise

    def _wait_for_port(self, returncode: Callable[[], int | None], deadline: float) -> int:
        while True:
            for line in self._log_lines():
                if LISTENING in line:
                    return int(json.loads(line)["attr"]["port"])
            self._check(returncode(), deadline)
            time.sleep(POLL_SECONDS)

    def _check(self, returncode: int | None, deadline: float) -> None:
        if returncode is not None:
            raise self.explain(returncode)
        if time.monotonic() > deadline:
            raise EmbeddedDatabaseError(
                f"mongod did not take writes within {START_SECONDS:.0f} s; its log is {self.log_path}"
            )

    def _log_lines(self) -> list[str]:
        """Whole lines since the last start."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            text = log.read().decode(errors="replace")
        return text[: text.rfind("\n") + 1].splitlines()

    def _kept_port(self) -> int | None:
        try:
            return int(self._port_path.read_text())
        except (FileNotFoundError, ValueError):
            return None


def _uri(port: int) -> str:
    return f"mongodb://{HOST}:{port}/?directConnection=true"


def _become_primary(port: int) -> bool:
    """Whether the server takes writes now; makes it the one member of its set, under this port.

    The client is thrown away: one that was opened before there was a set would refuse sessions.
    """
    with MongoClient[Document](_uri(port), serverSelectionTimeoutMS=5000) as client:
        try:
            if client.admin.command("hello")["isWritablePrimary"]:
                return True
            _configure(client, {"_id": 0, "host": f"{HOST}:{port}"})
        except ConnectionFailure:  # it hangs up when its state changes; the caller looks whether it lives
            pass
        except OperationFailure as error:
            if error.code not in SETTLING:
                raise
    return False


def _configure(client: MongoClient[Document], member: Document) -> None:
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != NOT_YET_INITIALIZED:
            raise
        client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [member]})
        return
    if config["members"][0]["host"] != member["host"]:  # it listened on another port last time
        config.update(members=[config["members"][0] | member], version=config["version"] + 1)
        client.admin.command("replSetReconfig", config, force=True)


def _grow_oplog(port: int, megabytes: int) -> None:
    """Make the oplog of a directory from a time when there was less room as large; it is never made smaller."""
    if megabytes < RESIZABLE_MB:
        return
    with MongoClient[Document](_uri(port), serverSelectionTimeoutMS=5000) as client, contextlib.suppress(PyMongoError):
        if client["local"].command("collStats", "oplog.rs")["maxSize"] < megabytes * 2**20:
            client.admin.command("replSetResizeOplog", 1, size=float(megabytes))


@contextlib.contextmanager
def _disk_errors(data_dir: Path) -> Iterator[None]:
    """Turn what the file system says into a sentence about the data directory."""
    try:
        yield
    except OSError as error:
        raise EmbeddedDatabaseError(
            f"cannot write to the data directory {data_dir}: {error.strerror}; make room or choose another --data-dir"
        ) from error
