"""Recommendation calls on a published model."""

import math
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.store.client import Database
from tests.support.published import publish_model, served

COURSES = [{"course_id": f"c{i}", "categories": ["even" if i % 2 == 0 else "odd"]} for i in range(12)]
TAKEN = [("ann", "c1"), ("ann", "c2"), ("bob", "c2"), ("bob", "c3"), ("cyd", "c2")]


@pytest.fixture
async def model_id(client: httpx.AsyncClient, database: Database, mongodb_uri: str, tmp_path: Path) -> str:
    assert (await client.post("/courses", json=COURSES)).json()["accepted"] == len(COURSES)
    rows = [{"user_id": user, "course_id": course} for user, course in TAKEN]
    assert (await client.post("/interactions", json=rows)).json()["created"] == len(TAKEN)
    model_id = await publish_model(database, mongodb_uri, tmp_path)
    await served(client, model_id)
    return model_id


async def listed(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ids(body: dict[str, Any]) -> list[str]:
    return [item["course_id"] for item in body["items"]]


async def test_a_list_holds_all_unseen_courses_best_first(client: httpx.AsyncClient, model_id: str) -> None:
    body = await listed(client, "/recommendations/ann?n=500")
    assert set(body) == {
        *("user_id", "model_id", "source", "generated_at", "recommendation_id", "percent_over", "items")
    }
    assert (body["user_id"], body["model_id"], body["source"]) == ("ann", model_id, "model")
    assert set(ids(body)) == {f"c{i}" for i in range(12)} - {"c1", "c2"}
    scores = [item["score"] for item in body["items"]]
    assert scores == sorted(scores, reverse=True)
    assert [item["rank"] for item in body["items"]] == list(range(1, 11))
    assert body["generated_at"].endswith("Z")
    exps = [math.exp(score - max(scores)) for score in scores]
    assert [item["percent"] for item in body["items"]] == pytest.approx([100 * e / sum(exps) for e in exps])


async def test_options_in_the_query_and_in_the_body_are_the_same(client: httpx.AsyncClient, model_id: str) -> None:
    query = "n=3&offset=1&category=odd&exclude=c5&exclude=c7&exclude_seen=false&percent_over=candidates&temperature=0.5"
    body = {
        **{"n": 3, "offset": 1, "category": ["odd"], "exclude": ["c5", "c7"], "exclude_seen": False},
        **{"percent_over": "candidates", "temperature": 0.5},
    }
    by_get = await listed(client, f"/recommendations/ann?{query}")
    by_post = (await client.post("/recommendations/ann", json=body)).json()
    assert by_get["items"] == by_post["items"]
    assert by_get["percent_over"] == by_post["percent_over"] == "candidates"
    assert set(ids(by_get)) <= {"c1", "c3", "c9", "c11"}
    assert [item["rank"] for item in by_get["items"]] == [2, 3, 4]
    assert sum(item["percent"] for item in by_get["items"]) < 100
    everything = await listed(client, "/recommendations/ann?n=500&exclude_seen=false")
    assert len(everything["items"]) == len(COURSES)


async def test_one_label_needs_no_list(client: httpx.AsyncClient, model_id: str) -> None:
    one, listed = [(await client.post("/recommendations/ann", json={"category": c})).json() for c in ("odd", ["odd"])]
    assert one["items"] == listed["items"]


async def test_extreme_temperatures_give_numbers(client: httpx.AsyncClient, model_id: str) -> None:
    for temperature in ("1e-300", "1e6"):
        body = await listed(client, f"/recommendations/ann?temperature={temperature}")
        assert sum(item["percent"] for item in body["items"]) == pytest.approx(100)


async def test_post_without_a_body_has_the_defaults(client: httpx.AsyncClient, model_id: str) -> None:
    by_post = (await client.post("/recommendations/ann")).json()
    assert by_post["items"] == (await listed(client, "/recommendations/ann"))["items"]


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("n=0", "n"),
        ("n=501", "n"),
        ("n=ten", "n"),
        ("offset=-1", "offset"),
        ("percent_over=all", "percent_over"),
        ("temperature=0", "temperature"),
        ("temperature=inf", "temperature"),
        ("exclude_seen=maybe", "exclude_seen"),
        ("exclude=a%2Fb", "exclude"),
        ("category=", "category"),
        ("colour=red", "colour"),
        ("N=3", "N"),
    ],
)
async def test_bad_options_are_named_alike_by_get_and_post(client: httpx.AsyncClient, query: str, place: str) -> None:
    answer = await client.get(f"/recommendations/ann?{query}")
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid_value")
    assert answer.json()["errors"][0]["loc"][:2] == ["query", place]
    assert place in answer.json()["detail"]
    name, _, value = query.partition("=")
    posted: Any = [value.replace("%2F", "/")] if name in {"category", "exclude"} else value
    answer = await client.post("/recommendations/ann", json={name: posted})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][:2] == ["body", place]


async def test_a_bad_id_is_refused(client: httpx.AsyncClient) -> None:
    for call in (client.get("/recommendations/a%07b"), client.get(f"/recommendations/{'x' * 129}")):
        answer = await call
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["path", "user_id"])


async def test_strangers_get_what_is_popular(client: httpx.AsyncClient, model_id: str) -> None:
    body = await listed(client, "/recommendations/stranger?n=2")
    assert (body["source"], body["model_id"], ids(body)[0]) == ("popular", model_id, "c2")
    answer = await client.get("/recommendations/stranger?strict=true")
    assert (answer.status_code, answer.json()["type"]) == (404, "unknown_user")
    await client.put("/users/stranger", json={})
    assert (await listed(client, "/recommendations/stranger?strict=true"))["source"] == "popular"
    assert (await listed(client, "/recommendations/ann?strict=true"))["source"] == "model"
    await client.delete("/users/ann")
    assert (await client.get("/recommendations/ann?strict=true")).status_code == 404
    assert (await listed(client, "/recommendations/ann"))["source"] == "popular"


async def test_popular_is_by_takers_and_category(client: httpx.AsyncClient, model_id: str) -> None:
    body = await listed(client, "/popular?n=3")
    assert (body["user_id"], ids(body)[0]) == (None, "c2")
    assert [item["score"] for item in body["items"]] == pytest.approx([math.log(4), math.log(2), math.log(2)])
    assert set(ids(await listed(client, "/popular?category=odd&n=500"))) == {f"c{i}" for i in range(1, 12, 2)}
    answer = await client.get("/popular?strict=true")
    assert answer.status_code == 422


async def test_the_tag_changes_with_interactions_and_gives_304(client: httpx.AsyncClient, model_id: str) -> None:
    first = await client.get("/recommendations/ann?n=1")
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private"
    again = await client.get("/recommendations/ann?n=1")
    assert again.headers["etag"] == tag
    assert again.json()["recommendation_id"] != first.json()["recommendation_id"]
    for given in (tag, f'"x", {tag}', "*", tag.removeprefix("W/")):
        again = await client.get("/recommendations/ann?n=1", headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["x-request-id"]
    last = ids(await listed(client, "/recommendations/ann?n=500"))[-1]
    await client.post("/interactions", json={"user_id": "ann", "course_id": last})
    changed = await client.get("/recommendations/ann?n=1", headers={"If-None-Match": tag})
    assert changed.status_code == 200
    await client.delete(f"/interactions?user_id=ann&course_id={last}")
    assert (await client.get("/recommendations/ann?n=1")).headers["etag"] == tag
    assert (await client.get("/recommendations/bob?n=1")).headers["etag"] != tag


async def test_this_process_reads_what_it_wrote(client: httpx.AsyncClient, model_id: str) -> None:
    path = "/recommendations/ann?n=500"
    await client.post("/interactions", json=[{"user_id": "ann", "course_id": "c7", "type": "drop"}])
    assert "c7" not in ids(await listed(client, path))
    await client.delete("/interactions?user_id=ann&course_id=c7")
    assert "c7" in ids(await listed(client, path))
    await client.patch("/courses/c8", json={"available": False})
    assert "c8" not in ids(await listed(client, path))
    await client.put("/courses/c8", json={"categories": ["new"]})
    assert ids(await listed(client, f"{path}&category=new")) == ["c8"]
    await client.delete("/courses/c9")
    assert "c9" not in ids(await listed(client, path))
    await client.post("/courses", json=[{"course_id": "c99"}])
    assert "c99" in ids(await listed(client, "/popular?n=500"))


async def test_models_are_listed_and_rolled_back(
    client: httpx.AsyncClient, model_id: str, database: Database, mongodb_uri: str, tmp_path: Path
) -> None:
    newer = await publish_model(database, mongodb_uri, tmp_path, seed=1)
    await served(client, newer)
    listing = (await client.get("/models?limit=1")).json()
    assert [model["model_id"] for model in listing["items"]] == [newer]
    rest = (await client.get("/models", params={"cursor": listing["next_cursor"]})).json()
    assert ([model["model_id"] for model in rest["items"]], rest["next_cursor"]) == ([model_id], None)
    assert (await client.get("/models/current")).json()["model_id"] == newer
    manifest = (await client.get(f"/models/{newer}")).json()
    assert manifest["counts"] == {"users": 3, "courses": 12, "interactions": 5}
    assert {"created_at", "config", "seed", "metrics", "data_fingerprint", "code_version"} <= set(manifest)
    back = await client.post(f"/models/{model_id}/activate")
    assert (back.status_code, back.json()["current"]) == (200, True)
    await served(client, model_id)
    for missing in ("m-999999", "rubbish"):
        answer = await client.post(f"/models/{missing}/activate")
        assert (answer.status_code, answer.json()["type"]) == (404, "unknown_model")
