"""The network between two ranks is cut: nobody closes a connection, and nothing comes any more."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import cut_rank
from tests.support.namespaces import Hosts, needs_namespaces

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 5.0
PORT = "29400"
FIRST, SECOND = "first", "second"


def started(hosts: Hosts, rank: int, folder: Path) -> "subprocess.Popen[str]":
    here, there = (FIRST, SECOND) if rank == 0 else (SECOND, FIRST)
    place = {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    place |= {"MASTER_ADDR": hosts.address(FIRST, SECOND), "MASTER_PORT": PORT}
    own = {"GLOO_SOCKET_IFNAME": hosts.link(here, there), "OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "cut"}
    own["RES_OPTIONS"] = "timeout:1 attempts:1"  # torch asks for the names of addresses, and there is nobody to ask
    command = hosts.command(here, [sys.executable, cut_rank.__file__, str(folder), str(TIMEOUT_SECONDS)])
    environment = os.environ | place | own | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@needs_namespaces
@pytest.mark.timeout(120)
def test_both_say_so_within_the_timeout(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        hosts = stack.enter_context(Hosts([(FIRST, SECOND)]))
        ranks = []
        for number in range(2):
            ranks.append(stack.enter_context(started(hosts, number, tmp_path)))
            stack.callback(ranks[-1].kill)
        for rank in ranks:
            assert rank.stdout is not None
            assert rank.stdout.readline() == "summing\n"
        hosts.pull(FIRST, SECOND)
        cut = time.monotonic()
        for number, rank in enumerate(ranks):
            assert rank.stdout is not None
            assert rank.stdout.readline().startswith(f"lost: rank {number} of 2 lost another one: ")
            assert rank.wait(30) == 3
        assert time.monotonic() - cut > TIMEOUT_SECONDS / 2  # by the timeout: nobody was told
