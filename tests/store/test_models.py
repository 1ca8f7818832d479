import asyncio
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.errors import LeaseLostError, UnknownModelError
from app.store import model_cache
from app.store.client import Database
from app.store.lease import Lease
from app.store.model_files import CHUNK_BYTES
from app.store.models import ModelStore, Upload

MANIFEST: dict[str, Any] = {
    "created_at": "2026-11-24T10:00:00Z",
    "counts": {"users": 3, "courses": 2, "interactions": 4},
    "embedding_size": 8,
    "config": {"epochs": 3},
    "seed": 7,
    "metrics": {"model": {"recall@20": 0.4}, "popular": {"recall@20": 0.1}},
    "data_fingerprint": "ab12",
    "code_version": "0.1.0",
    "sha256": {"vectors.npy": "00"},
}


@pytest.fixture
def models(database: Database) -> ModelStore:
    return ModelStore(database)


@pytest.fixture
async def fence(database: Database) -> int:
    return await take_lease(database)


async def take_lease(database: Database, holder: str = "w") -> int:
    """As if the holder before had lapsed."""
    await database["settings"].update_one({"_id": "lease"}, {"$set": {"expires_at": datetime(2000, 1, 1, tzinfo=UTC)}})
    fence = await Lease(database, holder, 60.0).acquire()
    assert fence is not None
    return fence


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A directory with an empty file, a small one, and one of several chunks."""
    directory = tmp_path / "artifact"
    directory.mkdir()
    (directory / "manifest.json").write_text("{}")
    (directory / "empty.npy").touch()
    (directory / "vectors.npy").write_bytes(os.urandom(2 * CHUNK_BYTES + 17))
    return directory


async def upload(models: ModelStore, artifact: Path, fence: int) -> Upload:
    return await models.upload(await models.next_id(), artifact, fence=fence)


async def publish(models: ModelStore, artifact: Path, fence: int) -> str:
    uploaded = await upload(models, artifact, fence)
    await models.publish(uploaded, MANIFEST)
    return uploaded.model_id


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


async def stored_files(database: Database) -> set[str]:
    heads = await database["model_files.files"].distinct("_id")
    assert set(heads) == set(await database["model_files.chunks"].distinct("files_id")) | {
        head for head in heads if head.endswith("empty.npy")
    }
    return set(heads)


async def test_what_was_published_is_served_and_described(models: ModelStore, artifact: Path, fence: int) -> None:
    assert await models.current() is None
    assert (await models.page(10)).items == []
    model_id = await publish(models, artifact, fence)
    assert model_id == "m-000001"
    assert await models.current() == model_id
    summary = await models.get(model_id)
    assert summary.current
    assert summary.metrics == MANIFEST["metrics"]
    assert (summary.counts.courses, summary.seed, summary.created_at.year) == (2, 7, 2026)
    assert (await models.page(10)).items == [summary]


async def test_fetched_files_are_those_uploaded(models: ModelStore, artifact: Path, fence: int, tmp_path: Path) -> None:
    model_id = await publish(models, artifact, fence)
    cache = tmp_path / "new" / "cache"
    directory = await models.fetch(model_id, cache)
    assert contents(directory) == contents(artifact)
    inode = directory.stat().st_ino
    assert await models.fetch(model_id, cache) == directory
    assert directory.stat().st_ino == inode
    assert list(cache.iterdir()) == [directory]


async def test_many_fetch_at_once(models: ModelStore, artifact: Path, fence: int, tmp_path: Path) -> None:
    model_id = await publish(models, artifact, fence)
    cache = tmp_path / "cache"
    directories = await asyncio.gather(*(models.fetch(model_id, cache) for _ in range(8)))
    assert len(set(directories)) == 1
    assert contents(directories[0]) == contents(artifact)
    assert list(cache.iterdir()) == [directories[0]]


FETCH = """
import asyncio, sys
from pathlib import Path
from app.store.client import open_database
from app.store.models import ModelStore

async def main(uri, name, model_id, cache):
    async with open_database(uri, name, timeout_seconds=5.0, app_name="test") as database:
        print(await ModelStore(database).fetch(model_id, Path(cache)))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_many_processes_fetch_at_once(
    mongodb_uri: str, database_name: str, models: ModelStore, artifact: Path, fence: int, tmp_path: Path
) -> None:
    model_id = await publish(models, artifact, fence)
    arguments = (mongodb_uri, database_name, model_id, str(tmp_path / "cache"))
    fetching = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", FETCH, *arguments, stdout=asyncio.subprocess.PIPE)
        for _ in range(4)
    ]
    async with asyncio.timeout(60):
        outputs = [(await process.communicate())[0].decode().strip() for process in fetching]
    assert [process.returncode for process in fetching] == [0] * 4
    assert len(set(outputs)) == 1
    assert contents(Path(outputs[0])) == contents(artifact)
    assert len(list((tmp_path / "cache").iterdir())) == 1


async def test_a_damaged_directory_is_fetched_anew_once_discarded(
    models: ModelStore, artifact: Path, fence: int, tmp_path: Path
) -> None:
    model_id = await publish(models, artifact, fence)
    directory = await models.fetch(model_id, tmp_path / "cache")
    (directory / "vectors.npy").write_bytes(b"damaged")
    model_cache.discard(directory)
    model_cache.discard(directory)  # by another process
    assert contents(await models.fetch(model_id, tmp_path / "cache")) == contents(artifact)


async def test_files_that_are_not_wanted_are_not_fetched(
    models: ModelStore, artifact: Path, fence: int, tmp_path: Path
) -> None:
    model_id, cache = await publish(models, artifact, fence), tmp_path / "cache"
    part = await models.fetch(model_id, cache, {"vectors.npy", "others.npy"})
    assert contents(part) == {name: data for name, data in contents(artifact).items() if name != "vectors.npy"}
    assert await models.fetch(model_id, cache, {"vectors.npy"}) == part
    whole = await models.fetch(model_id, cache)  # another process of this machine wants them
    assert contents(whole) == contents(artifact)
    assert await models.fetch(model_id, cache, {"vectors.npy"}) == whole
    assert await models.fetch(model_id, cache, {"others.npy"}) == whole
    long_ago = time.time() - 2 * model_cache.UNUSED_SECONDS
    os.utime(part, (long_ago, long_ago))
    model_cache.sweep(cache)
    assert set(cache.iterdir()) == {whole}


async def test_the_cache_is_swept_of_what_nobody_wants(
    models: ModelStore, artifact: Path, fence: int, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    old = await models.fetch(await publish(models, artifact, fence), cache)
    half = model_cache.make_aside(cache)
    foreign = cache / "notes"
    foreign.mkdir()
    long_ago = time.time() - 2 * model_cache.UNUSED_SECONDS
    for path in (old, half, foreign):
        os.utime(path, (long_ago, long_ago))
    second = await models.fetch(await publish(models, artifact, fence), cache)
    assert set(cache.iterdir()) == {second, foreign}


async def test_a_late_publish_is_refused(database: Database, models: ModelStore, artifact: Path, fence: int) -> None:
    served = await publish(models, artifact, fence)
    late = await upload(models, artifact, fence)
    newer = await take_lease(database, "newer")
    with pytest.raises(LeaseLostError):  # the newer one has not published yet
        await models.publish(late, MANIFEST)
    assert await models.current() == served
    published = await publish(models, artifact, newer)
    with pytest.raises(LeaseLostError):
        await models.publish(late, MANIFEST)
    assert await models.current() == published
    assert [model.model_id for model in (await models.page(10)).items] == [published, served]
    await models.prune(5)
    assert {file_id.split("/")[0] for file_id in await stored_files(database)} == {"1", "3"}


async def test_nothing_is_published_under_a_lease_that_was_released(
    database: Database, models: ModelStore, artifact: Path
) -> None:
    lease = Lease(database, "w", 60.0)
    fence = await lease.acquire()
    assert fence is not None
    uploaded = await upload(models, artifact, fence)
    await lease.release()
    with pytest.raises(LeaseLostError):
        await models.publish(uploaded, MANIFEST)
    assert await models.current() is None


async def test_a_newer_fence_that_published_wins_whatever_became_of_the_lease(
    database: Database, models: ModelStore, artifact: Path, fence: int
) -> None:
    uploaded = await upload(models, artifact, fence)
    await database["settings"].insert_one({"_id": "current_model", "number": 9, "fence": fence + 1})
    with pytest.raises(LeaseLostError):
        await models.publish(uploaded, MANIFEST)


async def test_of_publish_and_takeover_at_the_same_moment_one_wins(
    database: Database, models: ModelStore, artifact: Path
) -> None:
    for turn in range(5):
        fence = await take_lease(database, f"first-{turn}")
        uploaded = await upload(models, artifact, fence)
        publishing = asyncio.create_task(models.publish(uploaded, MANIFEST))
        await asyncio.sleep(0.001 * turn)
        newer = await take_lease(database, f"second-{turn}")
        outcome = (await asyncio.gather(publishing, return_exceptions=True))[0]
        assert outcome is None or isinstance(outcome, LeaseLostError)
        assert (await models.current() == uploaded.model_id) == (outcome is None)
        assert newer == fence + 1


async def test_a_crash_after_the_upload_leaves_the_old_model(
    database: Database, models: ModelStore, artifact: Path, fence: int
) -> None:
    served = await publish(models, artifact, fence)
    await upload(models, artifact, fence)  # and here the process dies
    await database["model_files.files"].delete_one({"_id": "2/1/vectors.npy"})  # or a little earlier
    assert await models.current() == served
    assert [model.model_id for model in (await models.page(10)).items] == [served]
    with pytest.raises(UnknownModelError):
        await models.activate("m-000002")

    await models.prune(5)
    assert len(await database["model_files.files"].distinct("_id")) == 5  # its uploader may still be at it
    await take_lease(database, "next")
    await models.prune(5)
    assert {file_id.split("/")[0] for file_id in await stored_files(database)} == {"1"}


async def test_publishing_again_after_a_lost_answer(models: ModelStore, artifact: Path, fence: int) -> None:
    uploaded = await upload(models, artifact, fence)
    again = await models.upload(uploaded.model_id, artifact, fence=fence)
    assert again == uploaded
    await models.publish(uploaded, MANIFEST)
    await models.publish(uploaded, MANIFEST)
    assert len((await models.page(10)).items) == 1


async def test_prune_keeps_the_newest_and_the_current(
    database: Database, models: ModelStore, artifact: Path, fence: int, tmp_path: Path
) -> None:
    ids = [await publish(models, artifact, fence) for _ in range(5)]
    await models.activate(ids[0])
    assert await models.prune(2) == [ids[2], ids[1]]
    assert [model.model_id for model in (await models.page(10)).items] == [ids[4], ids[3], ids[0]]
    assert {file_id.split("/")[0] for file_id in await stored_files(database)} == {"1", "4", "5"}
    for gone in ids[1:3]:
        with pytest.raises(UnknownModelError):
            await models.fetch(gone, tmp_path)
        with pytest.raises(UnknownModelError):
            await models.activate(gone)
    assert contents(await models.fetch(ids[0], tmp_path / "cache")) == contents(artifact)


async def test_a_model_that_vanishes_while_it_is_fetched_is_unknown(
    database: Database, models: ModelStore, artifact: Path, fence: int, tmp_path: Path
) -> None:
    model_id = await publish(models, artifact, fence)
    await database["model_files.chunks"].delete_one({"files_id": "1/1/vectors.npy", "n": 1})
    with pytest.raises(UnknownModelError):
        await models.fetch(model_id, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


async def test_roll_back_and_forward(models: ModelStore, artifact: Path, fence: int) -> None:
    first, second = [await publish(models, artifact, fence) for _ in range(2)]
    before = (await models.get(first)).activated_at
    rolled_back = await models.activate(first)
    assert rolled_back.current
    assert rolled_back.activated_at >= before
    assert await models.current() == first
    assert not (await models.get(second)).current
    third = await publish(models, artifact, fence)
    assert await models.current() == third


async def test_pages_newest_first(models: ModelStore, artifact: Path, fence: int) -> None:
    ids = [await publish(models, artifact, fence) for _ in range(3)]
    first = await models.page(2)
    assert [model.model_id for model in first.items] == [ids[2], ids[1]]
    second = await models.page(2, first.after)
    assert [model.model_id for model in second.items] == [ids[0]]
    assert second.after is None


@pytest.mark.parametrize("model_id", ["m-000009", "m-9", "r-000001", "", "../../etc", "m-" + "9" * 40])
async def test_unknown_ids(models: ModelStore, model_id: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError):
        await models.get(model_id)
    with pytest.raises(UnknownModelError):
        await models.activate(model_id)
    with pytest.raises(UnknownModelError):
        await models.fetch(model_id, tmp_path)
