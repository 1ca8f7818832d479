"""The description of the API: complete, true to itself, and the one that is committed."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from app.api.application import create_application
from app.settings import load_settings

ROOT = Path(__file__).parents[2]
DOCUMENT = create_application(load_settings(mongodb_uri="mongodb://127.0.0.1")).openapi()
CALLS = {
    f"{method.upper()} {path}": call for path, calls in DOCUMENT["paths"].items() for method, call in calls.items()
}
NO_PROBLEMS = {"GET /health/live", "GET /health/ready", "GET /metrics"}  # probes take nothing and need nothing


def test_the_committed_document_is_up_to_date() -> None:
    done = subprocess.run(["scripts/openapi", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", CALLS)
def test_every_call_is_described(name: str) -> None:
    call = CALLS[name]
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", call["operationId"])
    assert call["summary"]
    assert not call["summary"].endswith(".")
    assert len(call["description"]) > 10
    assert call["tags"][0] in [tag["name"] for tag in DOCUMENT["tags"]]
    assert all(parameter.get("description") for parameter in call.get("parameters", []))
    gorse = call["tags"] == ["gorse"]  # whose clients know 400 and plain text
    if name not in NO_PROBLEMS:
        assert {"400" if gorse else "422", "503"} <= call["responses"].keys()
        assert not gorse or "422" not in call["responses"]
    for status, answer in call["responses"].items():
        assert answer["description"]
        if status >= "400" and name not in NO_PROBLEMS:
            assert list(answer["content"]) == ["text/plain" if gorse else "application/problem+json"]
    if "requestBody" in call:
        assert {"400", "413"} <= call["responses"].keys()
        assert gorse or "415" in call["responses"]  # Gorse's clients differ in the types they name


def contents() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Everything that is sent and answered: where, of which type, schema and examples."""
    for name, call in CALLS.items():
        for type_, content in call.get("requestBody", {}).get("content", {}).items():
            yield f"{name} body", type_, content
        for status, answer in call["responses"].items():
            for type_, content in answer.get("content", {}).items():
                yield f"{name} {status}", type_, content


@pytest.mark.parametrize(("place", "type_", "content"), list(contents()))
def test_everything_has_an_example_that_fits(place: str, type_: str, content: dict[str, Any]) -> None:
    if type_ == "image/png":
        return
    schema = content["schema"]
    examples = [content["example"]] if "example" in content else content.get("examples", schema.get("examples"))
    assert examples, place
    for example in examples:
        if type_.endswith("json") and type_ != "application/x-ndjson":
            Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(example)


def test_operation_ids_are_names_of_their_own() -> None:
    ids = [call["operationId"] for call in CALLS.values()]
    assert len(set(ids)) == len(ids)


async def test_the_pages_ask_nothing_of_another_host(client: httpx.AsyncClient) -> None:
    for path in ("/", "/docs", "/redoc"):
        page = await client.get(path)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert loaded
        for address in loaded:
            assert not re.match(r"https?:|//", address), address
            if not address.startswith("#"):
                assert (await client.get(f"/{address}")).status_code == 200, address
        assert "<script>" not in page.text
        assert "style=" not in page.text


async def test_files_of_the_page_are_sent_once_and_packed(client: httpx.AsyncClient) -> None:
    path = "/page/vendor/redoc/redoc.standalone.js"
    answer = await client.get(path, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert b"cdn.redoc.ly" not in answer.content
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == answer.content
    again = await client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "../api/page.py", "%2e%2e/api/page.py", "/etc/passwd", ""])
async def test_nothing_else_is_sent(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/page/{name}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "not_found"
