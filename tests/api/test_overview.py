"""What the service holds, and search."""

import asyncio

import httpx

from app.settings import Settings
from tests.support.service import api


async def test_an_empty_service(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/statistics")).json()
    assert [answer[name] for name in ("users", "courses", "interactions", "model_id")] == [0, 0, 0, None]
    assert answer["labels"]["categories"] == []
    assert answer["change_stream_lag_seconds"] < 5
    sizes = {"json_rows": 10000, "json_bytes": 2**25, "spool_bytes": 2**30}
    assert answer["limits"] == {**sizes, "users": None, "courses": None, "interactions": None}
    assert (await client.get("/search?q=a")).json() == {"users": [], "courses": []}


async def test_counts_and_labels(client: httpx.AsyncClient) -> None:
    courses = [
        {"course_id": "a", "categories": ["X", "Y"], "level": "beginner", "language": "en", "tags": ["t"]},
        {"course_id": "b", "categories": ["X"], "level": "beginner"},
    ]
    await client.post("/courses", json=courses)
    await client.post("/interactions", json=[{"user_id": "u", "course_id": "a"}])
    answer = (await client.get("/statistics")).json()
    assert [answer[name] for name in ("users", "courses", "interactions")] == [1, 2, 1]
    assert answer["labels"]["categories"] == [{"label": "X", "courses": 2}, {"label": "Y", "courses": 1}]
    assert answer["labels"]["levels"] == [{"label": "beginner", "courses": 2}]
    await client.delete("/courses/a")
    assert (await client.get("/statistics")).json()["labels"]["tags"] == []


async def test_search_finds_titles_and_the_beginnings_of_ids(client: httpx.AsyncClient) -> None:
    titles = {"c1": "Advanced Python", "c2": "Python", "c3": "STRASSE", "py-4": None, "c5": "机器学习"}
    await client.post("/courses", json=[{"course_id": id_, "title": title} for id_, title in titles.items()])
    await client.post("/users", json=[{"user_id": id_} for id_ in ("ada", "adam", "pyry", "Zoë")])

    async def found(text: str, limit: int = 10) -> tuple[list[str], list[str]]:
        answer = (await client.get("/search", params={"q": text, "limit": limit})).json()
        return answer["users"], [course["course_id"] for course in answer["courses"]]

    assert await found("py") == (["pyry"], ["c2", "c1", "py-4"])
    assert await found("ada") == (["ada", "adam"], [])
    assert await found("ada", 1) == (["ada"], [])
    assert (await found("straße"))[1] == ["c3"]
    assert (await found("学习"))[1] == ["c5"]
    assert (await found("Zo"))[0] == ["Zoë"]
    assert await found(".*") == ([], [])
    assert (await client.get("/search?limit=2")).json()["users"] == ["Zoë", "ada"]


async def test_what_was_written_elsewhere_is_a_last_change(client: httpx.AsyncClient, settings: Settings) -> None:
    async with api(settings) as other:
        await other.post("/users", json=[{"user_id": "ada"}])
        await other.post("/interactions", json=[{"user_id": "ada", "course_id": "a"}])
    while (await client.get("/statistics")).json()["last_change_at"] is None:  # noqa: ASYNC110 - it is behind HTTP
        await asyncio.sleep(0.02)


async def test_quotas_are_told(settings: Settings) -> None:
    async with api(settings.model_copy(update={"max_users": 3})) as client:
        limits = (await client.get("/statistics")).json()["limits"]
        assert [limits[kind] for kind in ("users", "courses", "interactions")] == [3, None, None]
