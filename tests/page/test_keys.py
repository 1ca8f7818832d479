"""The page in front of a service that wants a key: calls, event streams and downloads all give it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from app.cli.catalogue import generate_catalogue
from app.cli.client import Client, send_rows
from tests.page.conftest import SETTINGS, Service, Watched, watch
from tests.support.up import Up

ADMIN_KEY = "the-key-of-this-test-" + "k" * 32


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a key, some data and no model."""
    catalogue = generate_catalogue(n_users=200, n_interactions=2_000)
    data_dir = tmp_path_factory.mktemp("guarded") / "data"
    with Up(data_dir, environment={**SETTINGS, "COURSEGRAPH_ADMIN_KEY": ADMIN_KEY}) as up:
        with Client(up.url, key=ADMIN_KEY) as client:
            for path in ("courses", "users", "interactions"):
                assert sum(send_rows(client, f"/{path}", getattr(catalogue, path)))
        yield Service(up.url, up=up)


@pytest.fixture
def watched(browser: Browser, guarded: Service) -> Iterator[Watched]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        watched = watch(context, guarded.url)
        yield watched
    # The browser itself writes refusals to its console, which are what is tested here.
    assert [text for text in watched.complaints if not re.search(r"status of 40[13]", text)] == []


def give(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")


def test_a_key_is_asked_for_once_and_kept_in_the_tab(watched: Watched, guarded: Service) -> None:
    page, asked = watched.page, []
    page.on("response", lambda answer: asked.append(answer.url) if answer.status == 401 else None)
    page.goto(f"{guarded.url}/#/overview")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    give(page, "wrong")
    expect(dialog).to_contain_text("the key in X-API-Key is not known")
    give(page, ADMIN_KEY)
    expect(page.locator(".tile-value").first).to_have_text("200")
    refused = len(asked)
    page.reload()
    expect(page.locator(".tile-value").first).to_have_text("200")
    assert len(asked) == refused
    assert page.evaluate("() => localStorage.length") == 0
    assert page.evaluate("() => document.cookie") == ""


def test_a_refusal_that_comes_late_does_not_ask_again(watched: Watched, guarded: Service) -> None:
    page, late = watched.page, list[Route]()

    def hold_back(route: Route) -> None:
        if route.request.headers.get("x-api-key") or late:
            route.continue_()
        else:
            late.append(route)

    page.route("**/training/runs*", hold_back)
    page.goto(f"{guarded.url}/#/training")
    expect(page.get_by_role("dialog")).to_be_visible()
    give(page, ADMIN_KEY)
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert late
    with page.expect_response(lambda answer: "/training/runs" in answer.url and answer.ok):
        late[0].continue_()
    page.get_by_role("button", name="Train a model now").hover()


def test_streams_and_downloads_give_the_key(watched: Watched, guarded: Service) -> None:
    page, streams = watched.page, []
    page.on("request", lambda request: streams.append(request) if request.url.endswith("/events") else None)
    page.goto(f"{guarded.url}/#/training")
    give(page, ADMIN_KEY)
    page.get_by_role("button", name="Train a model now").click()
    expect(page.locator(".toast", has_text="is served")).to_be_visible(timeout=90_000)
    assert [request.headers["x-api-key"] for request in streams] == [ADMIN_KEY] * len(streams)
    assert streams
    page.goto(f"{guarded.url}/#/data")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save courses").click()
    lines = Path(saved.value.path()).read_text().splitlines()
    assert "course_id" in json.loads(lines[0])
    assert all(ADMIN_KEY not in request.url for request in streams)


def test_a_key_that_may_not_do_something_says_so_and_another_is_asked_for(watched: Watched, guarded: Service) -> None:
    assert guarded.up is not None
    command = [sys.executable, "-m", "app", "keys", "create", "--name", "reader"]
    command += ["--data-dir", str(guarded.up.data_dir)]
    key = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    page = watched.page
    page.wait_for_timeout(1_000)  # until the service knows it
    page.goto(f"{guarded.url}/#/training")
    give(page, key)
    page.get_by_role("button", name="Train a model now").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("has scope read; this call takes scope admin or more")
    give(page, key)
    expect(page.locator("body")).to_contain_text("this call takes scope admin")
