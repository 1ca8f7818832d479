"""The scripts that try to break a running service, with small budgets; `scripts/schemathesis 500` has a large one.

They run side by side, each with a service of its own: that of chaos waits for most of its time.
"""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "chaos": ["scripts/chaos", "--minutes", "1.5", "--seed", "3"],
    "schemathesis": ["scripts/schemathesis", "3", "--seed", "1", "--phases", "examples,fuzzing,stateful"],
}


@pytest.fixture(scope="module")
def said_by(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """What a script said, once it has ended well; all of them are started at once."""
    folder = tmp_path_factory.mktemp("said")
    started: dict[str, subprocess.Popen[bytes]] = {}
    for name, command in COMMANDS.items():
        with (folder / name).open("wb") as file:
            started[name] = subprocess.Popen(
                command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    def said(name: str) -> str:
        code = started[name].wait(560)
        text = (folder / name).read_text()
        assert code == 0, text[-30_000:]
        return text

    yield said
    for process in started.values():
        if process.poll() is None:  # a test has failed, or was not asked for
            os.killpg(process.pid, signal.SIGINT)  # they stop what they have started
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.timeout(600)
def test_nothing_is_lost_when_everything_breaks(said_by: Callable[[str], str]) -> None:
    said = said_by("chaos")
    assert "wrong while it ran: 0" in said
    assert "wrong in the end: 0" in said
    acknowledged = re.search(r"rows acknowledged ([\d,]+)", said)
    assert acknowledged is not None, said
    assert int(acknowledged[1].replace(",", "")) > 500, said
    faults = re.findall(r"^ +\d+  (?:KILL|TERM|STOP|network|disk) ?", said, re.MULTILINE)
    assert len(faults) >= 3, said


@pytest.mark.timeout(600)
def test_every_call_does_what_the_document_says(said_by: Callable[[str], str]) -> None:
    said = said_by("schemathesis")
    generated = re.search(r"(\d+) generated", said)
    assert generated, said
    assert int(generated[1]) > 150
