"""The commands of README.md, run as they stand there, against a service on an empty data directory."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.client import Client

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """A `coursegraph up` in an empty folder, with its data where it keeps them by default."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if name != "MONGODB_URI"}
    command = [sys.executable, "-m", "app", "up", "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, env=environment) as process:
        try:
            with Client(address) as client:
                client.get("/health/ready")
            yield address
        finally:
            process.terminate()
            process.wait(15)


CURL = """
import sys, urllib.request
options = {}
arguments = iter(sys.argv[1:])
for argument in arguments:
    if argument in ("-X", "-H", "-d"):
        options[argument] = next(arguments)
    elif not argument.startswith("-"):
        url = argument
body = options["-d"].encode() if "-d" in options else None
headers = dict([options["-H"].split(": ")]) if "-H" in options else {}
request = urllib.request.Request(url, body, headers, method=options.get("-X"))
print(urllib.request.urlopen(request).read().decode(), end="")
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands need and a bare system may lack: it stands at the end of PATH."""
    folder = tmp_path_factory.mktemp("bin")
    if shutil.which("curl") is None:
        (folder / "curl").write_text(f"#!{sys.executable}{CURL}")
        (folder / "curl").chmod(0o755)
    return folder


def run_block(containing: str, folder: Path, url: str, programs: Path) -> str:
    """Output of the code block that holds the text, with the port of this test's service."""
    (block,) = [block for block in BLOCKS if containing in block]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.replace(ADDRESS, url)],
        cwd=folder,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:{programs}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_first_call(folder: Path, url: str, programs: Path) -> None:
    courses, interactions, answer = re.split(r"(?<=})(?={)", run_block("/recommendations/ada", folder, url, programs))
    assert json.loads(courses)["created"] == 3
    assert json.loads(interactions)["created"] == 4
    listed = json.loads(answer)
    assert listed["source"] == "popular"
    assert [(item["course_id"], item["percent"]) for item in listed["items"]] == [("statistics", 100.0)]


def test_own_data(folder: Path, url: str, programs: Path) -> None:
    output = run_block("coursegraph import users", folder, url, programs)
    assert "users: 2 rows, 2 accepted" in output
    assert "interactions: 2 rows, 2 accepted" in output
    with Client(url) as client:
        assert {user["user_id"] for user in client.get("/users")["items"]} >= {"ada", "grace"}
    assert (folder / "all.ndjson.gz").stat().st_size > 0


def test_keys(folder: Path, url: str, programs: Path) -> None:
    """The last, as from here on the service wants one."""
    output = run_block("coursegraph keys create", folder, url, programs).splitlines()
    key = output[0]
    assert output[-1].split()[1:3] == ["write", "valid"]
    with Client(url, key=key) as client:
        deadline = time.monotonic() + 5
        while client.call("GET", "/users").status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    with Client(url) as client:
        assert client.call("GET", "/users").status == 401
