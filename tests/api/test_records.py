"""Users and courses over HTTP."""

import httpx
import pytest


async def test_put_creates_then_replaces(client: httpx.AsyncClient) -> None:
    created = await client.put("/courses/c1", json={"title": "One", "tags": ["a"]})
    assert (created.status_code, created.json()["tags"]) == (201, ["a"])
    replaced = await client.put("/courses/c1", json={"title": "Two"})
    assert (replaced.status_code, replaced.json()["tags"]) == (200, [])
    assert replaced.json()["created_at"] == created.json()["created_at"]


async def test_patch_merges(client: httpx.AsyncClient) -> None:
    await client.put("/users/u1", json={"interests": ["a", "b"], "attributes": {"x": 1, "$where": {"y.z": 2}}})
    patched = await client.patch("/users/u1", json={"interests": None, "attributes": {"x": None}})
    assert patched.status_code == 200
    assert patched.json()["interests"] == {}
    assert patched.json()["attributes"] == {"$where": {"y.z": 2}}
    bad = await client.patch("/users/u1", json={"features": "x"})
    assert (bad.status_code, bad.json()["type"]) == (422, "invalid_value")


@pytest.mark.parametrize("path", ["/users/u1", "/courses/c1"])
@pytest.mark.parametrize("name", ["", "titel", "$set"])
async def test_a_field_that_is_none_is_refused_also_where_it_would_be_cleared(
    client: httpx.AsyncClient, path: str, name: str
) -> None:
    assert (await client.put(path, json={"title": "One"} if "courses" in path else {})).status_code == 201
    for value in (None, 1):
        answer = await client.patch(path, json={name: value, "attributes": {"x": 1}})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["body", name]
    assert (await client.get(path)).json()["attributes"] == {}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "slug"),
    [
        ("GET", "/users/nobody", None, 404, "unknown_user"),
        ("GET", "/courses/none", None, 404, "unknown_course"),
        ("DELETE", "/courses/none", None, 404, "unknown_course"),
        ("PATCH", "/users/nobody", {}, 404, "unknown_user"),
        ("PUT", "/users/a%00b", {}, 422, "invalid_value"),
        ("PUT", "/users/a", {"user_id": "b"}, 422, "invalid_value"),
        ("PUT", "/users/a", {"intrests": []}, 422, "invalid_value"),
        ("PUT", "/users/a", {"features": []}, 422, "invalid_value"),
        ("GET", "/users?limit=0", None, 422, "invalid_value"),
        ("GET", "/users?limt=3", None, 422, "invalid_value"),
        ("GET", "/users?cursor=%21", None, 422, "invalid_value"),
        ("GET", "/training/runs/r-999999", None, 404, "unknown_run"),
        ("GET", "/models/current", None, 404, "no_model"),
        ("GET", "/models/m-999999", None, 404, "unknown_model"),
        ("GET", "/nowhere", None, 404, "not_found"),
        ("POST", "/health/live", None, 405, "method_not_allowed"),
        ("GET", "/recommendations/u?n=0", None, 422, "invalid_value"),
        ("GET", "/recommendations/u?m=1", None, 422, "invalid_value"),
        ("GET", "/recommendations/u?temperature=nan", None, 422, "invalid_value"),
        ("GET", "/recommendations/u?strict=true", None, 404, "unknown_user"),
    ],
)
async def test_errors_are_problem_documents(
    client: httpx.AsyncClient, method: str, path: str, body: object, status: int, slug: str
) -> None:
    answer = await client.request(method, path, json=body)
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["type"]) == (status, status, slug)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["detail"]
    assert problem["instance"]


async def test_a_body_that_is_no_json_is_400_and_another_type_415(client: httpx.AsyncClient) -> None:
    json = {"Content-Type": "application/json"}
    for call in (client.put("/users/a", content=b"{", headers=json), client.post("/users", content=b"{", headers=json)):
        answer = await call
        assert (answer.status_code, answer.json()["type"]) == (400, "malformed_body")
    answer = await client.post("/users", content=b"x", headers={"Content-Type": "text/csv"})
    assert (answer.status_code, answer.json()["type"]) == (415, "unsupported_media_type")


async def test_pages_tile_the_list_while_others_write(client: httpx.AsyncClient) -> None:
    await client.post("/courses", json=[{"course_id": f"c{i:02}"} for i in range(25)])
    seen, query = [], "limit=10"
    while True:
        page = (await client.get(f"/courses?{query}")).json()
        seen += [course["course_id"] for course in page["items"]]
        await client.put(f"/courses/a{len(seen)}", json={})  # before the cursor
        if page["next_cursor"] is None:
            break
        query = f"limit=10&cursor={page['next_cursor']}"
    assert seen == [f"c{i:02}" for i in range(25)]


async def test_deleting_a_user_erases_their_interactions(client: httpx.AsyncClient) -> None:
    await client.post("/interactions", json=[{"user_id": "u", "course_id": c} for c in "ab"])
    counts = (await client.delete("/users/u")).json()
    assert counts == {"users": 1, "courses": 0, "interactions": 2, "vectors": 0, "rejected_rows": 0}
    assert (await client.get("/interactions?user_id=u")).json()["items"] == []


async def test_the_request_id_is_echoed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/live", headers={"X-Request-ID": "abc-1"})
    assert answer.headers["x-request-id"] == "abc-1"
