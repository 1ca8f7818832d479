"""The service is cut off for longer than the database remembers what changed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from app.store.client import cluster_time, open_database
from scripts.faults.proxy import Proxy
from tests.support.forgetful import ForgetfulMongod, forget
from tests.support.processes import eventually
from tests.support.published import publish_model, served
from tests.support.service import api, make_settings

ROWS = [{"user_id": user, "course_id": course} for user, course in (("ann", "x"), ("bob", "y"), ("cyd", "z"))]
NAME, METRIC = "forgetful", "coursegraph_change_history_lost_total"


async def listed(client: httpx.AsyncClient, user_id: str) -> tuple[str, set[str]]:
    """Source, and what is in the list."""
    answer = await client.get(f"/recommendations/{user_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()["source"], {item["course_id"] for item in answer.json()["items"]}


@asynccontextmanager
async def two_services(mongod: ForgetfulMongod, folder: Path) -> AsyncIterator[tuple[Proxy, list[httpx.AsyncClient]]]:
    """One whose network can be cut, and one beside the database."""
    direct = mongod.uri
    proxy = Proxy(int(direct.split(":")[2].split("/")[0]))
    through = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
    cut, near = (make_settings(uri, NAME, folder / name) for uri, name in ((through, "cut"), (direct, "near")))
    async with api(near) as other, api(cut) as client:
        yield proxy, [client, other]


async def test_lists_go_on_and_all_that_was_missed_is_known_afterwards(tmp_path: Path) -> None:
    mongod = ForgetfulMongod(tmp_path / "mongod")
    uri = mongod.start()
    try:
        async with (
            two_services(mongod, tmp_path) as (proxy, (client, other)),
            open_database(uri, NAME, timeout_seconds=5, app_name="tests") as db,
        ):
            await other.post("/interactions", json=ROWS)
            model_id = await publish_model(db, uri, tmp_path / "published", propagated=True)
            await served(client, model_id)
            assert await listed(client, "ann") == ("model", {"y", "z"})
            proxy.set("refuse")

            async def ready() -> bool:
                return (await client.get("/health/ready")).status_code == 200

            async def not_ready() -> bool:
                return not await ready()

            await eventually(not_ready)
            told = (await client.get("/health/ready")).json()
            assert "MongoDB does not answer" in str(told), told
            await other.post(
                "/interactions", json=[{"user_id": "ann", "course_id": "y"}, {"user_id": "dan", "course_id": "x"}]
            )
            assert (await other.delete("/users/bob")).status_code == 200
            assert (await other.delete("/courses/z")).status_code == 200
            await forget(db, await cluster_time(db))
            assert await listed(client, "ann") == ("model", {"y", "z"})  # what it knew goes on
            assert not await ready()
            proxy.set("pass")
            await eventually(ready, 20)
            assert await listed(client, "ann") == ("model", set())
            assert await listed(client, "dan") == ("fold_in", {"y"})
            assert (await listed(client, "bob"))[0] == "popular"
            assert await listed(client, "cyd") == ("model", {"x", "y"})
            lost = next(line for line in (await client.get("/metrics")).text.splitlines() if line.startswith(METRIC))
            assert float(lost.split()[1]) >= 1
            assert (await client.get("/popular")).json()["model_id"] == model_id
            await other.post("/interactions", json={"user_id": "cyd", "course_id": "x"})

            async def knows() -> bool:
                return await listed(client, "cyd") == ("model", {"y"})

            await eventually(knows, 5)
    finally:
        mongod.stop(timeout_seconds=0)
