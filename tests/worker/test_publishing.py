"""A model whose users are written by 1, 2 and 4 ranks is the same model; what a killed rank leaves is removed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.artifact.load import load_artifact
from app.artifact.manifest import Manifest
from app.artifact.top_lists import with_top_lists
from app.artifact.write import write_artifact
from app.domain.contents import ArtifactContents
from app.domain.interactions import Snapshot
from app.errors import ArtifactError, CancelledError, RankLostError
from app.graph.bipartite import BipartiteGraph
from app.settings import load_settings
from app.store.client import Database
from app.store.lease import Lease
from app.store.models import ModelStore
from app.store.runs import RunStore
from app.training.config import TrainingConfig
from app.training.distributed.launch import LocalGroup, local_ranks
from app.training.fit import ALL_OF_USERS, propagated
from app.training.ranks import Ranks
from app.training.users import Users
from app.worker.cycle import RANK, Cycle
from app.worker.loop import recipe_from
from app.worker.publishing import Destination, Written, write_users
from tests.support.models import DESCRIPTION, WEIGHTS, make_snapshot, random_filter
from tests.worker.test_checkpoints import load_tastes

N_USERS, N_ITEMS = 90, 45
TOLD = np.arange(N_USERS - 4, N_USERS)  # users without an interaction, of whom something is known all the same


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    rng = np.random.default_rng(0)
    users, items = [f"u{row:03}" for row in range(N_USERS)], [f"c{row:02}" for row in range(N_ITEMS)]
    taken = [(users[rng.integers(N_USERS - 10)], items[rng.integers(N_ITEMS)]) for _ in range(700)]
    return make_snapshot(users, items, [(*pair, ("enroll", "like", "drop")[n % 3]) for n, pair in enumerate(taken)])


def made(snapshot: Snapshot, ranks: Ranks) -> tuple[Users, ArtifactContents]:
    """Vectors by these ranks, with some changes, and all else of the model."""
    graph = BipartiteGraph.from_snapshot(snapshot, WEIGHTS)
    layer0 = np.random.default_rng(1).normal(0, 0.3, (graph.n_nodes, 8)).astype(np.float32)
    recipe = replace(TrainingConfig(device="cpu").recipe(graph.n_edges, graph.n_items), embedding_size=8, half=False)
    result = propagated(graph, layer0, recipe, ranks, ALL_OF_USERS)
    users = Users(ranks, result.owned)
    users.divide(1.5)
    users.place(TOLD, np.full((len(TOLD), 8), 0.25, np.float32))
    embeddings = replace(result.embeddings, user_vectors=result.embeddings.user_vectors[:0])
    return users, ArtifactContents.from_snapshot(snapshot, WEIGHTS, embeddings, random_filter(N_ITEMS))


async def published(
    models: ModelStore, fence: int, snapshot: Snapshot, folder: Path, to: tuple[str, str], ranks: Ranks, *, half: bool
) -> Path:
    """The files of a new model, fetched."""
    model_id = await models.next_id()

    def work() -> tuple[ArtifactContents, Written]:
        users, contents = made(snapshot, ranks)
        destination = Destination(*to, model_id, fence)
        return contents, write_users(ranks, users, contents, destination, half=half and users.to_half())

    contents, written = await asyncio.to_thread(work)
    assert len(written.ids) == 4 * ranks.size
    description = replace(DESCRIPTION, model_id=model_id, fence=fence)
    manifest = write_artifact(folder / model_id, contents, description, elsewhere=written.files)
    upload = await models.upload(model_id, folder / model_id, fence=fence, pieces=written.ids)
    await models.publish(upload, manifest.as_dict())
    return await models.fetch(model_id, folder / "cache")


@pytest.fixture
async def fence(database: Database) -> AsyncIterator[int]:
    lease = Lease(database, "tests", 60.0)
    fence = await lease.acquire()
    assert fence is not None
    yield fence
    await lease.release()


@pytest.mark.timeout(280)
async def test_the_model_of_several_ranks_is_that_of_one(
    database: Database, mongodb_uri: str, fence: int, snapshot: Snapshot, tmp_path: Path
) -> None:
    models, to = ModelStore(database), (mongodb_uri, database.name)
    found: dict[tuple[int, bool], Path] = {}
    for size in (1, 2, 4):
        with local_ranks(size, 60.0, module=RANK, environment={"MONGODB_URI": mongodb_uri}) as ranks:
            for half in (False, True):
                found[size, half] = await published(models, fence, snapshot, tmp_path, to, ranks, half=half)
            if isinstance(ranks, LocalGroup) and size == 2:
                await leave_half_an_upload(models, fence, snapshot, to, ranks)
    for half in (False, True):
        one = load_artifact(found[1, half]).contents
        listed = with_top_lists(replace(one, top_items=None, top_scores=None, top_lasts=None), one.top_items.shape[1])  # type: ignore[union-attr]
        for name in ("top_items", "top_scores", "top_lasts"):
            np.testing.assert_array_equal(getattr(one, name), getattr(listed, name))
        assert one.user_vectors.dtype == (np.float16 if half else np.float32)
        np.testing.assert_array_equal(one.user_vectors[TOLD], 0.25)
        assert not one.user_vectors[N_USERS - 10 : N_USERS - 4].any()
        for size in (2, 4):
            check_equal(load_artifact(found[size, half]).contents, one)
            for name in ("user_ids", "user_id_offsets", "seen_indptr", "seen_items", "seen_types", "user_degrees"):
                assert (found[size, half] / f"{name}.npy").read_bytes() == (found[1, half] / f"{name}.npy").read_bytes()
    check_pieces(found[4, False])

    names = {file_id.split("/")[0] for file_id in await database["model_files.chunks"].distinct("files_id")}
    assert "5" in names, "of the rank that was killed, or of the first, something is there"
    await models.prune(10)
    names = {file_id.split("/")[0] for file_id in await database["model_files.chunks"].distinct("files_id")}
    assert "5" not in names
    assert len(names) == 6
    await models.prune(1)
    assert {file_id.split("/")[0] for file_id in await database["model_files.files"].distinct("_id")} == {"7"}
    assert await models.file("m-000007", "top_lasts.npy") == (found[4, True] / "top_lasts.npy").read_bytes()


async def leave_half_an_upload(
    models: ModelStore, fence: int, snapshot: Snapshot, to: tuple[str, str], ranks: LocalGroup
) -> None:
    """Stopped by the first, then with a rank killed; nothing of either is published."""
    current, model_id = await models.current(), await models.next_id()

    def work() -> None:
        users, contents = made(snapshot, ranks)
        destination = Destination(*to, model_id, fence)
        with pytest.raises(CancelledError):
            write_users(ranks, users, contents, destination, half=False, should_stop=lambda: True)
        asked = 0

        def kill() -> bool:
            nonlocal asked
            asked += 1
            if asked == 1:
                os.kill(ranks.others[0], signal.SIGKILL)
            return False

        with pytest.raises(RankLostError, match=r"rank 1 ended|Connection"):
            write_users(ranks, users, contents, destination, half=False, should_stop=kill)

    await asyncio.to_thread(work)
    assert await models.current() == current


def check_equal(several: ArtifactContents, one: ArtifactContents) -> None:
    assert [*several.users.ids] == [*one.users.ids]
    for name in ("user_vectors", "item_vectors", "initial_item", "item_messages", "top_scores", "top_lasts"):
        wanted: Any = getattr(one, name).astype(np.float64)
        tolerance = 1e-3 if one.user_vectors.dtype == np.float16 else 1e-4
        np.testing.assert_allclose(getattr(several, name), wanted, rtol=0, atol=tolerance * np.abs(wanted).max())
    assert np.mean(np.asarray(several.top_items) == np.asarray(one.top_items)) > 0.99  # but for rounding


def check_pieces(directory: Path) -> None:
    manifest: Manifest = load_artifact(directory).manifest
    facts = manifest.files["user_vectors.npy"]
    assert facts.sha256 is None
    assert sum(piece.rows for piece in facts.pieces) == N_USERS
    assert len(facts.pieces) == 4
    data = bytearray((directory / "user_vectors.npy").read_bytes())
    place = facts.pieces[0].size_bytes + facts.pieces[1].size_bytes + 3
    (directory / "user_vectors.npy").write_bytes(bytes(data[:place]) + b"!!" + bytes(data[place + 2 :]))
    with pytest.raises(ArtifactError, match="of piece 3 of 4 the SHA-256 differs"):
        load_artifact(directory)
    (directory / "user_vectors.npy").write_bytes(data[:-1])
    with pytest.raises(ArtifactError, match="bytes; wanted"):
        load_artifact(directory)
    (directory / "user_vectors.npy").write_bytes(data)


@pytest.mark.timeout(280)
async def test_a_run_goes_on_when_a_rank_dies_while_users_are_written(
    database: Database, mongodb_uri: str, fence: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load_tastes(database)
    killed: list[int] = []

    def killing(ranks: Ranks, *arguments: Any, **options: Any) -> Written:
        if not killed:
            assert isinstance(ranks, LocalGroup)
            killed.extend(ranks.others)
            os.kill(killed[0], signal.SIGKILL)
        return write_users(ranks, *arguments, **options)

    monkeypatch.setattr("app.worker.cycle.write_users", killing)
    settings = load_settings(
        mongodb_uri=mongodb_uri,
        mongodb_database=database.name,
        cache_dir=tmp_path,
        device="cpu",
        epochs=20,
        embedding_size=16,
        time_budget_seconds=0,
        ranks=2,
    )
    run = await RunStore(database).request("request", {})
    outcome = await Cycle(database, recipe_from(settings), fence).run(run)
    assert outcome is not None
    assert (outcome.status, outcome.error) == ("succeeded", None)
    assert len(killed) == 1
    assert outcome.model_id == "m-000002", "the first was left when the rank died"
    assert load_artifact(await ModelStore(database).fetch("m-000002", tmp_path)).manifest.counts["users"] == 200
    for kind in ("files", "chunks"):
        name = "_id" if kind == "files" else "files_id"
        owners = {file_id.split("/")[0] for file_id in await database[f"model_files.{kind}"].distinct(name)}
        assert owners == {"2"}
    assert not await database["checkpoints.chunks"].count_documents({})
