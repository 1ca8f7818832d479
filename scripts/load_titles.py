#!/usr/bin/env python3
"""Load courses with titles that are hard to show (long, Chinese, Arabic, markup, none) and train, to look at the page.

Run it in the environment that scripts/setup makes, against an empty service:
.venv/bin/python scripts/load_titles.py URL --courses 3000, then scripts/screenshots.py URL FOLDER.
"""

import random
from typing import Any

import click

from app.cli.client import Client, follow_run, request_run, send_rows

TITLES = (
    "机器学习导论 - 从线性模型到深度神经网络的理论与实践",
    "مقدمة في البرمجة بلغة بايثون للمبتدئين",
    "An exceptionally long title about everything that could be said of statistics, and then some more of it",
    "Donaudampfschifffahrtsgesellschaftskapitänsausbildungsgrundlagenvorlesung",
    "<b>HTML</b> & CSS: <script> for beginners",
    "Logic",
    "日本語で学ぶデータサイエンス入門",
    None,
)
CATEGORIES = ("数据科学", "برمجة", "An unusually long name of a category of courses", "Mathematics", "Music")
TAKEN = 5  # courses a user


@click.command()
@click.argument("url")
@click.option("--courses", "n_courses", default=300, show_default=True, type=click.IntRange(1))
@click.option("--train/--no-train", default=True, show_default=True)
def main(*, url: str, n_courses: int, train: bool) -> None:
    """Fill the service at URL."""
    rng = random.Random(0)  # noqa: S311 - equal rows every time
    courses = [course(place) for place in range(n_courses)]
    n_users = max(6, n_courses // 2)
    rows = [
        {"user_id": f"user-{user:04}", "course_id": taken["course_id"]}
        for user in range(n_users)
        for taken in rng.sample(courses, min(TAKEN, max(1, n_courses - 1)))
    ]
    with Client(url) as client:
        for path, sent in (("/courses", courses), ("/interactions", rows)):
            click.echo(f"{sum(send_rows(client, path, sent)):,} rows to {path}")
        if train:
            (*_, ended) = follow_run(client, request_run(client))
            click.echo(f"run {ended['run_id']} {ended['status']}")


def course(place: int) -> dict[str, Any]:
    """A course with one of the titles; its number is in the id alone."""
    category = CATEGORIES[place % len(CATEGORIES)]
    row = {"course_id": f"course-{place:05}", "categories": [category], "level": "beginner"}
    title = TITLES[place % len(TITLES)]
    return row if title is None else {**row, "title": title}


if __name__ == "__main__":
    main()
