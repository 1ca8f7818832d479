"""Which database a command works on."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from app.errors import SettingError, UnavailableError
from app.settings import Settings
from app.store.client import UNAVAILABLE_ERRORS
from app.store.embedded import EmbeddedMongod


@contextlib.contextmanager
def database_uri(settings: Settings, data_dir: Path | None) -> Iterator[str]:
    """MONGODB_URI; without it the mongod of ``data_dir``: the one that runs there, else one started for the time being.

    Call it in the main thread and outside an event loop, since a started mongod ends with its thread.
    Raises SettingError when there is neither, EmbeddedDatabaseError, and UnavailableError for what the driver raises
    inside when the server is down.
    """
    with contextlib.ExitStack() as stack:
        if settings.mongodb_uri is not None or data_dir is None or _is_open(data_dir):
            uri = open_database_uri(settings, data_dir)
        else:
            mongod = EmbeddedMongod(data_dir)
            stack.callback(mongod.stop)
            uri = mongod.start()
        try:
            yield uri
        except UNAVAILABLE_ERRORS as error:
            reason = str(error).partition(", Timeout:")[0]  # what follows is the driver's view of the servers
            raise UnavailableError(f"MongoDB does not answer: {reason}") from error


def open_database_uri(settings: Settings, data_dir: Path | None) -> str:
    """The same of a database that another process of this command has opened.  Raises SettingError."""
    if settings.mongodb_uri is not None:
        return settings.mongodb_uri
    if data_dir is None:
        raise SettingError("MONGODB_URI", None, "the address of a MongoDB replica set, or the option --data-dir")
    return EmbeddedMongod(data_dir).uri


def _is_open(data_dir: Path) -> bool:
    """Whether a mongod works on the directory; it holds a lock for as long as it lives."""
    lock = data_dir / "data" / "mongod.lock"
    if sys.platform == "win32" or not lock.exists():
        return False
    import fcntl  # noqa: PLC0415 - not on every platform

    with lock.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
