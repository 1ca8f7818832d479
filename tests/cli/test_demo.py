"""The demo as a person runs it, only smaller; `scripts/demo` is the set-up and this command."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli.client import Client
from app.cli.demo import demo_command

SMALL = ["--users", "300", "--interactions", "4000"]
LIMIT_SECONDS = 120
STOP_SECONDS = 10


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def start(data_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MONGODB", "COURSEGRAPH"))}
    command = [sys.executable, "-m", "app", "demo", "--port", "0", "--data-dir", str(data_dir), *SMALL, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def first_output(data_dir: Path) -> str:
    with start(data_dir, "--once") as demo:
        output, errors = demo.communicate(timeout=LIMIT_SECONDS)
    assert demo.returncode == 0, output + errors
    assert errors == ""
    return output


def recommended(output: str) -> list[str]:
    return re.findall(r"^  recommended .*$", output, re.MULTILINE)


def test_loads_trains_and_shows(first_output: str) -> None:
    assert "none of these people and courses exist" in first_output
    for loaded in ("300 courses", "300 users", "4,000 interactions", "training"):
        assert loaded in first_output
    recalls = dict(re.findall(r"(model|popular) ([\d.]+)", first_output.split("held-out interactions: ")[1]))
    assert float(recalls["model"]) > float(recalls["popular"])


def test_shows_three_people_with_what_they_took_and_percentages(first_output: str) -> None:
    people = re.split(r"^(?=user-)", first_output, flags=re.MULTILINE)[1:]
    assert len(people) == 3
    for text in people:
        taken = re.findall(r"^  took +(.*) \(", text, re.MULTILINE)
        listed = re.findall(r"^  recommended +([\d.]+) %  (.*)$", text, re.MULTILINE)
        assert 4 <= len(taken) <= 8
        assert len(listed) == 5
        assert not {name for _, name in listed} & set(taken)
        assert sum(float(percent) for percent, _ in listed) == pytest.approx(100, abs=0.3)


def test_a_second_demo_reuses_all_and_serves_until_interrupted(data_dir: Path, first_output: str) -> None:
    with start(data_dir) as demo:
        assert demo.stdout is not None
        try:
            lines = []
            for line in demo.stdout:
                lines.append(line)
                if line.startswith("Serving until interrupted"):
                    break
            output = "".join(lines)
            assert output.count("reusing it") == 2, output
            assert recommended(output) == recommended(first_output)
            path = re.findall(r"(http://\S+)/recommendations/(\S+)", output)[0]
            with Client(path[0]) as client:
                assert client.get(f"/recommendations/{path[1]}")["source"] == "model"
        finally:
            demo.send_signal(signal.SIGINT)
            _, errors = demo.communicate(timeout=STOP_SECONDS)
    assert demo.returncode == 0, errors


def test_refuses_sizes_that_make_no_sense() -> None:
    result = CliRunner().invoke(demo_command, ["--users", "10", "--interactions", "5"])
    assert result.exit_code == 2
    assert "wanted 10 to 200" in result.output
