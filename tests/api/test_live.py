"""What a process serves while models change, others write, and the database goes and comes back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api import live
from app.api.application import create_application
from app.domain.api_keys import KeyScope
from app.domain.changes import ChangeBatch
from app.settings import Settings
from app.store.api_keys import KeyStore
from app.store.changes import follow
from app.store.client import Database, open_database
from app.store.embedded import EmbeddedMongod
from tests.support.published import publish_model, served
from tests.support.service import api, make_settings, with_state

ROWS = [{"user_id": user, "course_id": course} for user, course in (("ann", "x"), ("bob", "y"), ("cyd", "z"))]


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> float:
    """How long it took."""
    began = time.monotonic()
    while not await true():
        assert time.monotonic() - began < seconds
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def ids(client: httpx.AsyncClient, user_id: str) -> set[str]:
    answer = await client.get(f"/recommendations/{user_id}")
    assert answer.status_code == 200, answer.text
    return {item["course_id"] for item in answer.json()["items"]}


async def checks(client: httpx.AsyncClient) -> tuple[int, dict[str, Any]]:
    answer = await client.get("/health/ready")
    return answer.status_code, answer.json()


async def test_what_one_process_writes_another_knows_within_a_second(settings: Settings, tmp_path: Path) -> None:
    other_settings = settings.model_copy(update={"cache_dir": tmp_path / "other"})
    uri, name = str(settings.mongodb_uri), settings.mongodb_database
    async with api(settings) as client, api(other_settings) as other:
        await client.post("/interactions", json=ROWS)

        async def knows_all() -> bool:
            return len(await ids(other, "ann")) == 2

        await until(knows_all)
        async with open_database(uri, name, timeout_seconds=5, app_name="tests") as db:
            model_id = await publish_model(db, uri, tmp_path / "published")
        await asyncio.gather(served(client, model_id), served(other, model_id))
        await client.post("/interactions", json={"user_id": "ann", "course_id": "y"})

        async def knows() -> bool:
            return await ids(other, "ann") == {"z"}

        assert await until(knows) < 1
        await client.delete("/courses/z")

        async def gone() -> bool:
            return await ids(other, "ann") == set()

        assert await until(gone) < 1


async def test_what_changed_since_the_snapshot_is_known_to_a_process_that_starts_later(
    settings: Settings, database: Database, mongodb_uri: str, tmp_path: Path
) -> None:
    async with api(settings) as client:
        await client.post("/interactions", json=ROWS)
        await served(client, await publish_model(database, mongodb_uri, tmp_path))
        await client.post("/interactions", json={"user_id": "ann", "course_id": "y"})
        await client.delete("/users/bob")
    async with api(settings) as client:
        assert await ids(client, "ann") == {"z"}
        assert (await client.get("/recommendations/ann")).json()["model_id"]
        assert (await client.get("/recommendations/bob")).json()["source"] == "popular"


async def test_a_damaged_model_is_not_served_and_the_old_one_stays(
    client: httpx.AsyncClient, database: Database, mongodb_uri: str, tmp_path: Path
) -> None:
    await client.post("/interactions", json=ROWS)
    good = await publish_model(database, mongodb_uri, tmp_path)
    await served(client, good)
    bad = await publish_model(database, mongodb_uri, tmp_path, damaged=["item_vectors.npy"])

    async def noticed() -> bool:
        return bool((await checks(client))[1]["status"] == "degraded")

    await until(noticed)
    status, body = await checks(client)
    assert status == 200
    assert bad in body["checks"]["model"]
    assert "item_vectors.npy" in body["checks"]["model"]
    assert (await client.get("/recommendations/ann")).json()["model_id"] == good
    assert "coursegraph_model_load_failures_total 1.0" in (await client.get("/metrics")).text
    newer = await publish_model(database, mongodb_uri, tmp_path, seed=2)
    await served(client, newer)
    assert (await checks(client))[1]["checks"]["model"] == "ok"


async def test_models_are_swapped_under_load_without_a_mixed_answer(
    client: httpx.AsyncClient, database: Database, mongodb_uri: str, tmp_path: Path
) -> None:
    await client.post("/interactions", json=ROWS)
    models = [await publish_model(database, mongodb_uri, tmp_path)]
    await served(client, models[0])
    stop = asyncio.Event()

    async def read() -> set[tuple[str, float]]:
        said = set()
        while not stop.is_set():
            body = (await client.get("/recommendations/ann?exclude_seen=false")).json()
            said.add((body["model_id"], sum(item["score"] for item in body["items"])))
            await asyncio.sleep(0)
        return said

    async def write() -> None:
        number = 0
        while not stop.is_set():  # so that the stream never stands still
            number += 1
            await client.post("/interactions", json={"user_id": "dan", "course_id": f"n{number % 3}"})

    reading, writing = asyncio.create_task(read()), asyncio.create_task(write())
    for seed in (1, 2):
        models.append(await publish_model(database, mongodb_uri, tmp_path, seed=seed))
        await served(client, models[-1])
    stop.set()
    await writing
    assert {model for model, _ in await reading} <= set(models)


async def test_all_is_read_again_when_changes_were_missed(
    client: httpx.AsyncClient, database: Database, mongodb_uri: str, tmp_path: Path
) -> None:
    await client.post("/interactions", json=ROWS)
    model_id = await publish_model(database, mongodb_uri, tmp_path)
    await served(client, model_id)
    await database["interactions"].drop()  # of which the stream tells no more than that

    async def forgotten() -> bool:
        return await ids(client, "ann") == {"x", "y", "z"}

    await until(forgotten)
    assert "coursegraph_change_history_lost_total 1.0" in (await client.get("/metrics")).text
    await client.post("/interactions", json={"user_id": "ann", "course_id": "z"})
    assert await ids(client, "ann") == {"x", "y"}


@pytest.fixture
def mongod(tmp_path: Path) -> Iterator[EmbeddedMongod]:
    """A server that the test may stop."""
    server = EmbeddedMongod(tmp_path / "mongodb")
    server.start()
    yield server
    server.stop(timeout_seconds=0)


@contextlib.asynccontextmanager
async def restarted(server: EmbeddedMongod) -> AsyncIterator[None]:
    """Without the server in the block."""
    server.stop(timeout_seconds=0)
    yield
    server.start()


async def test_an_outage_is_503_for_what_needs_the_database_and_nothing_for_recommendations(
    mongod: EmbeddedMongod, tmp_path: Path
) -> None:
    settings = make_settings(mongod.uri, "test", tmp_path, database_timeout_seconds=0.5)
    async with open_database(mongod.uri, "test", timeout_seconds=5, app_name="tests") as db:
        key, _ = await KeyStore(db).create("test", KeyScope.admin)
    async with api(settings) as client:
        client.headers["X-API-Key"] = key
        await client.post("/interactions", json=ROWS)
        async with open_database(mongod.uri, "test", timeout_seconds=5, app_name="tests") as db:
            await served(client, await publish_model(db, mongod.uri, tmp_path / "published"))
        async with restarted(mongod):
            calls: list[tuple[str, str, Any]] = [
                ("GET", "/users", None),
                ("PUT", "/users/u", {}),
                ("POST", "/interactions", ROWS),
                ("DELETE", "/courses/x", None),
                ("POST", "/training/runs", None),
                ("GET", "/models", None),
                ("GET", "/export/users", None),
                ("GET", "/recommendations/stranger?strict=true", None),
            ]
            for method, path, sent in calls:
                answer = await client.request(method, path, json=sent)
                assert (answer.status_code, answer.json()["type"]) == (503, "unavailable"), path
                assert int(answer.headers["retry-after"]) > 0
            assert await ids(client, "ann") == {"y", "z"}

            async def says_how_old() -> bool:
                return "x-data-age" in (await client.get("/recommendations/ann")).headers

            await until(says_how_old)
            for path in ("/recommendations/ann", "/popular", "/api/recommend/ann", "/api/popular"):
                answer = await client.get(path)
                assert answer.status_code == 200
                assert float(answer.headers["x-data-age"]) > 1
            assert (await client.get("/recommendations/ann?include_course=true")).status_code == 503
            batch = await client.post("/recommendations/batch", json={"user_ids": ["ann"]})
            assert float(batch.headers["x-data-age"]) > 1
            assert (await client.get("/popular")).status_code == 200
            assert (await client.get("/popular", headers={"X-API-Key": "other"})).status_code == 401
            status, body = await checks(client)
            assert (status, body["status"]) == (503, "unavailable")
            assert body["checks"]["database"] != "ok"
            assert body["change_stream_lag_seconds"] > 0
            assert (await client.get("/health/live")).status_code == 200

        async def ready() -> bool:
            return (await checks(client))[0] == 200

        await until(ready)
        assert "x-data-age" not in (await client.get("/recommendations/ann")).headers
        assert (await client.post("/interactions", json={"user_id": "ann", "course_id": "y"})).status_code == 200
        assert await ids(client, "ann") == {"z"}


async def test_a_process_that_starts_answers_when_it_has_heard_what_others_wrote_meanwhile(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read at the start is old by the time at which the stream of changes begins."""
    begun, let_begin = asyncio.Event(), asyncio.Event()

    async def late(*args: Any, **options: Any) -> AsyncIterator[ChangeBatch]:
        if options["kinds"] is live.KINDS:
            begun.set()
            while not let_begin.is_set():
                yield ChangeBatch((), args[1], connected=False)
                await asyncio.sleep(0.01)
        async for batch in follow(*args, **options):
            yield batch

    other_settings = settings.model_copy(update={"cache_dir": tmp_path / "other"})
    async with api(settings) as client:
        await client.post("/interactions", json=ROWS)
        async with open_database(
            str(settings.mongodb_uri), settings.mongodb_database, timeout_seconds=5, app_name="tests"
        ) as db:
            await served(client, await publish_model(db, str(settings.mongodb_uri), tmp_path / "published"))
        monkeypatch.setattr("app.api.live.follow", late)
        app = create_application(other_settings, local=True)
        async with app.router.lifespan_context(app) as state:
            transport = httpx.ASGITransport(with_state(app, state))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as other:
                await asyncio.wait_for(begun.wait(), 20)
                await client.post("/interactions", json={"user_id": "ann", "course_id": "y"})
                assert (await checks(other))[0] == 503
                assert (await other.get("/recommendations/ann")).status_code == 503
                let_begin.set()

                async def answers() -> bool:
                    return (await other.get("/recommendations/ann")).status_code == 200

                await until(answers)
                assert await ids(other, "ann") == {"z"}
                assert (await checks(other))[0] == 200


async def test_a_process_that_starts_without_the_database_waits_for_it(mongod: EmbeddedMongod, tmp_path: Path) -> None:
    mongod.stop(timeout_seconds=0)
    app = create_application(make_settings(mongod.uri, "test", tmp_path, database_timeout_seconds=0.5), local=True)
    async with app.router.lifespan_context(app) as state:
        transport = httpx.ASGITransport(with_state(app, state))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            status, body = await checks(client)
            assert status == 503
            assert "MongoDB does not answer" in body["checks"]["database"]
            for path in ("/recommendations/ann", "/popular", "/users"):
                answer = await client.get(path)
                assert (answer.status_code, answer.json()["type"]) == (503, "unavailable")
            mongod.start()

            async def ready() -> bool:
                return (await checks(client))[0] == 200

            await until(ready)
            assert (await client.put("/users/ann", json={})).status_code == 201
