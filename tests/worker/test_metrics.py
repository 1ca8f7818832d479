"""What the worker tells Prometheus, over a real port."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.service import api, make_settings, train


@pytest.fixture
def work(mongodb_uri: str, database_name: str, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """A worker process; gives what its port answers."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "MONGODB_URI": mongodb_uri,
        "MONGODB_DATABASE": database_name,
        "COURSEGRAPH_CACHE_DIR": str(tmp_path / "worker"),
        "COURSEGRAPH_AUTO_TRAIN": "false",
        "COURSEGRAPH_EPOCHS": "2",
        "COURSEGRAPH_TIME_BUDGET_SECONDS": "0",
    }
    command = [sys.executable, "-m", "app", "work", "--metrics-port", str(port)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield lambda: httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        finally:
            process.terminate()
            process.wait(20)


async def test_a_run_and_the_lease_are_told(
    work: Callable[[], str], mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    async with api(make_settings(mongodb_uri, database_name, tmp_path)) as client:
        rows = [
            {"user_id": f"u{user}", "course_id": f"c{(user + step) % 7}"} for user in range(9) for step in (0, 1, 3)
        ]
        await client.post("/interactions", json=rows)
        ended = await train(client)
        assert ended["status"] == "succeeded", ended
        text = (await client.get("/metrics")).text
        created = next(
            line for line in text.splitlines() if line.startswith("coursegraph_served_model_created_timestamp_seconds ")
        )
        assert abs(time.time() - float(created.split()[1])) < 120
    text = work()
    assert "coursegraph_lease_held 1.0" in text
    assert "coursegraph_lease_fence 1.0" in text
    assert 'coursegraph_training_runs_total{status="succeeded"} 1.0' in text
    assert "coursegraph_training_run_duration_seconds_count 1.0" in text
    last = next(
        line for line in text.splitlines() if line.startswith("coursegraph_training_last_success_timestamp_seconds ")
    )
    assert abs(time.time() - float(last.split()[1])) < 120
    assert "process_resident_memory_bytes" in text
