"""The page for everybody: keyboard, screen reader, phone, dark, any title, any state, with keys."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from app.cli.client import Client, follow_run, request_run
from tests.page.conftest import Service, Watched, watch
from tests.page.test_views import VIEWS, address, listed

TITLES = {
    "markup": "<img src=x onerror=\"document.title='broken'\"><b>bold</b>",
    "long": "An exceptionally long title about everything that could be said of statistics, and then some, " * 4,
    "chinese": "机器学习导论：从线性模型到深度神经网络的理论与实践",
    "word": "Donaudampfschifffahrtsgesellschaftskapitänsausbildungsgrundlagenvorlesung",
    "arabic": "مقدمة في البرمجة بلغة بايثون للمبتدئين",
}


def width_of(page: Page) -> int:
    width: int = page.evaluate("() => document.documentElement.scrollWidth")
    return width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_nothing_keeps_people_out(watched: Watched, service: Service, view: str, scheme: str) -> None:
    watched.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    page = watched.open(address(view, service))
    page.wait_for_load_state("networkidle")
    if view.startswith("recommend"):
        listed(page)
    assert watched.axe() == []
    assert width_of(page) <= 1280


@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_shows_it_without_moving_sideways(phone: Watched, service: Service, view: str) -> None:
    page = phone.open(address(view, service))
    page.wait_for_load_state("networkidle")
    assert width_of(page) <= 390
    for link in page.locator("#nav a").all():
        box = link.bounding_box()
        assert box is not None
        assert box["height"] >= 40
    assert phone.axe() == []


def test_the_theme_is_chosen_and_remembered(watched: Watched) -> None:
    page = watched.open("overview")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Switch between light and dark").click()
    dark = page.evaluate(ground)
    assert dark != light
    watched.open("data")
    assert page.evaluate(ground) == dark


def test_everything_is_reached_by_keyboard(watched: Watched, service: Service) -> None:
    page = watched.open("overview")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")

    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} is not reached by Tab")

    tab_to('#nav a[data-view="recommend"]')
    page.keyboard.press("Enter")
    watched.drawn()
    expect(page).to_have_title("Recommend · CourseGraph")
    tab_to("[role=combobox]")
    page.keyboard.type(service.user[:-1])
    page.locator("[role=option]").first.wait_for()
    page.keyboard.press("ArrowDown")
    chosen = page.locator("[role=option][aria-selected=true]").inner_text()
    page.keyboard.press("Enter")
    expect(page.get_by_role("combobox", name="User id")).to_have_value(chosen)
    before = listed(page)
    tab_to(".took")
    page.keyboard.press("Enter")
    expect(page.locator(f'.recs > li[data-course="{before[0]}"]')).to_have_count(0)


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ("overview", "Nothing is here yet"),
        ("recommend", "No courses yet"),
        ("map", "No model yet"),
        ("graph", "No model yet"),
        ("training", "No run yet"),
        ("data", "Drop files here"),
    ],
)
def test_an_empty_service_says_how_to_begin(empty_page: Watched, view: str, said: str) -> None:
    page = empty_page.open(view)
    expect(page.locator("#main")).to_contain_text(said)
    assert empty_page.axe() == []


def test_titles_are_text_in_any_script(browser: Browser, empty_service: Service) -> None:
    """Three courses or so, before and after a first model."""
    with Client(empty_service.url) as client:
        client.post(
            "/courses",
            [{"course_id": id_, "title": title, "categories": [title[:40]]} for id_, title in TITLES.items()],
        )
        rows = [
            ("ada", "markup"),
            ("ada", "long"),
            ("alan", "long"),
            ("alan", "chinese"),
            ("emmy", "arabic"),
            ("emmy", "markup"),
            ("emmy", "word"),
        ]
        client.post("/interactions", [{"user_id": user, "course_id": course} for user, course in rows])
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        watched = watch(context, empty_service.url)
        page = watched.open("recommend?user=ada")
        assert set(listed(page)) == {"chinese", "arabic", "word"}
        with Client(empty_service.url) as client:
            (*_, ended) = follow_run(client, request_run(client))
        assert ended["status"] == "succeeded"
        page.set_viewport_size({"width": 390, "height": 844})
        for view in (
            "overview",
            "recommend?user=alan",
            "graph?user=ada",
            "graph",
            "graph?course=markup",
            "map",
            "map?user=emmy",
            "data",
        ):
            watched.open(view)
            page.wait_for_load_state("networkidle")
            assert width_of(page) <= 390, view
            assert page.title().endswith("CourseGraph")
            assert page.locator("main img").count() == 0
            assert page.locator("main b").count() == 0
        watched.open("recommend?user=alan")
        listed(page)
        expect(page.locator(".recs")).to_contain_text("<b>bold</b>")
        expect(page.locator(".recs")).to_contain_text(TITLES["arabic"])
        for view in VIEWS:
            watched.open(view.format(user="ada", course="chinese"))
            assert watched.axe() == [], view
    assert watched.complaints == []


@pytest.mark.parametrize(("path", "said"), [("docs", "Recommendations"), ("redoc", "CourseGraph")])
def test_the_pages_about_the_api_work_offline(watched: Watched, path: str, said: str) -> None:
    page = watched.page
    page.goto(f"{watched.url}/{path}")
    page.get_by_text("What a user should take next").locator("visible=true").first.wait_for(timeout=30_000)
    expect(page.locator("body")).to_contain_text(re.compile(said, re.IGNORECASE))
