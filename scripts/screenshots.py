#!/usr/bin/env python3
"""Look at every view: pictures of the page of a running service, in light and dark, on a desk and on a phone.

Run it in the environment that scripts/setup makes:  .venv/bin/python scripts/screenshots.py URL FOLDER
It needs Chromium (Debian: apt-get install chromium) or CHROMIUM=/path/to/it.
"""

import sys
from io import BytesIO
from pathlib import Path
from typing import Literal

import click
from PIL import Image
from playwright.sync_api import ConsoleMessage, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.browser import chromium

SIZES = {"desk": (1280, 900), "phone": (390, 844)}
SETTLE_MS = 400  # bars move into place
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def views(user: str, course: str) -> dict[str, str]:
    """Name and address of each picture."""
    return {
        "overview": "overview",
        "recommend": f"recommend?user={user}",
        "map": f"map?user={user}",
        "map-all": "map",
        "graph": f"graph?user={user}",
        "graph-course": f"graph?course={course}",
        "training": "training",
        "data": "data",
    }


@click.command()
@click.argument("url")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--only", multiple=True, help="Only these views.")
@click.option("--size", "sizes", multiple=True, type=click.Choice(list(SIZES)), default=list(SIZES))
@click.option("--theme", "themes", multiple=True, type=click.Choice(THEMES), default=THEMES)
@click.option("--whole/--window", default=True, show_default=True, help="All of the page, or what a window shows.")
def main(
    *,
    url: str,
    folder: Path,
    only: tuple[str, ...],
    sizes: tuple[str, ...],
    themes: tuple[Literal["light", "dark"], ...],
    whole: bool,
) -> None:
    """Write PNG files of the page at URL into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, chromium(playwright) as browser:
        for size in sizes:
            width, height = SIZES[size]
            for theme in themes:
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
                page.on("console", tell)
                user, course = subjects(page, url)
                for name, address in views(user, course).items():
                    if not only or name in only:
                        shoot(
                            page,
                            f"{url}/#/{address}",
                            folder / f"{name}-{size}-{theme}.png",
                            open_first=name == "recommend",
                            whole=whole,
                        )
                page.close()


def tell(said: ConsoleMessage) -> None:
    """An error of the page is a fault to mend."""
    if said.type == "error":
        print("console:", said.text)


def subjects(page: Page, url: str) -> tuple[str, str]:
    """A user with some courses, and one of these."""
    users = page.request.get(f"{url}/users?limit=30").json()["items"]
    chosen = ("nobody", "nothing")
    for user in users:
        taken = page.request.get(f"{url}/users/{user['user_id']}/interactions").json()["items"]
        if taken:
            chosen = (user["user_id"], taken[0]["course_id"])
        if 4 <= len(taken) <= 9:
            break
    return chosen


def shoot(page: Page, address: str, target: Path, *, open_first: bool, whole: bool) -> None:
    """One view."""
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("#main:not([aria-busy]) .view-body")
    page.wait_for_load_state("networkidle")
    if open_first and page.locator(".recs button[aria-expanded]").count():
        page.locator(".recs button[aria-expanded]").first.click()
        page.wait_for_timeout(SETTLE_MS)
    page.wait_for_timeout(SETTLE_MS)
    Image.open(BytesIO(page.screenshot(full_page=whole))).convert("RGB").save(target, optimize=True)
    print(target)


if __name__ == "__main__":
    main()
