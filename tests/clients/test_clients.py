"""Clients that standard generators make of openapi.json run the README's first example against a real service."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.up import Up

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WANTED = {"courses": 3, "interactions": 4, "list": [["statistics", 100]], "source": "popular"}


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """An empty service."""
    with Up(tmp_path / "data", environment={"COURSEGRAPH_AUTO_TRAIN": "false"}) as up:
        yield up.url


def run(*command: str | Path, cwd: Path = ROOT, path: Path | None = None) -> str:
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def said(output: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return answer


def test_python(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "client"
    run("scripts/clients", "python", folder)
    run(sys.executable, "-m", "compileall", "-q", folder)
    calls = {path.stem for path in folder.glob("coursegraph_client/api/*/*.py")} - {"__init__"}
    document = json.loads((ROOT / "openapi.json").read_text())
    wanted = {call["operationId"] for calls in document["paths"].values() for call in calls.values()}
    assert calls == wanted
    assert said(run(sys.executable, HERE / "first_call.py", url, path=folder)) == WANTED


@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm, which brings the TypeScript generator")
def test_typescript(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "client"
    run("scripts/clients", "typescript", folder)
    shutil.copy(HERE / "first_call.ts", folder)
    run("npx", "--no-install", "tsc", cwd=folder)
    assert said(run("node", "first_call.js", url, cwd=folder)) == WANTED
