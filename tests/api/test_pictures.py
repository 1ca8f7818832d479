"""Pictures over HTTP: those that the worker published, and those drawn when asked."""

import asyncio
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from app.cli.plot import plot_command
from app.settings import Settings
from app.store.client import Database
from tests.support.published import publish_model, served
from tests.support.service import api, train, worker

TYPES = {"svg": "image/svg+xml", "png": "image/png", "json": "application/json"}
TAKEN = {"ada": ["c0", "c1", "c2"], "alan": ["c1", "c2", "c3"], "grace": ["c0", "c3"], "emmy": ["c4"]}


async def load(client: httpx.AsyncClient) -> None:
    courses = [
        {"course_id": f"c{i}", "title": f"<i>Course {i}</i>", "categories": ["Even" if i % 2 == 0 else "Odd"]}
        for i in range(6)
    ]
    await client.post("/courses", json=courses)
    rows = [{"user_id": user, "course_id": course} for user, taken in TAKEN.items() for course in taken]
    await client.post("/interactions", json=rows)


@pytest.fixture
async def trained(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        api(settings.model_copy(update={"epochs": 5})) as client,
        worker(settings.model_copy(update={"epochs": 5})),
    ):
        await load(client)
        assert (await train(client))["status"] == "succeeded"
        yield client


async def test_before_the_first_model_there_are_none(client: httpx.AsyncClient) -> None:
    for path in ("graph.svg", "loss.png", "embeddings.json", "graph", "graph.json?user_id=ada"):
        answer = await client.get(f"/pictures/{path}")
        assert (answer.status_code, answer.json()["type"]) == (404, "no_model"), path


async def test_every_picture_in_every_format(trained: httpx.AsyncClient) -> None:
    for name in ("graph", "loss", "embeddings"):
        for format_, type_ in TYPES.items():
            answer = await trained.get(f"/pictures/{name}.{format_}")
            assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, type_)
            again = await trained.get(f"/pictures/{name}.{format_}", headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
            same = await trained.get(f"/pictures/{name}", headers={"Accept": f"text/html;q=0.1, {type_}"})
            assert same.content == answer.content
    plain = await trained.get("/pictures/graph")
    assert plain.headers["content-type"].startswith("image/svg+xml")
    assert "script" not in plain.headers["content-security-policy"]


async def test_the_points_are_the_data(trained: httpx.AsyncClient) -> None:
    graph = (await trained.get("/pictures/graph.json")).json()
    assert graph["scope"] == "all"
    assert {(edge["user_id"], edge["course_id"]) for edge in graph["edges"]} == {
        (user, course) for user, taken in TAKEN.items() for course in taken
    }
    assert {course["title"] for course in graph["courses"]} == {f"<i>Course {i}</i>" for i in range(6)}
    places = (await trained.get("/pictures/embeddings.json")).json()
    assert sorted(places["users"]["ids"]) == sorted(TAKEN)
    assert places["courses"]["categories"][0] == ["Even"]
    assert 0 < sum(places["explained_variance"]) <= 1 + 1e-6
    loss = (await trained.get("/pictures/loss.json")).json()
    assert len(loss["losses"]) == 5
    run = (await trained.get(f"/pictures/loss.json?run_id={loss['run_id']}")).json()
    assert run == loss


async def test_a_users_neighbourhood_is_drawn_as_it_is_now(trained: httpx.AsyncClient) -> None:
    async def points() -> dict[str, set[tuple[str, str]]]:
        graph = (await trained.get("/pictures/graph.json?user_id=ada")).json()
        assert (graph["scope"], graph["focus"]) == ("user", "ada")
        return {
            kind: {(e["user_id"], e["course_id"]) for e in graph["edges"] if e["kind"] == kind}
            for kind in ("taken", "recommended")
        }

    before = await points()
    assert {course for user, course in before["taken"] if user == "ada"} == {"c0", "c1", "c2"}
    assert before["recommended"] == {("ada", "c3"), ("ada", "c4"), ("ada", "c5")}
    await trained.post(
        "/interactions", json=[{"user_id": "ada", "course_id": "c5"}, {"user_id": "ada", "course_id": "new"}]
    )
    after = await points()
    assert {course for user, course in after["taken"] if user == "ada"} == {"c0", "c1", "c2", "c5", "new"}
    assert after["recommended"] == {("ada", "c3"), ("ada", "c4")}
    for format_, type_ in TYPES.items():
        answer = await trained.get(f"/pictures/graph.{format_}?user_id=ada")
        assert answer.headers["content-type"].startswith(type_)
    svg = ET.fromstring((await trained.get("/pictures/graph.svg?user_id=ada")).content)
    assert "<i>Course 3</i>" in "".join(svg.itertext())


async def test_a_courses_neighbourhood(trained: httpx.AsyncClient) -> None:
    graph = (await trained.get("/pictures/graph.json?course_id=c3")).json()
    assert {user["user_id"] for user in graph["users"]} == {"alan", "grace"}
    assert graph["courses"][0]["course_id"] == "c3"


async def test_what_does_not_exist_is_said(trained: httpx.AsyncClient) -> None:
    for query, status, slug in (
        ("graph.svg?user_id=nobody", 404, "unknown_user"),
        ("graph.svg?course_id=nothing", 404, "unknown_course"),
        ("graph.svg?user_id=ada&course_id=c1", 422, "invalid_value"),
        ("graph.gif", 422, "invalid_value"),
        ("graph.svg?run_id=r-000001", 422, "invalid_value"),
        ("loss.svg?run_id=r-999999", 404, "unknown_run"),
        ("embeddings.svg?model_id=m-999999", 404, "unknown_model"),
        ("nothing", 422, "invalid_value"),
    ):
        answer = await trained.get(f"/pictures/{query}")
        assert (answer.status_code, answer.json()["type"]) == (status, slug), query


async def test_a_deleted_user_is_in_no_picture(trained: httpx.AsyncClient) -> None:
    assert (await trained.delete("/users/ada")).status_code == 200
    for path in ("graph.json", "graph.svg", "embeddings.json", "graph.json?user_id=alan", "graph.json?course_id=c1"):
        answer = await trained.get(f"/pictures/{path}")
        assert answer.status_code == 200
        assert "ada" not in answer.text, path
        assert "alan" in answer.text, path
    assert (await trained.get("/pictures/graph.json?user_id=ada")).status_code == 404


async def test_a_model_without_pictures(
    client: httpx.AsyncClient, database: Database, mongodb_uri: str, tmp_path: Path
) -> None:
    await load(client)
    model_id = await publish_model(database, mongodb_uri, tmp_path / "made")
    await served(client, model_id)
    answer = await client.get("/pictures/graph.svg")
    assert (answer.status_code, answer.json()["type"]) == (404, "no_picture")
    assert (await client.get("/pictures/graph.svg?user_id=ada")).status_code == 200


async def test_the_command_writes_the_same_files(
    trained: httpx.AsyncClient, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGODB_URI", str(settings.mongodb_uri))
    monkeypatch.setenv("MONGODB_DATABASE", settings.mongodb_database)
    for name in ("graph.svg", "loss.png", "embeddings.json"):
        target = tmp_path / f"picture-{name}"
        call = [name.partition(".")[0], "--output", str(target)]
        done = await asyncio.to_thread(CliRunner().invoke, plot_command, call)
        assert done.exit_code == 0, done.output
        assert target.read_bytes() == (await trained.get(f"/pictures/{name}")).content
    done = await asyncio.to_thread(CliRunner().invoke, plot_command, ["graph", "--output", str(tmp_path / "x.gif")])
    assert done.exit_code == 2
