"""Everything that README.md names exists, and everything that exists is named there."""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

from app.cli import COMMANDS, group
from app.settings import Settings, environment_name, load_settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
METHODS = "GET|PUT|POST|PATCH|DELETE"

# What runs the commands of the README's code blocks; those of `tests/test_readme_examples.py` are run as they stand.
RUN_BY = {
    "scripts/demo": "tests/cli/test_demo.py",
    "scripts/test": ".ci/run",
    "scripts/setup": "scripts/test",
    ".venv/bin/coursegraph up": "tests/test_readme_examples.py",
    "curl": "tests/test_readme_examples.py",
    "cat": "tests/test_readme_examples.py",
    "coursegraph": "tests/test_readme_examples.py",
    "docker compose": "tests/test_packaging.py",  # checked as far as that goes without an engine
}


# --- settings


def table(name: str) -> list[list[str]]:
    """Cells of the rows of the table under a heading."""
    section = re.search(rf"^##+ {name}\n(.*?)(?=^##|\Z)", README, re.MULTILINE | re.DOTALL)
    assert section, name
    rows = [line for line in section[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[2:]]


def written(default: object) -> str:
    """A default as one would set it."""
    if default is None:
        return "unset"
    if isinstance(default, Path):
        return "`coursegraph-UID` in the temporary directory"
    if default == ():
        return "none"
    if isinstance(default, Mapping):
        return "`" + ",".join(f"{key}={value:g}" for key, value in default.items()) + "`"
    if isinstance(default, bool):
        return f"`{default}`".lower()
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def test_the_settings_table_is_the_settings() -> None:
    fields = Settings.model_fields
    wanted = [
        [f"`{environment_name(name)}`", written(field.get_default()), str(field.description).replace("|", r"\|")]
        for name, field in fields.items()
    ]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in wanted)
    assert table("Settings") == wanted, (
        f"the table should read\n| variable | default | meaning |\n|---|---|---|\n{lines}"
    )


def test_defaults_can_be_set_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_settings()
    for name, default, _ in table("Settings"):
        if default.startswith("`") and " " not in default:
            monkeypatch.setenv(name.strip("`"), default.strip("`"))
    assert load_settings() == before


def test_no_other_setting_is_named() -> None:
    known = {environment_name(name) for name in Settings.model_fields} | {"MONGOD_BIN", "COURSEGRAPH_"}
    assert set(re.findall(r"\b(?:COURSEGRAPH_|MONGOD)[A-Z0-9_]*", README)) <= known


# --- commands


def command_lines() -> Iterator[str]:
    """Commands of the code blocks, without the documents that they are fed."""
    for block in BLOCKS:
        text = re.sub(r"<<'(\w+)'\n.*?^\1$", "", block, flags=re.MULTILINE | re.DOTALL)
        for line in re.sub(r"'[^']*'", lambda quoted: quoted[0].replace("\n", " "), text).splitlines():
            if line.strip():
                yield line.strip()


def test_every_command_is_in_the_table_and_in_no_other_form() -> None:
    named = [cell.split()[-1].strip("`") for row in table("Commands") for cell in row[0].split(", ")]
    assert sorted(named) == sorted(COMMANDS)


def test_commands_and_options_exist() -> None:
    calls = [shlex.split(line) for line in command_lines() if re.match(r"(\.venv/bin/)?coursegraph ", line)]
    assert calls
    for _, name, *arguments in calls:
        command = group.get_command(click.Context(group), name)
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), arguments.pop(0))
        assert command is not None, name
        options = {option for parameter in command.params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("--")} <= options
    mentioned = {match[1] for match in re.finditer(r"`coursegraph (\w+)", README)}
    assert mentioned <= set(COMMANDS)


def test_scripts_that_are_named_exist() -> None:
    named = set(re.findall(r"scripts/\w+(?:\.py)?", README))
    assert {"scripts/demo", "scripts/test", "scripts/setup"} <= named
    assert all((ROOT / script).exists() for script in named)


def test_something_runs_every_command() -> None:
    for line in command_lines():
        runner = next((file for start, file in RUN_BY.items() if line.startswith(start)), None)
        assert runner is not None, line
        assert (ROOT / runner).exists(), runner


# --- endpoints


def test_the_table_of_calls_is_the_api() -> None:
    from app.api.application import create_application

    paths = create_application(load_settings(mongodb_uri="mongodb://127.0.0.1")).openapi()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    listed = [call for row in table("Calls") for call in re.findall(rf"`((?:{METHODS}) [^`]+)`", row[0])]
    assert sorted(listed) == sorted(served)
    mentioned = set(re.findall(rf"`((?:{METHODS}) /[^`]*)`", README))
    assert mentioned <= served


def test_links_inside_the_repository_lead_somewhere() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", README) if not target.startswith("http")]
    assert all((ROOT / target).exists() for target in targets)
    paths = re.findall(r"`(app/[\w/.]*)`", README)
    assert paths
    assert all((ROOT / path).exists() for path in paths)


def test_what_shows_an_answer_to_a_threat_exists() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|scripts|app)/[\w/.]+)`", text)
    assert len(named) > 20
    assert all((ROOT / name).exists() for name in named)
