"""Processes that hold some of the users or none, beside one that holds all: what each of them answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from pymongo import MongoClient
from pymongo.uri_parser import parse_uri

from app.artifact.arrays import USER_FILES
from app.store.client import Database, cluster_time, open_database
from scripts.faults.proxy import Proxy
from tests.support.forgetful import ForgetfulMongod, forget
from tests.support.processes import eventually
from tests.support.published import publish_model, served
from tests.support.service import api, make_settings

COURSES = [f"c{number:02}" for number in range(25)]
USERS = [f"u{number:02}" for number in range(12)]
HELD = 5
WITHIN_SECONDS = 1.0
ALL = {"n": 50}


def rows_of_users() -> list[dict[str, str]]:
    """Each has taken up to eight courses, the last user none; some views of courses taken too."""
    rng, rows = np.random.default_rng(3), list[dict[str, str]]()
    for user_id in USERS[:-1]:
        for course in rng.choice(len(COURSES) - 3, rng.integers(1, 9), replace=False).tolist():
            rows.append({"user_id": user_id, "course_id": COURSES[course], "type": "enroll"})
            if course % 3 == 0:
                rows.append({"user_id": user_id, "course_id": COURSES[course], "type": "view"})
    return rows


ROWS = rows_of_users()
TAKEN = {user_id: {row["course_id"] for row in ROWS if row["user_id"] == user_id} for user_id in USERS}


@dataclass(frozen=True)
class Replicas:
    """Clients of three processes, which hold all users, the first HELD, and none; each has a cache of its own."""

    all: httpx.AsyncClient
    some: httpx.AsyncClient
    none: httpx.AsyncClient
    folder: Path

    def each(self) -> tuple[httpx.AsyncClient, httpx.AsyncClient, httpx.AsyncClient]:
        return self.all, self.some, self.none


@asynccontextmanager
async def serving(uri: str, name: str, folder: Path) -> AsyncIterator[Replicas]:
    """All three, without a model yet, and the courses and interactions."""
    async with AsyncExitStack() as stack:
        clients = {}
        for kind, held in (("all", None), ("some", HELD), ("none", 0)):
            settings = make_settings(uri, name, folder / kind, users_held=held)
            clients[kind] = await stack.enter_async_context(api(settings))
        courses = [{"course_id": id_, "title": id_, "tags": [f"t{number % 4}"]} for number, id_ in enumerate(COURSES)]
        (await clients["all"].post("/courses", json=courses)).raise_for_status()
        (await clients["all"].put(f"/users/{USERS[-1]}", json={})).raise_for_status()
        (await clients["all"].post("/interactions", json=ROWS)).raise_for_status()
        yield Replicas(**clients, folder=folder)


async def publish(db: Database, uri: str, replicas: Replicas) -> str:
    model_id = await publish_model(db, uri, replicas.folder / "published", propagated=True, drawn=True)
    for client in replicas.each():
        await served(client, model_id)
    return model_id


@asynccontextmanager
async def serving_a_model(uri: str, name: str, folder: Path) -> AsyncIterator[Replicas]:
    async with (
        serving(uri, name, folder) as replicas,
        open_database(uri, name, timeout_seconds=5, app_name="tests") as db,
    ):
        await publish(db, uri, replicas)
        yield replicas


@pytest.fixture(scope="module")
async def replicas(
    mongodb_uri: str, mongodb_admin: MongoClient[dict[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Replicas]:
    """For tests that write nothing."""
    name = f"test_{uuid4().hex[:16]}"
    async with serving_a_model(mongodb_uri, name, tmp_path_factory.mktemp("held")) as replicas:
        yield replicas
    mongodb_admin.drop_database(name)


@pytest.fixture
async def writable(mongodb_uri: str, database_name: str, tmp_path: Path) -> AsyncIterator[Replicas]:
    async with serving_a_model(mongodb_uri, database_name, tmp_path) as replicas:
        yield replicas


async def asked(client: httpx.AsyncClient, user_id: str, **options: Any) -> dict[str, Any]:
    answer = await client.get(f"/recommendations/{user_id}", params={**ALL, **options})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["course_id"] for item in answer["items"]]


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {item["course_id"]: item["score"] for item in answer["items"]}


async def drawn(client: httpx.AsyncClient) -> set[str]:
    """Users whom the pictures of the model name; both name the same."""
    graph, places = [(await client.get(f"/pictures/{name}.json")).json() for name in ("graph", "embeddings")]
    assert {user["user_id"] for user in graph["users"]} == {*places["users"]["ids"]}
    return {*places["users"]["ids"]}


async def lists(client: httpx.AsyncClient, user_id: str, course_id: str) -> bool:
    return course_id in ids(await asked(client, user_id))


async def test_who_is_not_held_gets_what_folding_in_the_same_courses_gives(replicas: Replicas) -> None:
    for place, user_id in enumerate(USERS[:-1]):
        body = {"course_ids": sorted(TAKEN[user_id]), **ALL}
        wanted = (await replicas.all.post("/recommendations", json=body)).json()
        known = await asked(replicas.all, user_id)
        for client in (replicas.some, replicas.none):
            found = await asked(client, user_id)
            if client is replicas.some and place < HELD:
                assert (found["source"], scores(found)) == ("model", scores(known))
                continue
            assert found["source"] == wanted["source"] == "fold_in"
            assert ids(found) == ids(wanted)
            assert scores(found) == pytest.approx(scores(wanted), abs=1e-5)


async def test_nothing_taken_is_ever_listed_whatever_is_asked(replicas: Replicas) -> None:
    options: list[dict[str, Any]] = [
        {},
        {"diversity": 0.5},
        {"percent_over": "candidates"},
        {"tag": "t1"},
        {"offset": 2},
        {"explain": True},
        {"prerequisites": "met"},
        {"include_course": True},
    ]
    for client in (replicas.some, replicas.none):
        for user_id in USERS:
            for option in options:
                answer = await asked(client, user_id, **option)
                assert TAKEN[user_id].isdisjoint(ids(answer))
                assert answer["items"]
            gorse = (await client.get(f"/api/recommend/{user_id}", params={"n": 50})).json()
            assert gorse
            assert TAKEN[user_id].isdisjoint(gorse)
            for path in ("/api/popular", "/api/latest", "/api/non-personalized/popular"):
                popular = (await client.get(path, params={"n": 50, "user-id": user_id})).json()
                assert popular
                assert TAKEN[user_id].isdisjoint(item["Id"] for item in popular)


async def test_reasons_add_up_to_the_score(replicas: Replicas) -> None:
    for user_id in USERS[:-1]:
        answer = await asked(replicas.none, user_id, explain=True)
        for item in answer["items"]:
            named = {reason["course_id"] for reason in item["because"]}
            assert named - {None} == TAKEN[user_id]
            assert sum(reason["contribution"] for reason in item["because"]) == pytest.approx(item["score"], abs=1e-5)


async def test_a_batch_is_the_lists_one_by_one(replicas: Replicas) -> None:
    strangers = [f"nobody{number}" for number in range(120)]
    for client in (replicas.some, replicas.none):
        user_ids = [*USERS, *strangers, *USERS[::-1]]
        answer = await client.post("/recommendations/batch", json={"user_ids": user_ids, **ALL})
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert [line["user_id"] for line in lines] == user_ids
        for line in lines:
            alone = await asked(client, line["user_id"])
            assert (line["source"], ids(line)) == (alone["source"], ids(alone))
            assert scores(line) == pytest.approx(scores(alone), abs=1e-5)


async def test_who_has_taken_nothing_is_answered_as_by_any_process(writable: Replicas) -> None:
    for client in writable.each():
        for user_id in (USERS[-1], "nobody"):
            assert (await asked(client, user_id))["source"] == "popular"
        assert (await client.get("/recommendations/nobody", params={"strict": True})).status_code == 404
        assert (await client.get(f"/recommendations/{USERS[7]}", params={"strict": True})).status_code == 200
        assert (await client.get(f"/recommendations/{USERS[-1]}", params={"strict": True})).status_code == 200
    await writable.all.put(f"/users/{USERS[-1]}", json={"interests": {"t2": 1.0}})
    for client in writable.each():

        async def known(client: httpx.AsyncClient = client) -> bool:
            answer = await asked(client, USERS[-1])
            return str(answer["source"]) == "content"

        await eventually(known)


async def test_what_is_taken_is_out_of_the_next_list_and_of_all_others_within_a_second(writable: Replicas) -> None:
    seconds = []
    for user_id in (USERS[1], USERS[8], USERS[-1], "somebody"):
        for asked_before in (False, True):
            for writer in writable.each():
                course_id = ids(await asked(writable.all, user_id))[0]
                if asked_before:
                    for client in writable.each():
                        assert await lists(client, user_id, course_id)
                row = {"user_id": user_id, "course_id": course_id}
                (await writer.post("/interactions", json=row)).raise_for_status()
                assert not await lists(writer, user_id, course_id)
                for client in writable.each():

                    async def gone(client: httpx.AsyncClient = client, row: dict[str, str] = row) -> bool:
                        return not await lists(client, row["user_id"], row["course_id"])

                    seconds.append(await eventually(gone, 5))
                await writer.delete("/interactions", params=row)
                assert await lists(writer, user_id, course_id)
                for client in writable.each():

                    async def back(client: httpx.AsyncClient = client, row: dict[str, str] = row) -> bool:
                        return await lists(client, row["user_id"], row["course_id"])

                    seconds.append(await eventually(back, 5))
    assert median(seconds) < WITHIN_SECONDS


async def test_who_is_deleted_has_taken_nothing_any_more(writable: Replicas) -> None:
    for number, (writer, reader) in enumerate(
        [(writable.none, writable.all), (writable.all, writable.none), (writable.none, writable.none)], HELD + 1
    ):
        user_id = USERS[number]
        if number % 2:
            for client in writable.each():
                await asked(client, user_id)
        erased = (await writer.delete(f"/users/{user_id}")).json()
        assert erased["interactions"] == len([row for row in ROWS if row["user_id"] == user_id])
        answer = await asked(writer, user_id)
        assert answer["source"] == "popular"
        assert {*ids(answer)} == {*COURSES}

        async def forgotten(client: httpx.AsyncClient = reader, user_id: str = user_id) -> bool:
            return {*ids(await asked(client, user_id))} == {*COURSES}

        await eventually(forgotten)
        assert user_id not in await drawn(reader)
        await writer.post("/interactions", json={"user_id": user_id, "course_id": COURSES[0]})
        answer = await asked(writer, user_id)
        assert answer["source"] == "fold_in"
        assert {*ids(answer)} == {*COURSES[1:]}


async def test_neighbours_are_among_the_users_held(replicas: Replicas) -> None:
    for user_id in USERS[:-1]:
        near = (await replicas.some.get(f"/users/{user_id}/similar", params={"n": 50})).json()["items"]
        assert {item["user_id"] for item in near} == {*USERS[:HELD]} - {user_id}
        assert (await replicas.none.get(f"/users/{user_id}/similar")).json()["items"] == []
        assert (await replicas.some.get(f"/api/user/{user_id}/neighbors")).status_code == 200
    for course_id in COURSES:
        wanted = (await replicas.some.get(f"/courses/{course_id}/users", params={"n": 50})).json()["items"]
        found = {item["user_id"] for item in wanted}
        assert found <= {user_id for user_id in USERS[:HELD] if course_id not in TAKEN[user_id]}
        assert (await replicas.none.get(f"/courses/{course_id}/users")).json()["items"] == []
        similar = [
            {
                item["course_id"]: item["score"]
                for item in (await client.get(f"/courses/{course_id}/similar")).json()["items"]
            }
            for client in replicas.each()
        ]
        assert similar[0] == similar[1] == similar[2]


async def test_a_neighbourhood_shows_what_the_user_has_taken(replicas: Replicas) -> None:
    for client in (replicas.some, replicas.none):
        picture = (await client.get("/pictures/graph.json", params={"user_id": USERS[9]})).json()
        shown = {
            edge["course_id"] for edge in picture["edges"] if edge["user_id"] == USERS[9] and edge["kind"] == "taken"
        }
        assert shown == TAKEN[USERS[9]]
        assert (await client.get("/pictures/graph.svg", params={"course_id": COURSES[0]})).status_code == 200
        assert await drawn(client) == {*USERS}


async def test_the_files_of_users_who_are_not_held_are_not_fetched(replicas: Replicas) -> None:
    def fetched(kind: str) -> set[str]:
        (directory,) = (replicas.folder / kind).iterdir()
        return {path.name for path in directory.iterdir()}

    whole = fetched("all")
    assert fetched("some") == whole
    assert fetched("none") == whole - USER_FILES
    assert whole & USER_FILES


async def test_a_new_model_is_taken_over(writable: Replicas, database: Database, mongodb_uri: str) -> None:
    row = {"user_id": USERS[8], "course_id": ids(await asked(writable.none, USERS[8]))[0]}
    (await writable.all.post("/interactions", json=row)).raise_for_status()
    model_id = await publish(database, mongodb_uri, writable)
    for client in writable.each():
        answer = await asked(client, USERS[8])
        assert answer["model_id"] == model_id
        assert (TAKEN[USERS[8]] | {row["course_id"]}).isdisjoint(ids(answer))


async def test_without_the_database_those_who_are_known_are_answered_and_others_later(
    database: Database, mongodb_uri: str, tmp_path: Path
) -> None:
    proxy = Proxy(parse_uri(mongodb_uri)["nodelist"][0][1])
    through = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
    async with (
        serving(mongodb_uri, database.name, tmp_path) as replicas,
        api(make_settings(through, database.name, tmp_path / "cut", users_held=HELD)) as cut,
    ):
        await served(cut, await publish(database, mongodb_uri, replicas))
        before = await asked(cut, USERS[7])
        proxy.set("refuse")

        async def away() -> bool:
            return (await cut.get("/health/ready")).status_code == 503

        await eventually(away)
        assert await asked(cut, USERS[7]) | {"generated_at": "", "recommendation_id": ""} == before | {
            "generated_at": "",
            "recommendation_id": "",
        }
        assert (await asked(cut, USERS[0]))["source"] == "model"
        for answer in (
            await cut.get(f"/recommendations/{USERS[8]}"),
            await cut.get("/recommendations/nobody"),
            await cut.get(f"/api/recommend/{USERS[8]}"),
            await cut.post("/recommendations/batch", json={"user_ids": [USERS[7], USERS[8]]}),
        ):
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) > 0
        course_id = ids(await asked(replicas.all, USERS[8]))[0]
        rows = [{"user_id": user_id, "course_id": course_id} for user_id in (USERS[7], USERS[8])]
        (await replicas.all.post("/interactions", json=rows)).raise_for_status()
        proxy.set("pass")

        async def right() -> bool:
            answers = [await cut.get(f"/recommendations/{user_id}", params=ALL) for user_id in USERS[7:9]]
            return all(answer.status_code == 200 and course_id not in ids(answer.json()) for answer in answers)

        await eventually(right, 20)


async def test_after_changes_were_missed_all_is_known_again(tmp_path: Path) -> None:
    mongod, name = ForgetfulMongod(tmp_path / "mongod"), "forgetful"
    uri = mongod.start()
    proxy = Proxy(parse_uri(uri)["nodelist"][0][1])
    through = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
    try:
        async with (
            serving(uri, name, tmp_path) as replicas,
            api(make_settings(through, name, tmp_path / "cut", users_held=HELD)) as some,
            api(make_settings(through, name, tmp_path / "cut", users_held=0)) as none,
            open_database(uri, name, timeout_seconds=5, app_name="tests") as db,
        ):
            model_id = await publish(db, uri, replicas)
            course_id = ids(await asked(replicas.all, USERS[8]))[0]
            for client in (some, none):
                await served(client, model_id)
                for user_id in (USERS[0], USERS[7], USERS[8]):
                    await asked(client, user_id)
            proxy.set("refuse")
            await replicas.all.post("/interactions", json={"user_id": USERS[8], "course_id": course_id})
            await replicas.all.post("/interactions", json={"user_id": USERS[0], "course_id": COURSES[-1]})
            for user_id in (USERS[1], USERS[7]):
                assert (await replicas.all.delete(f"/users/{user_id}")).status_code == 200
            await forget(db, await cluster_time(db))
            proxy.set("pass")
            for client in (some, none):

                async def right(client: httpx.AsyncClient = client) -> bool:
                    gone = [await client.get(f"/recommendations/{id_}", params=ALL) for id_ in (USERS[1], USERS[7])]
                    return (
                        all(answer.status_code == 200 for answer in gone)
                        and all({*ids(answer.json())} == {*COURSES} for answer in gone)
                        and not await lists(client, USERS[8], course_id)
                        and not await lists(client, USERS[0], COURSES[-1])
                    )

                await eventually(right, 30)
                assert await drawn(client) == {*USERS} - {USERS[1], USERS[7]}
                assert "change_history_lost_total 1.0" in (await client.get("/metrics")).text
    finally:
        await asyncio.to_thread(mongod.stop, timeout_seconds=0)
