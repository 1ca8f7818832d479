"""What is left of somebody who was erased: the collections are searched byte by byte."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from bson import encode
from pymongo import MongoClient

from tests.support.service import api, make_settings, train, worker

USER = "erased-7f3a9c"  # found nowhere by chance


def places(mongo: MongoClient[dict[str, Any]], name: str, wanted: bytes) -> list[str]:
    """Collections with a document that holds the bytes, GridFS chunks too."""
    db = mongo[name]
    return sorted(
        collection
        for collection in db.list_collection_names()
        if any(wanted in encode(document) for document in db[collection].find())
    )


async def fill(client: httpx.AsyncClient) -> None:
    rng = np.random.default_rng(0)
    courses = [f"c{number}" for number in range(12)]
    users = [f"u{number}" for number in range(30)]
    await client.post("/courses", json=[{"course_id": course, "title": f"Course {course}"} for course in courses])
    rows = [
        {"user_id": user, "course_id": str(course)}
        for user in [*users, USER]
        for course in rng.choice(courses, 4, replace=False)
    ]
    await client.put(f"/users/{USER}", json={"interests": {"logic": 1}})
    await client.post("/interactions", json=rows)
    await client.post("/interactions", json=[{"user_id": USER, "course_id": "c1", "type": "flew"}])


async def test_erasing_a_user_reaches_everything(
    mongodb_admin: MongoClient[dict[str, Any]], mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    fast = {"embedding_size": 4, "epochs": 3, "time_budget_seconds": 0, "filter": "none"}
    settings = make_settings(mongodb_uri, database_name, tmp_path, **fast)
    async with api(settings) as client, worker(settings):
        await fill(client)
        first = await train(client)
        assert first["status"] == "succeeded", first
        before = (await client.get(f"/recommendations/{USER}")).json()
        assert before["source"] == "model"
        known = await asyncio.to_thread(places, mongodb_admin, database_name, USER.encode())
        assert {"users", "interactions", "rejected_rows", "model_files.chunks"} <= set(known)

        answer = await client.delete(f"/users/{USER}")
        assert answer.json() == {"users": 1, "courses": 0, "interactions": 4, "vectors": 1, "rejected_rows": 1}
        # At once: no record, no list, no vector, no picture, no export.
        after = (await client.get(f"/recommendations/{USER}")).json()
        assert after["source"] == "popular"
        for path in ("/pictures/embeddings.json", "/pictures/graph.json", "/export/users", "/export/interactions"):
            found = await client.get(path)
            assert found.status_code == 200
            assert USER not in found.text, path
        assert not re.search(USER, (await client.get("/users/u1/similar?n=30")).text)
        assert not re.search(USER, (await client.get("/courses/c1/users?n=30")).text)
        assert (await client.get("/rejected")).json()["items"] == []
        left = await asyncio.to_thread(places, mongodb_admin, database_name, USER.encode())
        assert left == ["model_files.chunks"]  # the files of the served model, until the next one

        second = await train(client)
        assert second["status"] == "succeeded", second
        assert await asyncio.to_thread(places, mongodb_admin, database_name, USER.encode()) == []
        listed = [model["model_id"] for model in (await client.get("/models")).json()["items"]]
        assert listed == [second["model_id"]]


async def test_models_without_the_erased_stay_for_roll_back(
    mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    fast = {"embedding_size": 4, "epochs": 3, "time_budget_seconds": 0, "filter": "none"}
    settings = make_settings(mongodb_uri, database_name, tmp_path, **fast)
    async with api(settings) as client, worker(settings):
        await fill(client)
        runs = [await train(client)]
        await client.post("/interactions", json={"user_id": "passing", "course_id": "c1"})
        runs.append(await train(client))
        assert (await client.delete("/users/passing")).json()["vectors"] == 1
        runs.append(await train(client))
        listed = [model["model_id"] for model in (await client.get("/models")).json()["items"]]
        assert listed == [runs[2]["model_id"], runs[0]["model_id"]]


async def test_an_erasure_in_the_way_of_a_transaction_that_a_killed_process_left_is_503_until_the_server_ends_it(
    mongodb_admin: MongoClient[dict[str, Any]], mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    async with api(make_settings(mongodb_uri, database_name, tmp_path)) as client:
        for user in ("ada", "bob"):
            assert (await client.put(f"/users/{user}", json={})).status_code == 201
        assert (await client.delete("/users/bob")).status_code == 200
        deletions = mongodb_admin[database_name]["settings"]
        with mongodb_admin.start_session() as session:
            session.start_transaction()
            deletions.update_one({"_id": "deletions"}, {"$inc": {"count": 1}}, session=session)
            answer = await client.delete("/users/ada")
            assert (answer.status_code, answer.json()["type"]) == (503, "unavailable")
            session.abort_transaction()
        assert (await client.delete("/users/ada")).status_code == 200
