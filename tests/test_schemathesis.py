"""The whole document against a running service, with a small budget; `scripts/schemathesis 500` has a large one."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.timeout(900)
def test_every_call_does_what_the_document_says() -> None:
    command = ["scripts/schemathesis", "3", "--seed", "1", "--phases", "examples,fuzzing,stateful"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-10_000:]
    said = re.search(r"(\d+) generated", done.stdout)
    assert said, done.stdout
    assert int(said[1]) > 150
