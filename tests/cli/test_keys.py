"""`coursegraph keys` beside a running service, and a service that would be open to others."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from tests.cli.test_serve import started, told, url_told
from tests.support.processes import eventually


@pytest.fixture
def environment(mongodb_uri: str, database_name: str, tmp_path: Path) -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith(("COURSEGRAPH_", "MONGODB_"))}
    given = {"MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": database_name, "COURSEGRAPH_CACHE_DIR": str(tmp_path)}
    return own | given | {"COURSEGRAPH_LOG_LEVEL": "debug"}


def run(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def keys(environment: dict[str, str], *arguments: str) -> str:
    """What a command prints, without errors."""
    done = run(environment, "keys", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def listed(environment: dict[str, str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in keys(environment, "list", "--json").splitlines()]


async def test_keys_are_made_shown_once_rotated_and_revoked(
    environment: dict[str, str], database_name: str, mongodb_admin: MongoClient[dict[str, object]]
) -> None:
    key = keys(environment, "create", "--name", "shop", "--scope", "write", "--days", "30")
    key_id, secret = key.removeprefix("cg_").split("_")
    (row,) = listed(environment)
    assert (row["id"], row["name"], row["scope"], row["last_used_at"]) == (key_id, "shop", "write", None)
    assert row["state"].startswith("valid until ")
    assert secret not in repr(list(mongodb_admin[database_name]["api_keys"].find()))
    assert secret not in keys(environment, "list")
    with started(environment, "serve", "--port", "0", "--workers", "2") as process:
        url = url_told(process)

        def statuses(given: str) -> set[int]:
            """Of several connections, so that each process is asked."""
            return {httpx.get(f"{url}/popular", headers={"X-API-Key": given}, timeout=20).status_code for _ in range(8)}

        assert statuses(key) == {200}
        newer = keys(environment, "rotate", key_id, "--overlap-hours", "1")
        await eventually(lambda: statuses(newer) == {200}, 2)
        assert statuses(key) == {200}
        assert [row["scope"] for row in listed(environment)] == ["write", "write"]
        assert "is revoked" in keys(environment, "revoke", key_id)
        await eventually(lambda: statuses(key) == {401}, 2)
        assert statuses(newer) == {200}
        process.terminate()
        assert process.stderr is not None
        log = process.stderr.read()
    assert secret not in log
    assert newer.split("_")[2] not in log
    states = {row["id"]: row for row in listed(environment)}
    assert states[key_id]["state"] == "revoked"
    assert states[key_id]["last_used_at"] is not None
    again = run(environment, "keys", "revoke", key_id)
    assert (again.returncode, again.stdout) == (1, "")
    assert "no longer valid" in again.stderr


def test_a_service_that_others_reach_does_not_start_without_keys(environment: dict[str, str]) -> None:
    done = run(environment, "serve", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 1
    assert "--host has value '0.0.0.0', which others may reach, and there are no keys" in done.stderr
    assert "coursegraph keys create --name NAME --scope admin" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_starts_with_a_key_in_the_database_or_as_a_setting(environment: dict[str, str]) -> None:
    first = "first-" + "k" * 32
    with started(
        environment | {"COURSEGRAPH_ADMIN_KEY": first}, "serve", "--host", "0.0.0.0", "--port", "0"
    ) as process:
        url = url_told(process)
        assert httpx.get(f"{url}/popular", timeout=20).status_code == 401
        assert httpx.get(f"{url}/popular", headers={"X-API-Key": first}, timeout=20).status_code == 200
        process.terminate()
        assert first not in told(process, "")
    key = keys(environment, "create", "--name", "me")
    with started(environment, "serve", "--host", "0.0.0.0", "--port", "0") as process:
        url = url_told(process)
        assert httpx.get(f"{url}/popular", timeout=20).status_code == 401
        assert httpx.get(f"{url}/popular", headers={"X-API-Key": key}, timeout=20).status_code == 200


def test_secrets_are_not_printed(environment: dict[str, str]) -> None:
    shown = run(environment | {"COURSEGRAPH_ADMIN_KEY": "s" * 40, "COURSEGRAPH_API_KEY": "t" * 40}, "settings")
    assert shown.returncode == 0, shown.stderr
    assert "s" * 40 not in shown.stdout
    assert "t" * 40 not in shown.stdout
    wrong = run(environment | {"COURSEGRAPH_ADMIN_KEY": "too-short"}, "settings")
    assert wrong.returncode == 1
    assert "COURSEGRAPH_ADMIN_KEY" in wrong.stderr
    assert "too-short" not in wrong.stderr
