"""Several processes on one database, as they are run."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from app.store.client import Database
from tests.support.published import publish_model, served

ROOT = Path(__file__).parents[2]


@contextmanager
def process(uri: str, name: str, cache: Path) -> Iterator[str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith(("COURSEGRAPH_", "MONGODB_"))}
    environment = own | {"MONGODB_URI": uri, "MONGODB_DATABASE": name, "COURSEGRAPH_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", "app", "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as started:
        try:
            assert started.stderr is not None
            line = next(line for line in started.stderr if "listening on " in line)
            yield line.split("listening on ")[1].strip()
        finally:
            started.kill()


@pytest.fixture
def urls(mongodb_uri: str, database_name: str, tmp_path: Path) -> Iterator[list[str]]:
    with ExitStack() as stack:
        yield [stack.enter_context(process(mongodb_uri, database_name, tmp_path / str(i))) for i in range(2)]


async def test_an_interaction_posted_to_one_is_out_of_the_others_lists_within_a_second(
    urls: list[str], database: Database, mongodb_uri: str, tmp_path: Path
) -> None:
    async with httpx.AsyncClient(base_url=urls[0], timeout=30) as one, httpx.AsyncClient(base_url=urls[1]) as other:
        for client in (one, other):
            while (await client.get("/health/ready")).status_code != 200:  # noqa: ASYNC110 - it is behind HTTP
                await asyncio.sleep(0.1)
        rows = [{"user_id": f"u{i % 10}", "course_id": f"c{i}"} for i in range(40)]
        assert (await one.post("/interactions", json=rows)).status_code == 200
        model_id = await publish_model(database, mongodb_uri, tmp_path, propagated=True)
        for client in (one, other):
            await served(client, model_id)
        slowest = 0.0
        for number in range(30):
            writer, reader = (one, other) if number % 2 else (other, one)
            best = (await reader.get("/recommendations/u1?n=1")).json()["items"][0]["course_id"]
            answer = await writer.post("/interactions", json={"user_id": "u1", "course_id": best})
            assert answer.status_code == 200
            began = time.monotonic()
            assert best not in str((await writer.get("/recommendations/u1?n=1")).json()["items"])
            while (await reader.get("/recommendations/u1?n=1")).json()["items"][0]["course_id"] == best:
                pass
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1


def test_swaps_and_a_rolling_restart_drop_no_request() -> None:
    command = [sys.executable, "scripts/benchmarks/serving.py", "--swaps", "500"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
