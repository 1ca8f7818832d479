"""Options of lists, and the calls beside `/recommendations/{user_id}`."""

import json
import math
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.store.client import Database
from tests.support.published import publish_model, served

COURSES: list[dict[str, Any]] = [
    {
        "course_id": f"c{i}",
        "title": f"Course {i}",
        "categories": ["even" if i % 2 == 0 else "odd"],
        "tags": [f"t{i % 3}"],
        "level": ("easy", "hard")[i % 2],
        "language": ("en", "de", "fr")[i % 3],
        "prerequisites": ["c1"] if i == 4 else ["c0", "c2"] if i == 6 else [],
        "features": [1.0, 2.0],
    }
    for i in range(12)
]
TAKEN = [
    *(("ann", "c1", "complete"), ("ann", "c2", "enroll"), ("bob", "c2", "enroll"), ("bob", "c3", "enroll")),
    *(("cyd", "c2", "enroll"), ("cyd", "c2", "view"), ("cyd", "c5", "like"), ("dan", "c5", "drop")),
]


@pytest.fixture
async def rows(client: httpx.AsyncClient) -> None:
    assert (await client.post("/courses", json=COURSES)).json()["accepted"] == len(COURSES)
    rows = [{"user_id": user, "course_id": course, "type": type_} for user, course, type_ in TAKEN]
    assert (await client.post("/interactions", json=rows)).json()["created"] == len(TAKEN)


@pytest.fixture
async def model_id(rows: None, client: httpx.AsyncClient, database: Database, mongodb_uri: str, tmp_path: Path) -> str:
    model_id = await publish_model(database, mongodb_uri, tmp_path, propagated=True)
    await served(client, model_id)
    return model_id


async def got(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def posted(client: httpx.AsyncClient, path: str, sent: Any = None) -> dict[str, Any]:
    answer = await client.post(path, json=sent)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ids(body: dict[str, Any]) -> list[str]:
    return [item["course_id"] for item in body["items"]]


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"]


VARYING = {"recommendation_id": "", "generated_at": "", "items": []}

# --- options of both twins

FILTERS = [
    ({"tag": ["t1", "t2"]}, lambda i: i % 3 in {1, 2}),
    ({"level": ["easy"]}, lambda i: i % 2 == 0),
    ({"language": ["de", "fr"]}, lambda i: i % 3 in {1, 2}),
    ({"category": ["odd"], "tag": ["t0"]}, lambda i: i % 2 == 1 and i % 3 == 0),
    ({"include_only": ["c7", "c8", "nothing", "c1"]}, lambda i: i in {7, 8}),
    ({"prerequisites": "met"}, lambda i: i != 6),
    ({"exclude": ["c4", "c5"], "level": ["easy", "hard"]}, lambda i: i not in {4, 5}),
]


@pytest.mark.parametrize(("options", "fits"), FILTERS)
async def test_filters(client: httpx.AsyncClient, model_id: str, options: dict[str, Any], fits: Any) -> None:
    by_get = await client.get("/recommendations/ann", params={"n": 500, **options})
    by_post = await posted(client, "/recommendations/ann", {"n": 500, **options})
    assert by_get.json()["items"] == by_post["items"]
    assert set(ids(by_post)) == {f"c{i}" for i in range(12) if fits(i) and i not in {1, 2}}
    unfiltered = ids(await got(client, "/recommendations/ann?n=500"))
    assert ids(by_post) == [course for course in unfiltered if course in ids(by_post)]


async def test_diversity_changes_the_order_only(client: httpx.AsyncClient, model_id: str) -> None:
    plain, diverse = [ids(await got(client, f"/recommendations/ann?n=500&diversity={d}")) for d in ("0", "0.9")]
    assert plain[0] == diverse[0]
    assert plain != diverse
    assert sorted(plain) == sorted(diverse)


async def test_explanations_add_up(client: httpx.AsyncClient, model_id: str) -> None:
    for user, source, edges in (("ann", "model", {"c1", "c2"}), ("eve", "fold_in", {"c0", "c5"})):
        if user == "eve":
            await client.post("/interactions", json=[{"user_id": "eve", "course_id": course} for course in edges])
        body = await got(client, f"/recommendations/{user}?explain=true&n=500")
        assert body["source"] == source
        for item in body["items"]:
            parts = item["because"]
            assert sum(part["contribution"] for part in parts) == pytest.approx(item["score"], abs=1e-5)
            assert {part["course_id"] for part in parts} == {*edges, None}
            assert sum(abs(part["percent"]) for part in parts) == pytest.approx(100)
    assert all(item["because"] == [] for item in (await got(client, "/recommendations/who?explain=1"))["items"])
    assert "because" not in (await got(client, "/recommendations/ann"))["items"][0]
    for user in ("ann", "eve", "who"):  # nothing to explain
        assert (await got(client, f"/recommendations/{user}?explain=true&category=none"))["items"] == []


async def test_the_record_of_each_course(client: httpx.AsyncClient, model_id: str) -> None:
    body = await got(client, "/recommendations/ann?include_course=true&n=3")
    for item in body["items"]:
        stored = (await client.get(f"/courses/{item['course_id']}")).json()
        assert stored.pop("features") == [1.0, 2.0]
        assert item["course"] == stored


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"diversity": 1.5}, "diversity"),
        ({"diversity": "nan"}, "diversity"),
        ({"prerequisites": "some"}, "prerequisites"),
        ({"explain": "perhaps"}, "explain"),
        ({"tag": ""}, "tag"),
        ({"include_only": "a/b"}, "include_only"),
        ({"level": ["x"] * 101}, "level"),
        ({"features": 1}, "features"),
    ],
)
async def test_bad_values_are_named_alike(
    client: httpx.AsyncClient, model_id: str, options: dict[str, Any], place: str
) -> None:
    by_get = await client.get("/recommendations/ann", params=options)
    assert problem(by_get) == (422, "invalid_value")
    assert by_get.json()["errors"][0]["loc"][:2] == ["query", place]
    by_post = await client.post("/recommendations/ann", json=options)
    assert problem(by_post) == (422, "invalid_value")
    assert by_post.json()["errors"][0]["loc"][:2] == ["body", place]
    assert place in by_post.json()["detail"]


async def test_bodies_that_are_no_options(client: httpx.AsyncClient) -> None:
    for path in ("/recommendations/ann", "/recommendations", "/recommendations/batch"):
        assert problem(await client.post(path, json=[1])) == (422, "invalid_value")
        assert problem(await client.post(path, content=b"{", headers={"Content-Type": "application/json"}))[0] == 400
        assert problem(await client.post(path, content=b"{}", headers={"Content-Type": "text/csv"}))[0] == 415
        assert problem(await client.post(f"{path}?n=3", json={}))[0] == 422


# --- somebody


async def test_somebody_who_took_courses(client: httpx.AsyncClient, model_id: str) -> None:
    taken = {"course_ids": ["c1", "c2"], "n": 500, "explain": True}
    body = await posted(client, "/recommendations", taken)
    assert (body["user_id"], body["model_id"], body["source"]) == (None, model_id, "fold_in")
    assert set(ids(body)) == {f"c{i}" for i in range(12)} - {"c1", "c2"}
    await client.post("/interactions", json=[{"user_id": "new", "course_id": course} for course in ("c1", "c2")])
    known = (await got(client, "/recommendations/new?n=500&explain=true"))["items"]
    for item, same in zip(body["items"], known, strict=True):
        assert (item["course_id"], item["score"]) == (same["course_id"], same["score"])
        assert [part["course_id"] for part in item["because"]] == [part["course_id"] for part in same["because"]]
    assert len((await posted(client, "/recommendations", {**taken, "exclude_seen": False}))["items"]) == 12
    met = await posted(client, "/recommendations", {"course_ids": ["c0"], "prerequisites": "met", "n": 500})
    assert set(ids(met)) == {f"c{i}" for i in range(1, 12)} - {"c4", "c6"}


async def test_somebody_with_interests(client: httpx.AsyncClient, model_id: str) -> None:
    body = await posted(client, "/recommendations", {"interests": ["t1"], "explain": True})
    assert body["source"] == "content"
    for item in body["items"]:
        assert [part["course_id"] for part in item["because"]] == [None]
        assert item["because"][0]["contribution"] == pytest.approx(item["score"], abs=1e-5)
    both = await posted(client, "/recommendations", {"interests": {"odd": 2}, "course_ids": ["c2"], "explain": True})
    assert both["source"] == "fold_in"
    assert {part["course_id"] for part in both["items"][0]["because"]} == {"c2", None}
    for said in ({}, {"interests": ["unheard-of"]}, None):
        assert (await posted(client, "/recommendations", said))["source"] == "popular"


async def test_a_user_with_interests_only(client: httpx.AsyncClient, model_id: str) -> None:
    async def listed() -> dict[str, Any]:
        return await got(client, "/recommendations/fay?n=500&explain=true")

    assert (await listed())["source"] == "popular"
    await client.put("/users/fay", json={"interests": {"t1": 1.0}})
    body = await listed()
    assert body["source"] == "content"
    assert (
        body["items"]
        == (await posted(client, "/recommendations", {"interests": ["t1"], "n": 500, "explain": True}))["items"]
    )
    await client.post("/interactions", json={"user_id": "fay", "course_id": "c3", "type": "dislike"})
    assert (await listed())["source"] == "content"
    assert "c3" not in ids(await listed())
    await client.patch("/users/fay", json={"interests": ["nothing"]})
    assert (await listed())["source"] == "popular"
    await client.post("/interactions", json={"user_id": "fay", "course_id": "c3"})
    assert (await listed())["source"] == "fold_in"


# --- many


async def test_a_batch_is_the_lists_one_by_one(client: httpx.AsyncClient, model_id: str) -> None:
    await client.put("/users/fay", json={"interests": {"t1": 1.0}})
    user_ids = ["ann", "stranger", "fay", "bob", "ann", *(f"u{i}" for i in range(120))]
    options = {"n": 3, "level": ["easy"], "explain": True, "include_course": True}
    answer = await client.post("/recommendations/batch", json={"user_ids": user_ids, **options})
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["user_id"] for line in lines] == user_ids
    for line in lines[:6]:
        alone = await posted(client, f"/recommendations/{line['user_id']}", options)
        assert {**line, **VARYING} == {**alone, **VARYING}
        for item, same in zip(line["items"], alone["items"], strict=True):
            assert (item["course_id"], item["rank"], item["course"]) == (
                same["course_id"],
                same["rank"],
                same["course"],
            )
            assert item["score"] == pytest.approx(same["score"], abs=1e-5)
            assert len(item["because"]) == len(same["because"])
    assert len({line["recommendation_id"] for line in lines}) == len(lines)
    assert (await client.post("/recommendations/batch", json={"user_ids": []})).text == ""
    twice = await client.post("/recommendations/batch", json={"user_ids": ["new", "new", "new"]})
    assert (twice.status_code, len(twice.text.splitlines())) == (200, 3)


async def test_a_batch_that_is_strict_or_says_nothing(client: httpx.AsyncClient, model_id: str) -> None:
    answer = await client.post("/recommendations/batch", json={"user_ids": ["ann", "x", "bob"], "strict": True})
    assert problem(answer) == (404, "unknown_user")
    assert "'x'" in answer.json()["detail"]
    answer = await client.post("/recommendations/batch", json={"user_ids": ["ann", "bob"], "strict": True})
    assert len(answer.text.splitlines()) == 2
    answer = await client.post("/recommendations/batch")
    assert problem(answer) == (422, "invalid_value")
    assert answer.json()["errors"][0]["loc"] == ["body", "user_ids"]


async def test_before_the_first_model(client: httpx.AsyncClient, rows: None) -> None:
    body = await got(client, "/popular?n=500")
    assert (body["model_id"], ids(body)[:1]) == (None, ["c2"])
    assert [item["score"] for item in body["items"][:2]] == pytest.approx([math.log(4), math.log(2)])  # cyd counts once
    assert set(ids(await got(client, "/popular?category=odd&n=500"))) == {f"c{i}" for i in range(1, 12, 2)}
    met = await got(client, "/recommendations/ann?prerequisites=met&n=500&explain=true")
    assert (met["source"], "c4" in ids(met), "c6" in ids(met)) == ("popular", True, False)
    body = await posted(client, "/recommendations", {"course_ids": ["c2"], "interests": ["t1"], "explain": True})
    assert (body["source"], "c2" in ids(body), body["items"][0]["because"]) == ("popular", False, [])
    lines = (await client.post("/recommendations/batch", json={"user_ids": ["ann", "x"], "n": 1})).text.splitlines()
    assert [ids(json.loads(line)) for line in lines] == [["c3"], ["c2"]]
    near = await got(client, "/courses/c0/similar")
    assert (near["model_id"], near["source"], near["items"][0]["course_id"]) == (None, "content", "c6")
    assert await got(client, "/users/ann/similar") == {"user_id": "ann", "model_id": None, "items": []}
    assert (await got(client, "/courses/c0/users"))["items"] == []


# --- neighbours


async def test_similar_courses(client: httpx.AsyncClient, model_id: str) -> None:
    body = await got(client, "/courses/c2/similar?n=4")
    assert (body["course_id"], body["model_id"], body["source"]) == ("c2", model_id, "model")
    assert [item["rank"] for item in body["items"]] == [1, 2, 3, 4]
    scores = [item["score"] for item in body["items"]]
    assert scores == sorted(scores, reverse=True)
    shared = {
        item["course_id"]: item["shared_users"] for item in (await got(client, "/courses/c2/similar?n=500"))["items"]
    }
    assert {course: users for course, users in shared.items() if users} == {"c1": 1, "c3": 1, "c5": 1}
    assert "c2" not in shared
    await client.patch("/courses/c3", json={"available": False})
    assert "c3" not in ids(await got(client, "/courses/c2/similar?n=500"))
    await client.put("/courses/new", json={"categories": ["odd"]})
    near = await got(client, "/courses/new/similar?n=3")
    assert (near["source"], set(ids(near)) <= {f"c{i}" for i in range(1, 12, 2)}) == ("content", True)


async def test_similar_users_and_users_of_a_course(client: httpx.AsyncClient, model_id: str) -> None:
    body = await got(client, "/users/ann/similar")
    assert (body["user_id"], body["model_id"]) == ("ann", model_id)
    assert {item["user_id"] for item in body["items"]} == {"bob", "cyd"}  # dan has no edge
    assert (await got(client, "/users/dan/similar"))["items"] == []
    body = await got(client, "/courses/c3/users?n=5")
    assert {item["user_id"] for item in body["items"]} == {"ann", "cyd"}
    for item in body["items"]:
        ranks = {
            one["course_id"]: one["rank"]
            for one in (await got(client, f"/recommendations/{item['user_id']}?n=500"))["items"]
        }
        assert item["rank"] == ranks["c3"]
    await client.post("/interactions", json={"user_id": "ann", "course_id": "c3"})
    assert {item["user_id"] for item in (await got(client, "/courses/c3/users"))["items"]} == {"cyd"}


async def test_neighbours_of_what_is_not_known(client: httpx.AsyncClient, model_id: str) -> None:
    assert problem(await client.get("/courses/nothing/similar")) == (404, "unknown_course")
    assert problem(await client.get("/courses/nothing/users")) == (404, "unknown_course")
    assert problem(await client.get("/users/nobody/similar")) == (404, "unknown_user")
    for path in ("/courses/c1/similar", "/courses/c1/users", "/users/ann/similar"):
        for query in ("n=0", "n=501", "m=1"):
            assert problem(await client.get(f"{path}?{query}")) == (422, "invalid_value")
    answer = await client.get("/courses/a%07/similar")
    assert answer.json()["errors"][0]["loc"] == ["path", "course_id"]


# --- what follows from a list


async def test_interactions_name_the_list_that_they_follow(client: httpx.AsyncClient, model_id: str) -> None:
    lists = [await got(client, "/recommendations/ann"), await got(client, "/recommendations/bob")]
    named = [body["recommendation_id"] for body in lists]
    assert len(set(named)) == 2
    row = {"user_id": "ann", "course_id": ids(lists[0])[0], "recommendation_id": named[0], "timestamp": 1_700_000_000}
    await client.post("/interactions", json=[row, {**row, "course_id": ids(lists[0])[1]}])
    await client.post("/interactions", json={"user_id": "bob", "course_id": "c9", "recommendation_id": "ours-17"})
    stored = (await got(client, "/users/ann/interactions?limit=1000"))["items"]
    assert {one["course_id"]: one["recommendation_id"] for one in stored} == {
        **{"c1": None, "c2": None},
        **dict.fromkeys(ids(lists[0])[:2], named[0]),
    }
    for later in ({"type": "enroll"}, {"type": "enroll", "recommendation_id": named[0]}):
        await client.post("/interactions", json={"user_id": "ann", "course_id": row["course_id"], **later})
    page = await got(client, f"/interactions?user_id=ann&course_id={row['course_id']}")
    assert [one["recommendation_id"] for one in page["items"]] == [named[0]]
    lines = (await client.get("/export/interactions")).text
    again = await client.post("/interactions", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert again.json()["rejected"] == []
    model = await got(client, f"/models/{model_id}")
    shown = model["click_through"]["lists"]
    assert model["click_through"] == {"lists": shown, "followed": 1, "interactions": 2, "rate": 1 / shown}
    await got(client, "/recommendations/ann")
    await client.post("/recommendations/batch", json={"user_ids": ["ann", "bob"]})
    assert (await got(client, f"/models/{model_id}"))["click_through"]["lists"] == shown + 3
    assert problem(await client.post("/interactions", json={**row, "recommendation_id": "a/b"})) == (
        422,
        "invalid_value",
    )
