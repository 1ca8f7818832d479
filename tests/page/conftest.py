"""A real browser in front of real services; what it complains of is a failure."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from app.cli.catalogue import generate_catalogue
from app.cli.client import Client, await_model, follow_run, request_run, send_rows
from tests.support.browser import chromium, chromium_path
from tests.support.up import Up

USER_ROWS = {"n_users": 300, "n_interactions": 4_000}
SETTINGS = {"COURSEGRAPH_AUTO_TRAIN": "false", "COURSEGRAPH_EPOCHS": "20", "COURSEGRAPH_EMBEDDING_SIZE": "16"}
AXE = Path(__file__).parents[1] / "support" / "axe" / "axe.min.js"


@dataclass
class Service:
    """Where it is, and the ids of a user with a handful of courses and of one of them."""

    url: str
    user: str = ""
    course: str = ""
    up: Up | None = None


@pytest.fixture(scope="session")
def browser_path() -> str:
    path = chromium_path()
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI has no chromium, so the page is not tested; scripts/test installs it where it may")
        pytest.skip("there is no chromium: install it (Debian: apt-get install chromium) or set CHROMIUM")
    return path


@pytest.fixture(scope="module")
def browser(browser_path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright, chromium(playwright) as browser:
        yield browser


@pytest.fixture(scope="module")
def empty_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Up(tmp_path_factory.mktemp("empty") / "data", environment=SETTINGS) as up:
        yield Service(up.url)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The demo's catalogue, smaller, with one model."""
    catalogue = generate_catalogue(**USER_ROWS)
    with Up(tmp_path_factory.mktemp("page") / "data", environment=SETTINGS) as up:
        with Client(up.url) as client:
            for path in ("courses", "users", "interactions"):
                assert sum(send_rows(client, f"/{path}", getattr(catalogue, path)))
            (*_, ended) = follow_run(client, request_run(client))
            assert ended["status"] == "succeeded", ended
            await_model(client, ended["model_id"], catalogue.users[0]["user_id"])
        taken: dict[str, set[str]] = {}
        for row in catalogue.interactions:
            taken.setdefault(row["user_id"], set()).add(row["course_id"])
        user = next(user for user, courses in sorted(taken.items()) if 5 <= len(courses) <= 8)
        yield Service(up.url, user, sorted(taken[user])[0], up)


@dataclass
class Watched:
    """A page, and what was wrong with it."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def open(self, view: str) -> Page:
        """Show a view; it has been drawn when this returns."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/#/{view}")
        self.drawn()
        return self.page

    def drawn(self) -> None:
        self.page.wait_for_selector("#main:not([aria-busy]) .view-body")

    def axe(self) -> list[str]:
        """What axe-core finds serious or worse."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("async () => (await axe.run()).violations")
        return [
            f"{one['id']} ({one['impact']}): {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
            for one in found
            if one["impact"] in {"serious", "critical"}
        ]


def watch(context: BrowserContext, url: str) -> Watched:
    page = context.new_page()
    watched = Watched(page, url)
    page.set_default_timeout(15_000)
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    host = urlsplit(url).netloc

    def hear(said: ConsoleMessage) -> None:
        if (
            said.type in {"error", "warning"} and "willReadFrequently" not in said.text
        ):  # tests look at the map's pixels
            watched.complaints.append(f"{said.text} at {said.location.get('url')}")

    def check(address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.netloc != host:
            watched.complaints.append(f"asked another host: {address}")

    page.on("console", hear)
    page.on("request", lambda request: check(request.url))
    return watched


@pytest.fixture
def watched(browser: Browser, service: Service) -> Iterator[Watched]:
    """A page of the service with the demo's data; it must not complain."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        watched = watch(context, service.url)
        yield watched
    assert watched.complaints == []


@pytest.fixture
def phone(browser: Browser, service: Service) -> Iterator[Watched]:
    """The same at phone width."""
    with browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as context:
        watched = watch(context, service.url)
        yield watched
    assert watched.complaints == []


@pytest.fixture
def empty_page(browser: Browser, empty_service: Service) -> Iterator[Watched]:
    """A page of a service in which nothing is yet."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        watched = watch(context, empty_service.url)
        yield watched
    assert watched.complaints == []
