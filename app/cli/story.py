"""What the demo does with a running service: load a generated catalogue, train once, show what people get."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import click

from app.cli.catalogue import Catalogue, Row
from app.cli.client import Client, await_model, follow_run, request_run, send_rows
from app.errors import ServiceError

PEOPLE_SHOWN = 3
COURSES_SHOWN = 5


def tell(client: Client, url: str, catalogue: Catalogue) -> None:
    """All of it, or only what an earlier demo on the same data left undone.

    Raises ServiceError when the service refuses something or the training gives no model.
    """
    if _is_loaded(client, catalogue):
        click.echo("The generated catalogue of an earlier demo is there already: reusing it.")
    else:
        _load(client, catalogue)
    if (model := client.call("GET", "/models/current")).status == 200:
        click.echo(f"Model {model.body['model_id']} of an earlier demo is there already: reusing it.")
    else:
        await_model(client, _train(client), catalogue.users[0]["user_id"])
    people = _choose(catalogue)
    _show(client, catalogue, people)
    _point(url, people[0])


def _is_loaded(client: Client, catalogue: Catalogue) -> bool:
    """The newest interaction is sent last, so where it is, all of the catalogue is."""
    last = catalogue.interactions[-1]
    query = urlencode({key: last[key] for key in ("user_id", "course_id", "type")})
    return bool(client.get(f"/interactions?{query}")["items"])


def _load(client: Client, catalogue: Catalogue) -> None:
    click.echo("Loading a generated catalogue through the HTTP API; none of these people and courses exist.")
    for path, rows in (
        ("/courses", catalogue.courses),
        ("/users", catalogue.users),
        ("/interactions", catalogue.interactions),
    ):
        label = f"{len(rows):7,} {path[1:]:<12}"
        with click.progressbar(length=len(rows), label=label) as bar:
            for sent in send_rows(client, path, rows):
                bar.update(sent)


def _train(client: Client) -> str:
    run = _follow(client, request_run(client))
    if run["status"] != "succeeded":
        reason = (run["error"] or {}).get("detail", f"metrics {run['metrics']}")
        raise ServiceError("training", f"{run['status']}: {reason}")
    metrics = run["metrics"] or {}
    recalls = ", ".join(f"{name} {values['recall@20']:.3f}" for name, values in metrics.items())
    click.echo(f"Model {run['model_id']} on {run['device']}. Recall@20 on held-out interactions: {recalls}.")
    return str(run["model_id"])


def _follow(client: Client, run_id: str) -> Row:
    """The ended run; a progress bar on the way."""
    with click.progressbar(
        length=1,
        label="        training    ",
        show_eta=False,  # epochs get quicker and an early stop is likely
        item_show_func=lambda loss: loss and f"loss {loss:.4f}",
    ) as bar:
        run: Row = {}
        for run in follow_run(client, run_id):
            if progress := run["progress"]:
                bar.length = progress["epochs"]
                bar.update(progress["epoch"] - bar.pos, progress["loss"])
        bar.update((bar.length or 0) - bar.pos)  # an early stop ends it, too
    return run


def _choose(catalogue: Catalogue) -> list[Row]:
    """Three people with different main interests and a handful of courses each."""
    taken: dict[str, set[str]] = {}
    for row in catalogue.interactions:
        taken.setdefault(row["user_id"], set()).add(row["course_id"])
    category = {course["tags"][0]: course["categories"][0] for course in catalogue.courses}
    chosen: dict[str, Row] = {}
    for user in catalogue.users:
        main = category[next(iter(user["interests"]))]
        if 4 <= len(taken.get(user["user_id"], ())) <= 8:
            chosen.setdefault(main, user)
        if len(chosen) == PEOPLE_SHOWN:
            break
    return list(chosen.values()) or catalogue.users[:1]


def _show(client: Client, catalogue: Catalogue, people: Sequence[Row]) -> None:
    courses = {course["course_id"]: course for course in catalogue.courses}
    for user in people:
        path = quote(user["user_id"], safe="")
        answer = client.get(f"/recommendations/{path}?n={COURSES_SHOWN}")
        taken = client.get(f"/users/{path}/interactions?limit=100")["items"]
        click.echo()
        click.secho(f"{user['user_id']} likes {', '.join(user['interests'])}", bold=True)
        for line in _history(taken, courses):
            click.echo(f"  took         {line}")
        for item in answer["items"]:
            click.echo(f"  recommended  {item['percent']:4.1f} %  {_name(item['course_id'], courses)}")


def _history(taken: Sequence[Row], courses: dict[str, Row]) -> Iterator[str]:
    """Courses in the order in which they were begun, with everything that was done with each."""
    steps: dict[str, list[str]] = {}
    for row in reversed(taken):
        steps.setdefault(row["course_id"], []).append(row["type"])
    for course_id, types in steps.items():
        yield f"{_name(course_id, courses)} ({', '.join(types)})"


def _name(course_id: str, courses: dict[str, Row]) -> str:
    course: Row | None = courses.get(course_id)
    return f"{course['title']}, {course['level']}" if course else course_id


def _point(url: str, user: dict[str, Any]) -> None:
    click.echo()
    click.echo(f"API and documentation  {url}/docs")
    click.echo(f"Recommendations        {url}/recommendations/{user['user_id']}")
