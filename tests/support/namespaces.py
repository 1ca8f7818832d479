"""Machines of one's own: network namespaces, each joined to this one by a cable that can be pulled."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

_numbers = count(1)
NETWORK = "10.213"  # of nobody but these tests: their cables have no other end than these two


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


def possible() -> bool:
    """Whether this process may make namespaces."""
    if os.name != "posix" or os.geteuid() or shutil.which("ip") is None:
        return False
    name = f"cg{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode == 0
    if made:
        _ip("netns", "delete", name)
    return made


needs_namespaces = pytest.mark.skipif(not possible(), reason="needs root, and the program ip")


@dataclass(frozen=True)
class Machine:
    """A namespace.  address: its own.  here: this one's, on the same cable.  link: its end of it."""

    name: str
    address: str
    here: str
    link: str

    def command(self, *command: str) -> list[str]:
        """The command, run there."""
        return ["ip", "netns", "exec", self.name, *command]

    def pull(self) -> None:
        """Cut the cable; nobody is told."""
        _ip("-n", self.name, "link", "set", self.link, "down")


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """While the block lasts they reach each other, through this one."""
    switch = Path("/proc/sys/net/ipv4/ip_forward")
    before = switch.read_text()
    switch.write_text("1")
    try:
        yield
    finally:
        switch.write_text(before)


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """A namespace, for as long as the block lasts."""
    number = next(_numbers)
    third, fourth = os.getpid() % 200 + 20, number * 4 % 248
    name, near, far = (f"cg{os.getpid()}{end}{number}" for end in ("-", "a", "b"))
    made = Machine(name, f"{NETWORK}.{third}.{fourth + 2}", f"{NETWORK}.{third}.{fourth + 1}", far)
    _ip("netns", "add", name)
    try:
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        _ip("address", "add", f"{made.here}/30", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", name, "address", "add", f"{made.address}/30", "dev", far)
        for link in (far, "lo"):
            _ip("-n", name, "link", "set", link, "up")
        _ip("-n", name, "route", "add", "default", "via", made.here)
        yield made
    finally:
        _ip("netns", "delete", name)  # and with it the cable
