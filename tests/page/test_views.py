"""Every view in a real browser, on the demo's data."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import Service, Watched

VIEWS = (
    "overview",
    "recommend?user={user}",
    "map",
    "map?user={user}",
    "graph?user={user}",
    "graph?course={course}",
    "training",
    "data",
)


def address(view: str, service: Service) -> str:
    return view.format(user=service.user, course=service.course)


def listed(page: Page) -> list[str]:
    page.wait_for_selector(".recs li")
    ids: list[str] = page.eval_on_selector_all(".recs > li", "items => items.map(item => item.dataset.course)")
    return ids


def interact(page: Page, path: str, method: str = "GET") -> dict[str, object]:
    answer = page.request.fetch(path, method=method)
    assert answer.ok, answer.text()
    body: dict[str, object] = answer.json()
    return body


# --- overview


def test_overview_shows_what_there_is_and_how_good_it_is(watched: Watched) -> None:
    page = watched.open("")
    expect(page.locator(".tile-value")).to_have_text(["300", "300", "4,000"])
    expect(page.get_by_role("heading", name=re.compile("Model m-"))).to_be_visible()
    expect(page.locator(".metric")).to_have_count(2)
    expect(page.locator(".metric dt").first).to_have_text("This model")
    expect(page.locator(".checks .good")).to_have_count(3)
    expect(page.locator("tbody tr").first).to_contain_text("succeeded")
    expect(page.locator("#status")).to_have_text("In step")


# --- recommend


def test_a_user_is_found_and_an_interaction_changes_the_list_at_once(watched: Watched, service: Service) -> None:
    page = watched.open("recommend")
    field = page.get_by_role("combobox", name="User id")
    field.fill(service.user)
    field.press("Enter")
    before = listed(page)
    assert len(before) == 10
    expect(page.locator(".taken li")).not_to_have_count(0)
    shares = [float(text.strip("< %")) for text in page.locator(".recs .rec > .bar .bar-label").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=2)
    first = page.locator(f'.recs > li[data-course="{before[0]}"]')
    first.get_by_role("button", name=re.compile("^Took it")).click()
    expect(first).to_have_count(0)
    assert before[0] not in listed(page)
    assert len(listed(page)) == 10
    taken = page.locator(".taken li").first
    expect(taken).to_contain_text("enroll")
    taken.get_by_role("button", name=re.compile("^Remove")).click()
    expect(page.locator(f'.recs > li[data-course="{before[0]}"]')).to_have_count(1)


def test_the_reasons_add_up_and_similar_courses_are_named(watched: Watched, service: Service) -> None:
    page = watched.open(address("recommend?user={user}", service))
    first = listed(page)[0]
    row = page.locator(f'.recs > li[data-course="{first}"]')
    row.get_by_role("button", name=re.compile("^Why")).click()
    said = row.locator(".rec-more p").inner_text()
    score = re.search(r"-?[\d.]+(?=:)", said)
    assert score is not None
    parts = row.locator(".reasons .bar-label").all_inner_texts()
    assert len(parts) >= 5
    assert sum(float(part.replace("−", "-")) for part in parts) == pytest.approx(
        float(score[0]), abs=0.002 * len(parts)
    )
    expect(row.locator(".reasons")).to_contain_text("the user’s own part")
    row.get_by_role("button", name=re.compile("^Similar")).click()
    expect(row.locator(".reasons a")).to_have_count(6)
    expect(row.locator("[aria-expanded=true]")).to_have_count(1)


def test_somebody_anonymous_gets_a_list_of_their_own(watched: Watched) -> None:
    page = watched.open("recommend")
    page.get_by_role("radio", name="Anonymous").check()
    field = page.get_by_role("combobox", name="Courses taken")
    field.fill("python")
    page.locator("[role=option]").first.wait_for()
    field.press("ArrowDown")
    field.press("Enter")
    expect(page.locator(".chip")).to_have_count(1)
    expect(page.locator("#main")).to_contain_text("A vector was made just now from these courses")
    before = listed(page)
    page.locator(".recs > li").first.get_by_role("button", name=re.compile("^Took it")).click()
    expect(page.locator(".chip")).to_have_count(2)
    expect(page.locator(f'.recs > li[data-course="{before[0]}"]')).to_have_count(0)
    page.get_by_role("button", name=re.compile("^Remove")).first.click()
    expect(page.locator(".chip")).to_have_count(1)


def test_filters_narrow_the_list(watched: Watched, service: Service) -> None:
    page = watched.open(address("recommend?user={user}", service))
    before = listed(page)
    page.get_by_label("Category").select_option("Music")
    expect(page.locator(".recs > li .tag:first-child")).to_have_text([re.compile("Music")] * 10)
    assert listed(page) != before
    page.get_by_label("How many").select_option("5")
    expect(page.locator(".recs > li")).to_have_count(5)


def test_somebody_unknown_gets_popular_courses(watched: Watched) -> None:
    page = watched.open("recommend?user=nobody")
    assert len(listed(page)) == 10
    expect(page.locator("#main")).to_contain_text("the most taken courses")
    expect(page.locator("#main")).to_contain_text("There is no user nobody")


# --- map


def colours(page: Page) -> int:
    """How many colours the canvas shows."""
    count: int = page.evaluate(
        """() => {
          const canvas = document.querySelector(".plot canvas");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )
    return count


def test_the_map_shows_categories_and_finds_courses(watched: Watched, service: Service) -> None:
    page = watched.open("map")
    page.wait_for_function("() => document.querySelectorAll('.map-label').length > 5")
    assert colours(page) >= 9  # ground, users, eight categories and the rest
    expect(page.locator(".plot-axis.x")).to_contain_text("% of the variance")
    first = page.locator(".legend button", has_text="Users")
    before = colours(page)
    first.click()
    expect(first).to_have_attribute("aria-pressed", "false")
    page.wait_for_timeout(100)
    assert colours(page) == before - 1
    title = page.locator(".map-label").first.inner_text()
    field = page.get_by_role("combobox", name="Find a course")
    field.fill(title.rstrip("…"))
    page.locator("[role=option]").first.wait_for()
    field.press("Enter")
    expect(page.get_by_text("Nearest on the map:")).to_be_visible()
    expect(page.locator("main [aria-live]").filter(has_text="Near it:")).to_have_count(1)


def test_a_users_courses_are_lit(watched: Watched, service: Service) -> None:
    page = watched.open(address("map?user={user}", service))
    expect(page.get_by_role("heading", name="Recommended")).to_be_visible()
    expect(page.get_by_role("heading", name="Taken")).to_be_visible()
    expect(page.locator("main .visually-hidden[aria-live]", has_text="5 recommended are lit")).to_have_count(1)
    page.get_by_role("button", name="Show everybody again").click()
    expect(page.get_by_role("heading", name="Recommended")).to_have_count(0)


def test_the_map_moves_by_keyboard_and_by_hand(watched: Watched) -> None:
    page = watched.open("map")
    canvas = page.locator(".plot canvas")
    page.wait_for_function("() => document.querySelectorAll('.map-label').length > 5")

    def labels() -> list[str]:
        page.wait_for_timeout(120)
        return page.locator(".map-label").all_inner_texts()

    start = labels()
    canvas.focus()
    for key in ("+", "+", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    moved = labels()
    assert moved != start
    page.keyboard.press("0")
    assert labels() == start
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 500, box["y"] + 420, steps=4)
    page.mouse.up()
    assert labels() != start
    page.get_by_role("button", name="Show all").click()
    assert labels() == start
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    page.mouse.wheel(0, -400)
    assert labels() != start


# --- graph


def test_the_graph_is_walked_through(watched: Watched, service: Service) -> None:
    page = watched.open(address("graph?user={user}", service))
    expect(page.locator(".node.user.focus title")).to_have_text(f"User {service.user}")
    expect(page.locator(".graph-box .edge.recommended")).to_have_count(5)
    expect(page.locator(".graph-box .node.recommended.course")).to_have_count(5)
    course = page.locator(".node.course:not(.recommended)").first
    name = course.locator("title").text_content()
    course.click()
    watched.page.wait_for_url(re.compile("course="))
    expect(page.locator(".node.course.focus title")).to_have_text(name or "")
    page.locator(".node.user").nth(1).focus()
    expect(page.locator(".graph-svg.lit")).to_have_count(1)
    page.keyboard.press("Enter")
    watched.page.wait_for_url(re.compile("user="))
    page.get_by_text("The same in words").click()
    expect(page.locator("details li").first).to_contain_text("took")
    page.go_back()
    expect(page.locator(".node.course.focus")).to_have_count(1)


# --- training


def test_a_run_is_started_watched_and_rolled_back(watched: Watched) -> None:
    page = watched.open("training")
    before = interact(page, f"{watched.url}/models/current")["model_id"]
    page.get_by_role("button", name="Train a model now").click()
    expect(page.locator(".card-head .badge").first).to_have_text(re.compile("queued|running|succeeded"))
    expect(page.locator(".toast", has_text="is served")).to_be_visible(timeout=60_000)
    after = interact(page, f"{watched.url}/models/current")["model_id"]
    assert after != before
    expect(page.locator(".curve polyline.line").first).to_be_visible()
    served = page.locator("tr", has_text=str(after)).filter(has_text="served")
    expect(served).to_have_count(1)
    for model in (before, after):
        page.get_by_role("checkbox", name=f"Compare {model}").check()
    expect(page.get_by_role("heading", name="Side by side")).to_be_visible()
    expect(page.locator(".compare tbody tr")).not_to_have_count(0)
    page.get_by_role("button", name=f"Serve {before}").click()
    expect(page.locator(".toast", has_text=f"{before} is served")).to_be_visible()
    expect(page.locator("tr", has_text=str(before)).filter(has_text="served")).to_have_count(1)
    assert interact(page, f"{watched.url}/models/current")["model_id"] == before


def test_a_run_is_cancelled(watched: Watched, service: Service) -> None:
    """While the worker stands still the run waits, so there is time to cancel it."""
    assert service.up is not None
    work = service.up.child("work")
    work.suspend()
    try:
        page = watched.open("training")
        page.get_by_role("button", name="Train a model now").click()
        expect(page.locator("#main")).to_contain_text("Waiting for a worker to begin")
        page.get_by_role("button", name="Cancel this run").click()
        expect(page.locator(".badge.cancelled").first).to_be_visible()
    finally:
        work.resume()


# --- data


def test_a_file_with_bad_rows_is_imported(watched: Watched, tmp_path: Path) -> None:
    file = tmp_path / "taken.csv"
    lines = [
        "user_id,course_id,type,timestamp",
        "zoe,new-course,enroll,2026-01-07T10:00:00Z",
        "zoe,,enroll,",
        "zoe,other,flew,",
        '"zoe","a ""b""",view,1700000000',
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    page = watched.open("data")
    page.locator("#file").set_input_files(file)
    report = page.locator(".card", has_text="Import of taken.csv")
    expect(report).to_contain_text("4 of interactions")
    expect(report).to_contain_text("2: 2 new")
    rejected = report.locator("tbody tr")
    expect(rejected).to_have_count(2)
    assert [row.split("\t")[0] for row in rejected.all_inner_texts()] == ["3", "4"]
    expect(rejected.nth(1)).to_contain_text("flew")
    with page.expect_download() as saved:
        report.get_by_role("button", name="Save all as NDJSON").click()
    rows = [json.loads(line) for line in Path(saved.value.path()).read_text().splitlines()]
    assert [row["line"] for row in rows] == [3, 4]
    taken = interact(page, f"{watched.url}/users/zoe/interactions")
    assert {row["course_id"] for row in taken["items"]} == {"new-course", 'a "b"'}  # type: ignore[attr-defined]
    noted = page.locator(".card", has=page.get_by_role("heading", name="Last rejected rows"))
    expect(noted.locator("tbody tr").first).to_contain_text("interactions")
    expect(noted).to_contain_text("flew")
    page.reload()  # another tab, or another person
    watched.drawn()
    expect(noted).to_contain_text("flew")
    interact(page, f"{watched.url}/users/zoe", "DELETE")


@pytest.mark.parametrize("name", ["courses.ndjson", "courses.json"])
def test_only_checking_writes_nothing(watched: Watched, tmp_path: Path, name: str) -> None:
    rows = [{"course_id": "checked-1", "title": "A"}, {"course_id": "checked-2", "titel": "B"}]
    text = json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows))
    (tmp_path / name).write_text(text)
    page = watched.open("data")
    page.get_by_label("Only check").check()
    page.locator("#file").set_input_files(tmp_path / name)
    report = page.locator(".card", has_text=f"Check of {name}")
    expect(report).to_contain_text("Would be taken")
    expect(report.locator("tbody tr")).to_have_count(1)
    assert page.request.get(f"{watched.url}/courses/checked-1").status == 404


def test_an_export_comes_back(watched: Watched) -> None:
    page = watched.open("data")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save courses").click()
    assert saved.value.suggested_filename == "courses.ndjson"
    lines = Path(saved.value.path()).read_text().splitlines()
    assert len(lines) >= 300
    assert "course_id" in json.loads(lines[0])
