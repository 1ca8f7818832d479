"""A run whose worker is killed goes on in the next, to the same model."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from app.artifact.load import load_artifact
from app.domain.contents import ArtifactContents
from app.errors import UnknownRunError
from app.schemas.interactions import Interaction
from app.store.checkpoints import BUCKET, CheckpointStore
from app.store.client import Database
from app.store.interactions import InteractionStore
from app.store.models import ModelStore
from app.store.runs import RunStore
from app.training.checkpoint import Checkpoint
from app.worker.checkpoints import UNREADABLE, StoredCheckpoints, read_checkpoint, write_checkpoint
from tests.support.processes import eventually

EPOCHS = 300
# Whoever starts the tests in the background has them, and what they start, ignore Ctrl+C.
INTERRUPTIBLE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[1:] = ["train"]
runpy.run_module("app", run_name="__main__")
"""


@contextmanager
def worker_process(
    uri: str, name: str, folder: Path, *, command: Sequence[str] = ("-m", "app", "work"), **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COURSEGRAPH_")}
    environment |= {"MONGODB_URI": uri, "MONGODB_DATABASE": name, "COURSEGRAPH_CACHE_DIR": str(folder)}
    own = {"lease_seconds": "1", "auto_train": "false", "epochs": str(EPOCHS), "embedding_size": "16", "device": "cpu"}
    own |= {"search_every": "1"}
    environment |= {f"COURSEGRAPH_{key.upper()}": value for key, value in (own | settings).items()}
    with (folder / "log").open("a") as log:
        process = subprocess.Popen([sys.executable, *command], env=environment, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


async def load_tastes(database: Database) -> None:
    rng = np.random.default_rng(0)
    rows = [
        Interaction(user_id=f"u{u:03}", course_id=f"c{int(c) + 10 * (u % 6):02}")
        for u in range(200)
        for c in rng.choice(10, 6, replace=False)
    ]
    await InteractionStore(database).write_many(rows, auto_create=True)


async def contents_of(database: Database, model_id: str | None, folder: Path) -> ArtifactContents:
    assert model_id is not None
    return load_artifact(await ModelStore(database).fetch(model_id, folder)).contents


@pytest.mark.timeout(180)
async def test_kill_9_and_the_model_is_the_same_to_the_bit(
    database: Database, mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    await load_tastes(database)
    runs, heads = RunStore(database), database[f"{BUCKET}.files"]
    asked = await runs.request("request", {})
    killed = 0
    for _ in range(2):
        known = set(await heads.distinct("_id"))

        async def kept_something_new(known: set[str] = known) -> bool:
            return bool(set(await heads.distinct("_id")) - known)

        with worker_process(mongodb_uri, database_name, tmp_path, checkpoint_seconds="0.05") as process:
            await eventually(kept_something_new, 60)
            process.send_signal(signal.SIGKILL)
            process.wait()
        killed += (await runs.get(asked.run_id)).status == "running"
    assert killed == 2
    assert "going on from what was kept" in (tmp_path / "log").read_text(), "the second went on where the first was"

    async def ended() -> bool:
        return (await runs.get(asked.run_id)).ended_at is not None

    async def nothing_kept() -> bool:
        return await heads.count_documents({}) == await database[f"{BUCKET}.chunks"].count_documents({}) == 0

    with worker_process(mongodb_uri, database_name, tmp_path, checkpoint_seconds="60"):
        await eventually(ended, 60)
        broken_off = await runs.get(asked.run_id)
        assert (broken_off.status, broken_off.error) == ("succeeded", None)
        again = await runs.request("request", {})
        asked = again
        await eventually(ended, 60)
        await eventually(nothing_kept, 20)  # it is removed after the run has ended
    undisturbed = await runs.get(again.run_id)
    assert broken_off.losses == undisturbed.losses
    assert broken_off.metrics == undisturbed.metrics
    first = await contents_of(database, broken_off.model_id, tmp_path)
    second = await contents_of(database, undisturbed.model_id, tmp_path)
    for name in ("user_vectors", "item_vectors", "initial_item", "item_messages"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


async def test_the_newest_whole_file_of_the_scope_is_found(database: Database, tmp_path: Path) -> None:
    store = CheckpointStore(database)
    for number, text in ((1, "old"), (2, "new")):
        (tmp_path / text).write_text(text)
        await store.save("scope", "key", 5, number, tmp_path / text)
    await store.save("scope", "other", 5, 1, tmp_path / "old")
    await store.save("scope", "key", 4, 9, tmp_path / "old")  # by a worker that does not know it has lost the lease
    await database[f"{BUCKET}.chunks"].insert_one({"files_id": "scope/key/9/9", "n": 0, "data": b"half"})
    assert await store.load("scope", "key", tmp_path / "found")
    assert (tmp_path / "found").read_text() == "new"
    assert not await store.load("elsewhere", "key", tmp_path / "found")
    await store.keep_only("scope")
    assert await database[f"{BUCKET}.chunks"].distinct("files_id") == await database[f"{BUCKET}.files"].distinct("_id")
    assert await store.load("scope", "other", tmp_path / "found")
    await store.keep_only("elsewhere")
    assert await database[f"{BUCKET}.chunks"].count_documents({}) == 0


async def test_what_is_kept_comes_back_and_what_cannot_be_read_is_done_again(database: Database) -> None:
    store = CheckpointStore(database)
    checkpoint = Checkpoint(
        {"layer0": np.arange(6, dtype=np.float32).reshape(2, 3), "own_weight": np.asarray(1 / 3)},
        {"losses": [0.5], "rng": {"state": 2**127 - 1}},
    )
    kept = StoredCheckpoints(store, "scope", 1, 0.0001)
    await asyncio.to_thread(kept.keep, "key", checkpoint)
    await asyncio.to_thread(kept.keep, "key", checkpoint)  # waits for the one before
    await eventually(kept.due)
    found = await asyncio.to_thread(kept.resume, "key")
    assert found is not None
    assert found.values == checkpoint.values
    for name, array in checkpoint.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype
    assert await asyncio.to_thread(kept.resume, "another") is None
    await database[f"{BUCKET}.chunks"].update_many({}, {"$set": {"data": b"nonsense"}})
    assert await asyncio.to_thread(kept.resume, "key") is None
    await kept.close()


def test_arrays_stay_in_the_file_and_are_as_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((50, 7), np.float32)
    arrays = {"table": table, "by_columns": table.T, "one": np.asarray(0.25), "none": table[:0], "few": np.arange(3)}
    path = tmp_path / "checkpoint"
    write_checkpoint(path, Checkpoint(arrays, {"losses": [1.5], "text": "\u00e9"}))
    found = read_checkpoint(path)
    path.unlink()
    assert found.values == {"losses": [1.5], "text": "\u00e9"}
    assert [*found.arrays] == [*arrays]
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert (found.arrays[name].dtype, found.arrays[name].shape) == (array.dtype, array.shape)
        assert isinstance(found.arrays[name], np.memmap) == (array.size > 0)
    found.arrays["table"][0] = 7.0  # may be written to


def test_a_file_of_which_a_byte_has_changed_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    write_checkpoint(path, Checkpoint({"table": np.arange(1000.0)}, {}))
    written = bytearray(path.read_bytes())
    written[4000] ^= 1
    path.write_bytes(written)
    with pytest.raises(UNREADABLE):
        read_checkpoint(path)
    path.write_bytes(written[:5000])
    with pytest.raises(UNREADABLE):
        read_checkpoint(path)


async def test_without_an_interval_nothing_is_kept(database: Database) -> None:
    kept = StoredCheckpoints(CheckpointStore(database), "scope", 1, 0.0)
    assert not kept.due()
    await asyncio.to_thread(kept.keep, "key", Checkpoint({}, {"losses": []}))
    assert await asyncio.to_thread(kept.resume, "key") is None
    assert await database[f"{BUCKET}.files"].count_documents({}) == 0
    await kept.close()


async def test_cancelling_needs_no_epoch_to_end(
    database: Database, mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    """Epochs of a single step of a batch take long when there are many repetitions: here none ends in time."""
    await load_tastes(database)
    runs = RunStore(database)
    asked = await runs.request("request", {})

    async def is_running() -> bool:
        return (await runs.get(asked.run_id)).counts is not None

    async def ended() -> bool:
        return (await runs.get(asked.run_id)).ended_at is not None

    with worker_process(mongodb_uri, database_name, tmp_path, batch_size="1", epochs="100000"):
        await eventually(is_running, 60)
        await runs.request_cancel(asked.run_id)
        await eventually(ended, 30)
    assert (await runs.get(asked.run_id)).status == "cancelled"


@pytest.mark.timeout(180)
async def test_a_worker_that_is_stopped_hands_its_run_on(
    database: Database, mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    await load_tastes(database)
    runs = RunStore(database)
    asked = await runs.request("request", {})
    for _ in range(2):
        with worker_process(mongodb_uri, database_name, tmp_path, epochs="100000", batch_size="1") as process:
            await eventually(lambda: has_status(runs, asked.run_id, "running"), 60)
            process.terminate()
            assert process.wait(30) == 0
        handed = await runs.get(asked.run_id)
        assert (handed.status, handed.error, handed.ended_at) == ("queued", None, None)
    with worker_process(mongodb_uri, database_name, tmp_path):
        await eventually(lambda: has_status(runs, asked.run_id, "succeeded", "rejected"), 60)


@pytest.mark.timeout(180)
async def test_who_breaks_off_the_command_wants_its_run_no_more(
    database: Database, mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    await load_tastes(database)
    runs = RunStore(database)
    command = ("-c", INTERRUPTIBLE)
    with worker_process(
        mongodb_uri, database_name, tmp_path, command=command, epochs="100000", batch_size="1"
    ) as process:
        await eventually(lambda: has_status(runs, "r-000001", "running"), 60)
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert (await runs.get("r-000001")).status == "cancelled"


async def has_status(runs: RunStore, run_id: str, *statuses: str) -> bool:
    try:
        return (await runs.get(run_id)).status in statuses
    except UnknownRunError:
        return False
