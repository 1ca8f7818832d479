#!/usr/bin/env python3
"""How soon the page can be used and how smoothly the map pans, in headless Chromium without a GPU.

Needs a running service, such as the demo's:  scripts/bench page --url http://127.0.0.1:8000
"""

import json
import random
import statistics
import sys
from pathlib import Path
from typing import Any

import click
from playwright.sync_api import Browser, Route, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.browser import chromium

PAN_SECONDS = 4
# Pans by a few pixels in every frame, as a hand does, and gives the milliseconds between frames.
PAN = """
async seconds => {
  const canvas = document.querySelector(".plot canvas");
  const box = canvas.getBoundingClientRect();
  const send = (type, x, y) => canvas.dispatchEvent(new PointerEvent(type, { pointerId: 1, clientX: x, clientY: y }));
  canvas.setPointerCapture = () => {};
  let x = box.left + 300, step = 5;
  send("pointerdown", x, box.top + 300);
  const times = [], start = performance.now();
  let last = start;
  while (last - start < seconds * 1000) {
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    times.push(now - last);
    last = now;
    if (x > box.left + 500 || x < box.left + 200) step = -step;
    send("pointermove", x += step, box.top + 300 + (x % 40));
  }
  send("pointerup", x, box.top + 300);
  return times.slice(5);
}
"""


@click.command()
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Address of a running service.")
@click.option(
    "--points", default=50_000, show_default=True, type=click.IntRange(10), help="On the map, one in 16 a course."
)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="First views.")
def main(url: str, points: int, rounds: int) -> None:
    """Print milliseconds until the overview shows numbers, and frames a second of the map while it is dragged."""
    with sync_playwright() as playwright, chromium(playwright) as browser:
        views = [first_view(browser, url) for _ in range(rounds)]
        print(f"first view, nothing cached: {statistics.median(views):.0f} ms")
        print(f"  of {rounds}: {min(views):.0f} to {max(views):.0f} ms")
        frames = pan(browser, url, points)
        slowest = sorted(frames)[int(0.95 * len(frames))]
        print(f"map of {points:,} points, dragged: {1000 / statistics.fmean(frames):.0f} frames a second")
        print(f"  19 of 20 frames within {slowest:.0f} ms")


def first_view(browser: Browser, url: str) -> float:
    """Milliseconds from the navigation to the counts and the model's bars."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.goto("about:blank")
        page.goto(f"{url}/", wait_until="commit")
        page.wait_for_selector(".tile-value")
        elapsed: float = page.evaluate("() => performance.now()")
        return elapsed


def pan(browser: Browser, url: str, points: int) -> list[float]:
    """Milliseconds between frames."""
    body = json.dumps(cloud(points))

    def answer(route: Route) -> None:
        route.fulfill(body=body, content_type="application/json")

    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.route("**/pictures/embeddings.json*", answer)
        page.goto(f"{url}/#/map")
        page.wait_for_selector(".map-label")
        times: list[float] = page.evaluate(PAN, PAN_SECONDS)
        return times


def cloud(points: int) -> dict[str, Any]:
    """Points of a map with normally distributed places."""
    rng = random.Random(0)  # noqa: S311 - equal places every time
    n_courses = points // 16

    def columns(n: int, prefix: str) -> dict[str, Any]:
        places = [[round(rng.gauss(0, 1), 4) for _ in range(n)] for _ in "xy"]
        return {"ids": [f"{prefix}{row}" for row in range(n)], "x": places[0], "y": places[1]}

    courses = columns(n_courses, "course-")
    return {
        "model_id": "m-000001",
        "n_users": points - n_courses,
        "n_courses": n_courses,
        "explained_variance": [0.3, 0.1],
        "users": columns(points - n_courses, "user-"),
        "courses": {
            **courses,
            "titles": [f"A course about subject {row}" for row in range(n_courses)],
            "categories": [[f"Category {row % 12}"] for row in range(n_courses)],
        },
    }


if __name__ == "__main__":
    main()
