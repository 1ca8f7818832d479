"""What the OpenAPI document promises, and what importing the API brings along."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from app.api.application import create_application
from app.errors import SettingError
from app.settings import Settings

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_application(Settings(mongodb_uri="mongodb://127.0.0.1:1")).openapi()


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, call) for path, calls in document["paths"].items() for method, call in calls.items()]


def test_every_call_is_described(document: dict[str, Any]) -> None:
    names = [call["operationId"] for _, _, call in operations(document)]
    assert len(set(names)) == len(names)
    for path, method, call in operations(document):
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", call["operationId"]), path
        assert call["summary"], path
        assert call["description"], path
        assert call["tags"], path
        assert {tag["name"] for tag in document["tags"]} >= set(call["tags"])
        for parameter in call.get("parameters", []):
            assert parameter["in"] == "path" or parameter.get("description"), (path, method, parameter["name"])


def test_the_names_are_those_that_client_generators_want(document: dict[str, Any]) -> None:
    named = {(method, path): call["operationId"] for path, method, call in operations(document)}
    assert named["get", "/courses"] == "list_courses"
    assert named["put", "/users/{user_id}"] == "put_user"
    assert named["get", "/recommendations/{user_id}"] == "get_recommendations"
    assert set(named) >= {
        *(
            (method, f"/{kind}/{{{kind[:-1]}_id}}")
            for kind in ("users", "courses")
            for method in ("put", "patch", "get")
        ),
        *(("delete", path) for path in ("/users/{user_id}", "/courses/{course_id}", "/interactions")),
        *(("post", path) for path in ("/users", "/courses", "/interactions", "/recommendations/{user_id}")),
        *(("get", path) for path in ("/interactions", "/users/{user_id}/interactions", "/popular", "/export/{kind}")),
        *(("get", f"/training/runs{rest}") for rest in ("", "/{run_id}", "/{run_id}/events")),
        *(("post", f"/training/runs{rest}") for rest in ("", "/{run_id}/cancel")),
        *(("get", f"/models{rest}") for rest in ("", "/current", "/{model_id}")),
        ("post", "/models/{model_id}/activate"),
        *(("post", path) for path in ("/recommendations", "/recommendations/batch")),
        *(
            ("get", path)
            for path in ("/courses/{course_id}/similar", "/courses/{course_id}/users", "/users/{user_id}/similar")
        ),
        *(("get", path) for path in ("/health/live", "/health/ready", "/metrics")),
    }


def test_problems_are_documented_as_problems(document: dict[str, Any]) -> None:
    for path, method, call in operations(document):
        responses = call["responses"]
        if call["tags"] == ["gorse"]:
            continue  # its errors are plain text; tests/api/test_openapi.py looks at them
        touches_the_database = not path.startswith(("/health", "/metrics"))
        if touches_the_database:
            assert {"422", "503"} <= set(responses), path
        if "{user_id}" in path and method == "get":
            assert "404" in responses, path
        if "requestBody" in call:
            assert {"400", "413", "415"} <= set(responses), (path, method)
        for status, response in responses.items():
            if int(status) >= 400 and path != "/health/ready":
                assert list(response["content"]) == [PROBLEM], (path, status)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    wanted = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert wanted <= set(document["components"]["schemas"])
    assert {"User", "Course", "Interaction", "Problem", "ValidationProblem"} <= wanted
    assert "HTTPValidationError" not in wanted


def test_bodies_and_lists_have_examples(document: dict[str, Any]) -> None:
    for path, _, call in operations(document):
        for media in call.get("requestBody", {}).get("content", {}).values():
            assert "example" in media or "examples" in media or "examples" in json.dumps(media["schema"]), path
    answer = document["paths"]["/recommendations/{user_id}"]["get"]["responses"]["200"]
    assert answer["content"]["application/json"]["example"]["items"]
    assert {"ETag", "Cache-Control"} <= set(answer["headers"])


def test_options_of_lists_are_shown_with_their_limits(document: dict[str, Any]) -> None:
    call = document["paths"]["/recommendations/{user_id}"]["get"]
    parameters = {parameter["name"]: parameter["schema"] for parameter in call["parameters"]}
    assert set(parameters) >= {
        *("user_id", "n", "offset", "category", "tag", "level", "language", "exclude", "include_only", "exclude_seen"),
        *("prerequisites", "percent_over", "temperature", "diversity", "explain", "include_course", "strict"),
    }
    body = document["components"]["schemas"]["RecommendationOptions"]["properties"]
    assert set(body) == set(parameters) - {"user_id"}
    assert parameters["diversity"]["maximum"] == 1
    assert (parameters["n"]["default"], parameters["n"]["maximum"]) == (10, 500)
    assert [schema["type"] for schema in parameters["category"]["anyOf"]] == ["array", "string"]
    assert parameters["percent_over"]["enum"] == ["recommended", "candidates"]


def test_importing_the_api_brings_no_training_along() -> None:
    code = "import sys, app.api.application; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert "fastapi" in imported
    assert not imported & {"torch", "scipy", "sklearn", "matplotlib", "pandas"}


def test_without_a_database_to_look_for_there_is_no_application() -> None:
    with pytest.raises(SettingError, match="MONGODB_URI"):
        create_application(Settings())
