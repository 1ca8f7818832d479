"""Who gets where: an attacker's walk over every call of the OpenAPI document, and how keys come and go."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pymongo import MongoClient

from app.api.access import READ, WRITE, authorised, scope_of
from app.api.application import create_application
from app.api.routing import Route
from app.domain.api_keys import KeyScope
from app.settings import Settings, load_settings
from app.store.api_keys import KeyStore
from app.store.client import Database, open_database
from tests.support.processes import eventually
from tests.support.service import api, make_settings

APP = create_application(load_settings(mongodb_uri="mongodb://127.0.0.1"))
DOCUMENT = APP.openapi()
CALLS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
WITHOUT_A_KEY = {"/", "/docs", "/redoc", "/favicon.ico", "/page/{name:path}", "/openapi.json"}  # and no others
PROBES = {f"GET {prefix}/health/{kind}" for prefix in ("", "/api") for kind in ("live", "ready")}
ADMIN_KEY = "a-first-key-of-32-characters-or-more"


def address(path: str, operation: dict[str, Any]) -> str:
    """The path with the parameters that stand as examples in the document."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            example = parameter.get("example", parameter["schema"].get("examples", ["x"])[0])
            path = path.replace("{" + parameter["name"] + "}", str(example))
    required = [p for p in operation.get("parameters", []) if p["in"] == "query" and p.get("required")]
    query = "&".join(f"{p['name']}={p['schema'].get('examples', ['x'])[0]}" for p in required)
    return f"{path}?{query}" if query else path


def body(operation: dict[str, Any]) -> Any:
    """The example of a JSON body."""
    content = operation.get("requestBody", {}).get("content", {})
    for media_type in ("application/json", "application/merge-patch+json"):
        if media_type in content:
            entry = content[media_type]
            examples = entry["schema"].get("examples") or [{}]
            return entry.get("example", examples[0])
    return None


@pytest.fixture
async def keys(database: Database) -> dict[str, str]:
    return await make_keys(database)


async def make_keys(database: Database) -> dict[str, str]:
    """One key of each kind, by the name of what it is."""
    store = KeyStore(database)
    made = {scope.name: (await store.create("test", scope))[0] for scope in KeyScope}
    revoked, stored = await store.create("left", KeyScope.admin)
    await store.revoke(stored.key_id)
    expired, _ = await store.create("late", KeyScope.admin, timedelta(milliseconds=1))
    # The id of a good key with the secret of another, and a good key with one digit changed.
    mixed = f"{made['admin'][:11]}_{made['read'][12:]}"
    changed = made["admin"][:-1] + ("0" if made["admin"][-1] != "0" else "1")
    wrong = {"revoked": revoked, "expired": expired, "mixed": mixed, "changed": changed}
    return made | wrong | {"short": "Xq9", "empty": "", "long": "cg_" + "0" * 9000, "lit": made["admin"].upper()}


@dataclass(frozen=True)
class Walked:
    """A service that all steps of the walk share, and a view of its database beside it."""

    client: httpx.AsyncClient
    keys: dict[str, str]
    rows: Callable[[], dict[str, list[dict[str, object]]]]


@pytest.fixture(scope="module")
async def walked(
    mongodb_uri: str, mongodb_admin: MongoClient[dict[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Walked]:
    name = f"test_{uuid4().hex[:16]}"
    db = mongodb_admin[name]

    def rows() -> dict[str, list[dict[str, object]]]:
        return {kind: list(db[kind].find()) for kind in ("users", "courses", "interactions", "training_runs")}

    async with open_database(mongodb_uri, name, timeout_seconds=5.0, app_name="tests") as database:
        keys = await make_keys(database)
    async with api(make_settings(mongodb_uri, name, tmp_path_factory.mktemp("walk"))) as client:
        yield Walked(client, keys, rows)
    mongodb_admin.drop_database(name)


@pytest.fixture
async def client(settings: Settings, keys: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with api(settings) as client:
        yield client


@pytest.mark.parametrize("name", CALLS)
async def test_every_call_lets_in_whom_it_says_and_nobody_else(name: str, walked: Walked) -> None:
    client, keys, rows = walked.client, walked.keys, walked.rows
    method, path = name.split(" ")
    operation = CALLS[name]
    needed = scope_of(operation)
    url, document = address(path, operation), body(operation)

    async def ask(key: str | None) -> httpx.Response:
        return await client.request(method, url, json=document, headers={} if key is None else {"X-API-Key": key})

    async def refused(key: str | None, status: int, slug: str) -> None:
        answer = await ask(key)
        assert answer.status_code == status, answer.text
        if operation["tags"] == ["gorse"]:
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        else:
            assert answer.json()["type"] == slug
            assert answer.headers["content-type"] == "application/problem+json"
        assert ("www-authenticate" in answer.headers) == (status == 401)
        assert not key or key not in answer.text

    before = rows()
    if needed is None:
        assert name in PROBES
        assert (await ask(None)).status_code == 200
        return
    await refused(None, 401, "key_missing")
    for kind, key in keys.items():
        if kind not in KeyScope.__members__:
            await refused(key, 401, "key_refused")
        elif KeyScope[kind] < needed:
            await refused(key, 403, "key_scope")
    assert rows() == before
    for scope in KeyScope:
        if scope >= needed:
            assert (await ask(keys[scope.name])).status_code not in {401, 403, 500}
    await client.post("/training/runs/r-000001/cancel", headers={"X-API-Key": keys["admin"]})  # or its events go on
    if method == "GET":
        assert (await client.head(url)).status_code == 401


def test_every_route_says_its_scope_or_is_one_of_the_open_ones() -> None:
    for route in APP.routes:
        if not isinstance(route, Route):
            assert getattr(route, "path") in WITHOUT_A_KEY  # noqa: B009 - routes have no common type with a path
        elif route.needed is None:
            assert f"GET {route.path}" in PROBES
    assert DOCUMENT["components"]["securitySchemes"]["ApiKey"]["name"] == "X-API-Key"


@pytest.mark.parametrize("extra", [None, {}, {"security": [{"ApiKey": ["root"]}]}, {"security": [{}]}])
def test_a_route_without_a_scope_cannot_be_made(extra: dict[str, Any] | None) -> None:
    router = APIRouter(route_class=Route)
    with pytest.raises(ValueError, match=r"'GET'.* /secret: security is"):
        router.add_api_route("/secret", lambda: None, methods=["GET"], openapi_extra=extra)


async def test_the_pages_need_no_key(client: httpx.AsyncClient) -> None:
    for path in ("/", "/docs", "/redoc", "/openapi.json", "/page/style.css", "/favicon.ico"):
        assert (await client.get(path)).status_code == 200
    assert (await client.get("/nothing")).status_code == 404
    assert (await client.put("/popular")).status_code == 405


async def test_a_route_may_ask_and_answer_in_its_own_words(settings: Settings, keys: dict[str, str]) -> None:
    from fastapi import Request, Response

    app: FastAPI = create_application(settings, local=True)

    @app.get("/plain")
    async def plain(request: Request) -> Response:
        error = authorised(request, KeyScope.write)
        return Response("ok") if error is None else Response(error.detail, error.status)

    async with api(settings, app) as client:
        answers = [await client.get("/plain", headers={"X-API-Key": keys[kind]}) for kind in ("read", "write", "short")]
        assert [answer.status_code for answer in answers] == [403, 200, 401]
        assert "takes scope write" in answers[0].text


# --- keys come and go


async def test_a_key_works_within_a_second_of_its_making_and_not_a_second_after_its_end(
    client: httpx.AsyncClient, database: Database
) -> None:
    store = KeyStore(database)
    key, stored = await store.create("new", KeyScope.read)

    async def answered(*, with_: str = key) -> bool:
        return (await client.get("/popular", headers={"X-API-Key": with_})).status_code == 200

    assert await eventually(answered) < 1.5
    newer, _ = await store.rotate(stored.key_id, timedelta(seconds=1))
    began = time.monotonic()

    async def newer_answered() -> bool:
        return await answered(with_=newer)

    async def refused() -> bool:
        return not await answered()

    assert await eventually(newer_answered) < 1.5
    assert await eventually(refused) > 0
    assert 0.9 < time.monotonic() - began < 2.5
    last = (await store.all())[-1]
    await store.revoke(last.key_id)

    async def newer_refused() -> bool:
        return not await answered(with_=newer)

    assert await eventually(newer_refused) < 1.5


async def test_the_last_use_is_noted_without_a_write_for_each(
    settings: Settings, keys: dict[str, str], database: Database
) -> None:
    async with api(settings) as client:
        for _ in range(3):
            assert (await client.get("/popular", headers={"X-API-Key": keys["read"]})).status_code == 200
        assert all(key.last_used_at is None for key in await KeyStore(database).all())
    used = {key.key_id: key.last_used_at for key in await KeyStore(database).all()}
    at = used.pop(keys["read"].split("_")[1])
    assert at is not None
    assert abs((datetime.now(UTC) - at).total_seconds()) < 5
    assert set(used.values()) == {None}


# --- without keys


async def test_without_keys_this_machine_is_answered_and_told_so(settings: Settings) -> None:
    async with api(settings) as client:
        assert (await client.get("/popular")).status_code == 200
        assert (await client.post("/training/runs")).status_code == 202
        health = (await client.get("/health/ready")).json()
        assert health["access"] == "this machine only: there are no keys"
        assert (await client.get("/popular", headers={"X-API-Key": "old"})).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "[::1]:8000", "Origin": "http://[::1]:8000"}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Host": "rebound.example.org"}, 403),
        ({"Host": "localhost.example.org"}, 403),
        ({"Host": "localhost", "Origin": "https://elsewhere.example.org"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_a_page_of_another_host_cannot_borrow_the_browser(
    settings: Settings, headers: dict[str, str], status: int
) -> None:
    async with api(settings) as client:
        answer = await client.get("/popular", headers=headers)
        assert answer.status_code == status
        assert status == 200 or answer.json()["type"] == "elsewhere"


async def test_others_are_not_answered_without_keys(settings: Settings) -> None:
    app = create_application(settings, local=False)
    async with api(settings, app) as client:
        assert (await client.get("/popular")).status_code == 401
        assert (await client.get("/health/ready")).json()["access"] == "nobody: there is no valid key"


async def test_taking_the_last_key_away_does_not_open_the_service(settings: Settings, database: Database) -> None:
    store = KeyStore(database)
    _, stored = await store.create("only", KeyScope.admin)
    await store.revoke(stored.key_id)
    async with api(settings) as client:
        assert (await client.get("/popular")).status_code == 401


async def test_a_key_that_is_a_setting_may_do_everything(settings: Settings) -> None:
    given = load_settings(**{**settings.model_dump(), "admin_key": ADMIN_KEY})
    async with api(given) as client:
        assert (await client.get("/popular")).status_code == 401
        assert (await client.post("/training/runs", headers={"X-API-Key": ADMIN_KEY})).status_code == 202
        assert (await client.get("/popular", headers={"X-API-Key": ADMIN_KEY[:-1]})).status_code == 401


# --- pages of other hosts


async def test_other_pages_may_not_call(client: httpx.AsyncClient) -> None:
    asked = {"Origin": "https://learn.example.org", "Access-Control-Request-Method": "GET"}
    answer = await client.options("/popular", headers=asked)
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_pages_that_are_named_may_call_with_a_key(settings: Settings, keys: dict[str, str]) -> None:
    origin = "https://learn.example.org"
    named = load_settings(**{**settings.model_dump(), "cors_origins": origin})
    async with api(named) as client:
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "X-API-Key",
        }
        before = await client.options("/popular", headers=asked)
        assert (before.status_code, before.headers["access-control-allow-origin"]) == (200, origin)
        answer = await client.get("/popular", headers={"Origin": origin, "X-API-Key": keys["read"]})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
        refused = await client.get("/popular", headers={"Origin": origin})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, origin)
        other = await client.get("/popular", headers={"Origin": "https://x.example.org", "X-API-Key": keys["read"]})
        assert "access-control-allow-origin" not in other.headers


def test_one_declaration_is_shown_and_enforced() -> None:
    assert scope_of(READ) is KeyScope.read
    assert scope_of(WRITE | {"requestBody": {}}) is KeyScope.write
