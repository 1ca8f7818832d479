"""The mongod program: where it is on this machine, and what its exit status and last words mean."""

import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.errors import EmbeddedDatabaseError

EXIT_PORT_IN_USE = 48
LAST_LINES = 5
FULL_BYTES = 2**20  # with less free the log is full too, and its last words are lost
FULL = "the disk that holds {data_dir} is full; free some space, or choose another --data-dir"
SENTENCES = {  # what is in the log: what to do about it
    "DBPathInUse": "the data directory {data_dir} is in use by another mongod; "
    "stop the `coursegraph up` that runs there, or choose another --data-dir",
    "No space left on device": FULL,
    "[Pp]ermission denied|[Rr]ead-only": "mongod may not write to {data_dir}; make it this user's, "
    "or choose another --data-dir",
}
PACKAGES = {"libcurl": "libcurl4", "libssl": "libssl3", "libcrypto": "libssl3"}  # Debian's names


def find_mongod(environment: Mapping[str, str]) -> Path:
    """MONGOD_BIN, else ``mongod`` on PATH, else the one in the wheel of the extra `embedded`.

    Raises EmbeddedDatabaseError that says what to set or install.
    """
    if named := environment.get("MONGOD_BIN"):
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise EmbeddedDatabaseError(f"MONGOD_BIN has value {named!r}; wanted the path of a mongod program")
        return Path(named).absolute()
    if on_path := shutil.which("mongod", path=environment.get("PATH")):
        return Path(on_path).absolute()
    if in_wheel := _find_in_wheel():
        return in_wheel
    raise EmbeddedDatabaseError(
        f"no mongod for this machine ({sys.platform}, {platform.machine()}): "
        "pip install 'coursegraph[embedded]', or set MONGOD_BIN to a mongod program, "
        "or set MONGODB_URI to a replica set that runs already"
    )


def _find_in_wheel() -> Path | None:
    """Looked up without importing anything of that package."""
    spec = importlib.util.find_spec("fiftyone")
    name = "mongod.exe" if sys.platform == "win32" else "mongod"
    for folder in (spec and spec.submodule_search_locations) or ():
        program = Path(folder) / "db" / "bin" / name
        if os.access(program, os.X_OK):
            return program
    return None


def explain_exit(returncode: int, log: Sequence[str], data_dir: Path) -> str:
    """A sentence on why mongod ended and what to do.  ``log``: its lines since it was started."""
    if returncode == EXIT_PORT_IN_USE:
        return "mongod could not start: another program listens on its port"
    if returncode == -signal.SIGILL:
        return "mongod cannot run on this processor (it needs AVX); set MONGOD_BIN or MONGODB_URI to another one"
    text = "\n".join(log)
    if missing := re.search(r"error while loading shared libraries: ([^:]+):", text):
        return _explain_library(missing[1])
    for pattern, sentence in SENTENCES.items():
        if re.search(pattern, text):
            return sentence.format(data_dir=data_dir)
    if shutil.disk_usage(data_dir).free < FULL_BYTES:
        return FULL.format(data_dir=data_dir)
    last = "; ".join(map(_message, log[-LAST_LINES:])) or "nothing"
    how = f"was killed by signal {-returncode}" if returncode < 0 else f"ended with status {returncode}"
    return f"mongod {how}; its last words in {data_dir / 'mongod.log'}: {last}"


def _explain_library(library: str) -> str:
    package = next((package for name, package in PACKAGES.items() if library.startswith(name)), library)
    return f"mongod needs the library {library}, which is not installed: apt-get install {package}"


def _message(line: str) -> str:
    """What a log line says; lines are JSON once the server's logging is up."""
    try:
        entry = json.loads(line)
        attributes = entry.get("attr", {})
    except (json.JSONDecodeError, AttributeError):
        return line
    error = attributes.get("error", "") if isinstance(attributes, dict) else ""
    return f"{entry.get('msg', line)} {error}".strip()
