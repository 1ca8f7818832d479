"""Machines of a data centre, as network namespaces of this one, and cables between them that can be pulled.

A cable that is pulled swallows packets: nobody is told that a connection is gone, as scripts/faults/proxy.py would.
Needs root, and `ip` of iproute2.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence

import pytest

IP = shutil.which("ip") or "ip"
OUTSIDE = ""  # the machine as it is


class Hosts:
    """Namespaces by name, each pair of ``cables`` with a network of its own; gone at the end of the block."""

    def __init__(self, cables: Sequence[tuple[str, str]]) -> None:
        self._prefix = f"cg{os.getpid()}"
        self._names = sorted({name for cable in cables for name in cable} - {OUTSIDE})
        self._cables = list(cables)

    def __enter__(self) -> "Hosts":
        for name in self._names:
            _ip("netns", "add", self._space(name))
            _ip(*self._in(name), "link", "set", "lo", "up")
        for number, (one, other) in enumerate(self._cables):
            ends = [f"{self._prefix}-{number}a", f"{self._prefix}-{number}b"]
            _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
            for end, name, address in zip(ends, (one, other), self._addresses(number), strict=True):
                if name != OUTSIDE:
                    _ip("link", "set", end, "netns", self._space(name))
                _ip(*self._in(name), "addr", "add", f"{address}/30", "dev", end)
                _ip(*self._in(name), "link", "set", end, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._names:  # the cables go with it
            subprocess.run([IP, "netns", "del", self._space(name)], check=False)

    def command(self, name: str, command: Sequence[str]) -> list[str]:
        """The command line that runs it there, as the same process."""
        return [IP, "netns", "exec", self._space(name), *command]

    def address(self, of: str, seen_by: str) -> str:
        """Where the one reaches the other."""
        number, reverse = self._find(of, seen_by)
        return self._addresses(number)[1 if reverse else 0]

    def link(self, of: str, seen_by: str) -> str:
        """The end of their cable that the first has."""
        number, reverse = self._find(of, seen_by)
        return f"{self._prefix}-{number}{'b' if reverse else 'a'}"

    def pull(self, one: str, other: str) -> None:
        """From now on no packet gets through, and nobody is told."""
        _ip(*self._in(other), "link", "set", self.link(other, one), "down")

    def plug(self, one: str, other: str) -> None:
        """As it was."""
        _ip(*self._in(other), "link", "set", self.link(other, one), "up")

    def _find(self, one: str, other: str) -> tuple[int, bool]:
        reverse = (one, other) not in self._cables
        return self._cables.index((other, one) if reverse else (one, other)), reverse

    def _addresses(self, number: int) -> tuple[str, str]:
        third = os.getpid() % 250
        return f"10.213.{third}.{4 * number + 1}", f"10.213.{third}.{4 * number + 2}"

    def _space(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _in(self, name: str) -> list[str]:
        return [] if name == OUTSIDE else ["-n", self._space(name)]


def _possible() -> bool:
    """Whether this user may, on this machine."""
    try:
        with Hosts([("a", OUTSIDE)]):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _ip(*words: str) -> None:
    subprocess.run([IP, *words], check=True, capture_output=True)


needs_namespaces = pytest.mark.skipif(not _possible(), reason="needs root and network namespaces")
