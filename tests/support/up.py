"""A `coursegraph up` in a process of its own, and what runs under it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

START_SECONDS = 60.0


class Up:
    """Started when made; ``url`` is known and answers then."""

    def __init__(self, data_dir: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self._log = data_dir.with_suffix(".log")
        own = {key: value for key, value in os.environ.items() if not key.startswith(("COURSEGRAPH_", "MONGODB_"))}
        command = [sys.executable, "-m", "app", "up", "--port", "0", "--data-dir", str(data_dir), *arguments]
        started = time.monotonic()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env={**own, **(environment or {})}, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.start_seconds = time.monotonic() - started
        found = re.match(r"CourseGraph is ready: (\S+) ", line)
        assert found, self.log
        self.url = found[1]

    @property
    def log(self) -> str:
        """What it and its children said."""
        return self._log.read_text()

    def children(self, kind: str) -> list[psutil.Process]:
        """``mongod``, ``serve`` or ``work``."""
        return [child for child in psutil.Process(self.process.pid).children() if kind in _kind(child)]

    def child(self, kind: str) -> psutil.Process:
        """The only one of its kind."""
        (child,) = self.children(kind)
        return child

    def stop(self, timeout_seconds: float = 10.0) -> float:
        """Ask it to stop; the seconds that it took."""
        started = time.monotonic()
        self.process.terminate()
        assert self.process.wait(timeout_seconds) == 0, self.log
        return time.monotonic() - started

    def __enter__(self) -> "Up":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()  # its children go with it
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def _kind(process: psutil.Process) -> list[str]:
    """Name of the program and subcommand."""
    try:
        return [process.name(), *process.cmdline()[-3:]]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
