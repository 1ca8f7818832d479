"""The doors of what is asked most lead where the table of routes does."""

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Match

from app.api.application import FIRST, create_application
from app.api.front import Doors
from app.api.routers import gorse
from app.settings import load_settings

APP = create_application(load_settings(mongodb_uri="mongodb://127.0.0.1"))


async def nowhere(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError(scope)


DOORS = Doors([FIRST, *gorse.HOT], nowhere, nowhere)


def by_the_table(scope: dict[str, Any]) -> tuple[Any, Any]:
    for route in APP.router.routes:
        match, child = route.matches(dict(scope))
        if match is Match.FULL:
            return route, child["path_params"]
    return None, None


parts = st.lists(
    st.sampled_from(["api", "recommend", "recommendations", "u", "a:b", "", "%2F", "a%2Fb", "%25", "ä"]), max_size=5
)


@given(st.sampled_from(["", "/recommendations", "/api/recommend"]), parts, st.booleans())
def test_a_door_is_a_short_way(prefix: str, more: list[str], slash: bool) -> None:
    raw = "/".join([prefix, *more]) + "/" * slash
    scope = {"type": "http", "method": "GET", "path": unquote(raw), "raw_path": raw.encode(), "root_path": ""}
    found = DOORS.find(scope)
    if found is not None:
        assert (found, scope["path_params"]) == by_the_table(scope)


@pytest.mark.parametrize("path", ["/recommendations/u", "/api/recommend/u", "/api/recommend/u/", "/api/recommend/u/c"])
def test_what_is_asked_most_has_one(path: str) -> None:
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "root_path": ""}
    assert DOORS.find(scope) is by_the_table(scope)[0] is not None
