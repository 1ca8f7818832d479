"""A published model of what is in the database, with random vectors: all of a retrain but the training."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np

from app.artifact.write import write_artifact
from app.domain.contents import ArtifactContents
from app.graph.bipartite import BipartiteGraph
from app.plots.points import to_json
from app.plots.projection import map_of
from app.store.client import Database
from app.store.lease import Lease
from app.store.models import ModelStore
from app.store.snapshot import read_snapshot
from app.worker.drawing import graph_points, users_to_draw
from tests.support.content import alone
from tests.support.models import DESCRIPTION, light_gcn, random_embeddings

WEIGHTS = {"view": 1.0, "like": 1.0, "enroll": 1.0, "complete": 1.0, "dislike": 0.0, "drop": 0.0}


async def publish_model(
    db: Database,
    uri: str,
    folder: Path,
    *,
    seed: int = 0,
    damaged: Sequence[str] = (),
    propagated: bool = False,
    drawn: bool = False,
) -> str:
    """Id of a new current model; the files named in ``damaged`` are not what the manifest says.

    propagated: its vectors are what LightGCN makes of random ones, so that users can be folded in.
    drawn: with the points of its graph and of its vectors.
    """
    models, lease = ModelStore(db), Lease(db, "tests", 60.0)
    fence = await lease.acquire()
    assert fence is not None
    model_id = await models.next_id()
    snapshot = await asyncio.to_thread(read_snapshot, uri, db.name, tuple(WEIGHTS))
    embeddings = random_embeddings(len(snapshot.users), len(snapshot.items), 4, seed)
    if propagated:
        rng = np.random.default_rng(seed)
        layer0 = rng.normal(size=(len(snapshot.users) + len(snapshot.items), 4))
        embeddings = light_gcn(snapshot, layer0, 2, weights=WEIGHTS)
    contents = ArtifactContents.from_snapshot(snapshot, WEIGHTS, embeddings)
    contents.user_vectors[contents.user_degrees == 0] = 0.0  # as training leaves them
    description = replace(DESCRIPTION, model_id=model_id, fence=fence, run_id=None)
    directory = folder / model_id
    pictures = _points(contents, model_id) if drawn else None
    manifest = await asyncio.to_thread(write_artifact, directory, contents, description, pictures=pictures)
    for name in damaged:
        await asyncio.to_thread(_damage, directory / name)
    await models.publish(await models.upload(model_id, directory, fence=fence), manifest.as_dict())
    await lease.release()
    return model_id


def _points(contents: ArtifactContents, model_id: str) -> dict[str, bytes]:
    vectors = np.asarray(contents.user_vectors, np.float32), contents.item_vectors
    pairs = np.repeat(np.arange(len(contents.users)), np.diff(contents.seen_indptr)), contents.seen_items
    graph = BipartiteGraph.from_pairs(*pairs, n_users=len(contents.users), n_items=len(contents.items))
    users = users_to_draw(alone(vectors[0], graph), contents)
    return {
        "graph.json": to_json(graph_points(contents, users, {}, model_id)),
        "embeddings.json": to_json(
            map_of(contents.users.ids, contents.items.ids, *vectors, model_id=model_id, labels={})
        ),
    }


def _damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"!")


async def served(client: httpx.AsyncClient, model_id: str) -> None:
    """Until the process serves the model; the time limit of the test ends it otherwise."""
    while (await client.get("/popular")).json()["model_id"] != model_id:  # noqa: ASYNC110 - it is behind HTTP
        await asyncio.sleep(0.01)
