"""What the worker tells Prometheus, over a real port."""

import asyncio
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


def sample(text: str, name: str) -> float:
    """Value of a metric that has no labels."""
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


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
        created = 0.0
        while not created:  # it is told a moment after the first answer from the model
            text = (await client.get("/metrics")).text
            created = sample(text, "coursegraph_served_model_created_timestamp_seconds")
            await asyncio.sleep(0.02)
        assert abs(time.time() - created) < 120
    text = work()
    assert "coursegraph_lease_held 1.0" in text
    assert "coursegraph_lease_fence 1.0" in text
    assert 'coursegraph_training_runs_total{status="succeeded"} 1.0' in text
    assert "coursegraph_training_run_duration_seconds_count 1.0" in text
    assert abs(time.time() - sample(text, "coursegraph_training_last_success_timestamp_seconds")) < 120
    assert "process_resident_memory_bytes" in text
