"""``coursegraph train`` over several processes, started by itself and by torchrun, with one of them killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from app.schemas.interactions import Interaction
from app.schemas.training import Run
from app.store.checkpoints import BUCKET
from app.store.client import Database
from app.store.interactions import InteractionStore
from app.store.runs import RunStore
from tests.support.processes import eventually

OURS = ["-m", "app", "train"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "2"]
SETTINGS = {
    "lease_seconds": "1",
    "epochs": "200",
    "embedding_size": "16",
    "device": "cpu",
    "search_every": "1",
    "time_budget_seconds": "0",
    "checkpoint_seconds": "0.05",
    "rank_timeout_seconds": "20",
}


@pytest.fixture
def train(mongodb_uri: str, database_name: str, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    def start(*arguments: str) -> subprocess.Popen[bytes]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COURSEGRAPH_")}
        environment |= {"MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": database_name, "OMP_NUM_THREADS": "1"}
        environment |= {f"COURSEGRAPH_{key.upper()}": value for key, value in SETTINGS.items()}
        environment["COURSEGRAPH_CACHE_DIR"] = str(tmp_path)
        with (tmp_path / "log").open("ab") as log:
            return subprocess.Popen([sys.executable, *arguments], env=environment, stdout=log, stderr=log)

    return start


async def load_tastes(database: Database) -> None:
    rng = np.random.default_rng(0)
    rows = [
        Interaction(user_id=f"u{u:03}", course_id=f"c{int(c) + 10 * (u % 6):02}")
        for u in range(200)
        for c in rng.choice(10, 6, replace=False)
    ]
    await InteractionStore(database).write_many(rows, auto_create=True)


async def succeeds(process: subprocess.Popen[bytes]) -> None:
    async def over() -> bool:
        return process.poll() is not None

    try:
        await eventually(over, 120)
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            child.kill()
        process.kill()
    assert process.wait() == 0


async def kill_a_rank(process: subprocess.Popen[bytes], database: Database, is_rank: Callable[[Any], bool]) -> None:
    """As soon as there is a checkpoint."""

    async def kept() -> bool:
        return await database[f"{BUCKET}.files"].count_documents({}) > 0

    await eventually(kept, 60)
    ranks = [child for child in psutil.Process(process.pid).children(recursive=True) if is_rank(child)]
    assert len(ranks) == 1
    ranks[0].send_signal(signal.SIGKILL)


async def latest(database: Database) -> Run:
    run = await RunStore(database).last_ended()
    assert run is not None
    return run


@pytest.mark.timeout(280)
async def test_a_rank_is_killed_and_the_model_is_the_same(
    database: Database, train: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """Started by ourselves: the run goes on.  Started by torchrun: the next attempt goes on, from the checkpoint."""
    await load_tastes(database)
    process = train(*OURS, "--ranks", "2")
    await kill_a_rank(process, database, lambda child: "app.worker.rank" in child.cmdline())
    await succeeds(process)
    first = await latest(database)
    assert (first.status, first.error) == ("succeeded", None)
    assert not await database[f"{BUCKET}.files"].count_documents({})

    process = train(*TORCHRUN, *OURS)
    await kill_a_rank(process, database, lambda child: child.environ().get("RANK") == "1")
    await succeeds(process)
    second = await latest(database)
    assert (second.status, second.error) == ("succeeded", None)
    assert second.losses == first.losses
    assert second.model_id != first.model_id
    lost = await database["training_runs"].find({"status": "failed"}).to_list(None)
    assert {run["error"]["type"] for run in lost} <= {"rank_lost"}
    assert not await database[f"{BUCKET}.files"].count_documents({})
