"""Requests at the edge of what is taken, and what is said about them."""

import gzip
import logging
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.support.service import api

JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}


def problem_of(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem document, whole."""
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["status"], body["type"]) == (status, status, slug), body
    assert {"title", "detail", "instance", "request_id"} <= set(body)
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


# --- ids and query


async def test_ids_of_printable_characters_are_taken(client: httpx.AsyncClient) -> None:
    ids = {"a b", "é", "😀", "a%2e", "x" * 128, "a:b;c=d", "%25"}
    for user_id in ids:
        path = f"/users/{user_id.replace('%', '%25')}"
        assert (await client.put(path, json={})).status_code == 201
        assert (await client.get(path)).json()["user_id"] == user_id
    assert {user["user_id"] for user in (await client.get("/users")).json()["items"]} == ids


async def test_other_ids_are_refused_in_paths(client: httpx.AsyncClient) -> None:
    for quoted in ("%00", "a%0Ab", "a%7F", "%C2%85", "x" * 129):
        for path in ("/users/{}", "/courses/{}", "/users/{}/interactions", "/recommendations/{}"):
            body = problem_of(await client.get(path.format(quoted)), 422, "invalid_value")
            assert body["errors"][0]["loc"][0] == "path"


async def test_an_id_with_a_slash_is_no_path(client: httpx.AsyncClient) -> None:
    assert "'/'" in problem_of(await client.get("/users/a%2Fb"), 404, "not_found")["detail"]


async def test_a_mistyped_parameter_is_named(client: httpx.AsyncClient) -> None:
    for method, path in (
        ("GET", "/users?"),
        ("POST", "/users?"),
        ("GET", "/courses/c?"),
        ("DELETE", "/interactions?user_id=u&course_id=c&"),
        ("POST", "/training/runs?"),
        ("GET", "/models?"),
        ("GET", "/health/ready?"),
        ("GET", "/metrics?"),
        ("GET", "/export/users?"),
    ):
        body = problem_of(await client.request(method, f"{path}limitt=3"), 422, "invalid_value")
        assert [(error["loc"], error["type"]) for error in body["errors"]] == [
            (["query", "limitt"], "unknown_parameter")
        ]
        assert "limitt" in body["detail"]


async def test_limits_of_a_page(client: httpx.AsyncClient) -> None:
    for limit in ("0", "1001", "x", ""):
        assert "limit" in problem_of(await client.get(f"/courses?limit={limit}"), 422, "invalid_value")["detail"]
    assert (await client.get("/courses?limit=1000")).json() == {"items": [], "next_cursor": None}
    problem_of(await client.get("/users?cursor=%ff"), 400, "malformed_address")
    for path in ("/users?cursor=%C3%BF", "/interactions?cursor=a", "/models?cursor=YWJj", "/training/runs?cursor=YWJj"):
        assert (await client.get(path)).status_code in {404, 422}, path
    await client.put("/users/u", json={})
    answer = await client.get("/users/u/interactions?cursor=YWJj")
    assert problem_of(answer, 422, "invalid_value")["errors"][0]["loc"] == ["query", "cursor"]


async def test_405_names_all_methods_of_the_path(client: httpx.AsyncClient) -> None:
    for path, allowed in (
        ("/users", "GET, HEAD, POST"),
        ("/users/u", "DELETE, GET, HEAD, PATCH, PUT"),
        ("/recommendations/u", "GET, HEAD, POST"),
        ("/health/live", "GET, HEAD"),
        ("/models/current", "GET, HEAD"),
        ("/training/runs/r-000001/cancel", "POST"),
    ):
        answer = await client.request("OPTIONS", path)
        problem_of(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == allowed


# --- bodies


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"nul", b'{"a": NaN}', b"[" * 5000])
async def test_what_is_no_json_is_malformed(client: httpx.AsyncClient, body: bytes) -> None:
    for call in (
        client.put("/users/u", content=body, headers=JSON),
        client.patch("/courses/c", content=body, headers=JSON),
        client.post("/recommendations/u", content=body, headers=JSON),
        client.post("/users", content=body, headers=JSON),
        client.post("/interactions", content=body, headers=JSON),
    ):
        problem_of(await call, 400, "malformed_body")


async def test_other_types_and_codings_are_not_taken(client: httpx.AsyncClient) -> None:
    for type_ in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
        for call in (
            client.put("/users/u", content=b"{}", headers={"Content-Type": type_}),
            client.post("/users", content=b"{}", headers={"Content-Type": type_}),
        ):
            assert type_ in problem_of(await call, 415, "unsupported_media_type")["detail"]
    problem_of(await client.put("/users/u", content=b"{}"), 415, "unsupported_media_type")
    answer = await client.put("/users/u", content=b"{}", headers=JSON | {"Content-Encoding": "br"})
    assert "Content-Encoding" in problem_of(answer, 415, "unsupported_media_type")["detail"]
    merge = {"Content-Type": "application/merge-patch+json; charset=utf-8"}
    await client.put("/users/u", json={})
    assert (await client.patch("/users/u", content=b"{}", headers=merge)).status_code == 200


async def test_the_size_of_a_body_is_bounded_also_when_it_is_packed(settings: Settings) -> None:
    small = settings.model_copy(update={"body_limit_bytes": 1000})
    async with api(small) as client:
        for sent, headers in (
            (b'{"attributes": {"a": "' + b"x" * 1000 + b'"}}', JSON),
            (gzip.compress(b" " * 2000 + b"{}"), JSON | {"Content-Encoding": "gzip"}),
        ):
            for call in (
                client.put("/users/u", content=sent, headers=headers),
                client.post("/users", content=sent, headers=headers),
            ):
                assert "1000" in problem_of(await call, 413, "too_large")["detail"]
        lines = b'{"user_id": "u1"}\n' * 200
        assert (await client.post("/users", content=lines, headers=NDJSON)).json()["accepted"] == 200


async def test_packed_bodies_are_taken_and_damaged_ones_are_malformed(client: httpx.AsyncClient) -> None:
    packed = JSON | {"Content-Encoding": "gzip"}
    two_members = gzip.compress(b'{"interests":') + gzip.compress(b' ["a"]}')
    answer = await client.put("/users/u", content=two_members, headers=packed)
    assert answer.json()["interests"] == {"a": 1.0}
    for damaged in (two_members[:-4], b"no gzip at all", two_members[:-3] + b"abc"):
        problem_of(await client.put("/users/u", content=damaged, headers=packed), 400, "malformed_body")


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/users/u", [], ["body"]),
        ("/users/u", {"interests": {"a": "x"}}, ["body", "interests", "a"]),
        ("/users/u", {"features": [1, "x"]}, ["body", "features", 1]),
        ("/courses/c", {"available": "perhaps"}, ["body", "available"]),
        ("/courses/c", {"published_at": "yesterday"}, ["body", "published_at"]),
        ("/courses/c", {"created_at": "2026-01-01"}, ["body", "created_at"]),
        ("/courses/c", {"course_id": "d"}, ["body", "course_id"]),
    ],
)
async def test_each_bad_value_of_a_record_is_placed(
    client: httpx.AsyncClient, path: str, body: Any, place: list[Any]
) -> None:
    assert problem_of(await client.put(path, json=body), 422, "invalid_value")["errors"][0]["loc"] == place


async def test_a_patch_is_checked_as_a_whole(client: httpx.AsyncClient) -> None:
    await client.put("/courses/c", json={"title": "C", "attributes": {"a": {"b": 1, "c": 2}}, "tags": ["x"]})
    patched = await client.patch("/courses/c", json={"title": None, "attributes": {"a": {"b": None}}, "tags": ["y"]})
    assert patched.json()["title"] is None
    assert (patched.json()["attributes"], patched.json()["tags"]) == ({"a": {"c": 2}}, ["y"])
    for bad, place in (({"tags": "y"}, "tags"), ({"titel": "x"}, "titel"), ({"course_id": "d"}, "course_id")):
        body = problem_of(await client.patch("/courses/c", json=bad), 422, "invalid_value")
        assert place in body["errors"][0]["loc"]
    assert (await client.get("/courses/c")).json() == patched.json()


# --- ids of requests, bugs


async def test_request_ids(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live", headers={"X-Request-ID": "Abc-123"})).headers["x-request-id"] == "Abc-123"
    made = {(await client.get("/health/live")).headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    for odd in ("a b", "x" * 129, "é"):
        answer = await client.get("/health/live", headers=[(b"X-Request-ID", odd.encode())])
        assert answer.headers["x-request-id"] != odd


async def test_a_bug_is_500_with_the_id_under_which_the_log_has_it(
    client: httpx.AsyncClient, database_name: str, mongodb_admin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    mongodb_admin[database_name]["users"].insert_one({"_id": "odd", "interests": "no JSON"})  # as no code writes it
    with caplog.at_level(logging.ERROR):
        body = problem_of(await client.get("/users/odd"), 500, "internal_error")
    assert "JSONDecodeError" in caplog.text
    assert "no JSON" not in str(body)


async def test_metrics_count_requests_by_route(client: httpx.AsyncClient) -> None:
    await client.get("/users/one")
    await client.get("/users/two")
    await client.get("/nowhere")
    text = (await client.get("/metrics")).text
    assert 'coursegraph_http_requests_total{method="GET",route="/users/{user_id}",status="404"} 2.0' in text
    assert 'route="unmatched",status="404"} 1.0' in text
    assert "coursegraph_change_stream_lag_seconds" in text
    assert "coursegraph_database_up 1.0" in text
    assert "coursegraph_overlay_users 0.0" in text
    await client.post("/users", json=[{"user_id": "a"}, {}])
    text = (await client.get("/metrics")).text
    assert 'coursegraph_rows_total{kind="users",outcome="rejected"} 1.0' in text


# --- what HTTP offers


async def test_head_is_get_without_a_body(client: httpx.AsyncClient) -> None:
    await client.put("/courses/c", json={"title": "C"})
    for path in (
        *("/courses", "/courses/c", "/courses/none", "/popular", "/recommendations/u", "/recommendations/u?n=0"),
        *("/health/live", "/openapi.json", "/export/courses"),
    ):
        got, head = await client.get(path), await client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        same = ("content-type", "etag", "cache-control", "content-length")
        assert [head.headers.get(name) for name in same] == [got.headers.get(name) for name in same], path
    got, head = await client.get("/health/ready"), await client.head("/health/ready")
    assert (head.status_code, head.headers["content-type"], head.content) == (200, got.headers["content-type"], b"")
    lengths = [int(answer.headers["content-length"]) for answer in (got, head)]
    assert abs(lengths[0] - lengths[1]) <= len("0.046") - len("0.0"), "the lag in it moves, and with it a digit or two"
    problem_of(await client.request("PUT", "/popular"), 405, "method_not_allowed")
    assert (await client.head("/training/runs/r-000001/cancel")).status_code == 405
    assert 'method="HEAD",route="/popular"' in (await client.get("/metrics")).text


async def test_head_of_a_stream_ends_at_once(client: httpx.AsyncClient) -> None:
    run = (await client.post("/training/runs")).headers["location"]  # nobody works on it
    head = await client.head(f"{run}/events")
    assert (head.status_code, head.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    await client.post(f"{run}/cancel")


async def test_long_answers_are_packed_for_those_who_take_it(client: httpx.AsyncClient) -> None:
    rows = [{"course_id": f"c{i:03}", "title": f"A course with the number {i}"} for i in range(300)]
    await client.post("/courses", json=rows)
    for path in ("/courses?limit=300", "/export/courses", "/popular?n=300"):
        plain = await client.get(path, headers={"Accept-Encoding": "identity"})
        packed = await client.get(path, headers={"Accept-Encoding": "br, gzip;q=0.5"})
        assert "content-encoding" not in plain.headers
        assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
        assert packed.num_bytes_downloaded < len(plain.content) / 3
        assert plain.text.partition('"items"')[2] == packed.text.partition('"items"')[2]
    assert packed.headers["etag"] == plain.headers["etag"]
    for path, coding in (("/courses/c001", "gzip"), ("/courses?limit=300", "gzip;q=0"), ("/courses?limit=300", "br")):
        assert "content-encoding" not in (await client.get(path, headers={"Accept-Encoding": coding})).headers


async def test_answers_say_how_long_they_took(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/live")
    name, _, milliseconds = answer.headers["server-timing"].partition(";dur=")
    assert (name, float(milliseconds) >= 0) == ("app", True)
