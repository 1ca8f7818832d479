"""``coursegraph demo``: `up` with a generated catalogue, a first model, and what three people are recommended."""

import os
from pathlib import Path

import click

from app.cli.catalogue import generate_catalogue
from app.cli.client import Client
from app.cli.story import tell
from app.cli.up import run_up
from app.settings import load_settings, own_key

# The demo keeps apart from real data, and its output is for reading; what is set in the environment goes first.
DEFAULTS = {"MONGODB_DATABASE": "coursegraph_demo", "COURSEGRAPH_LOG_LEVEL": "warning"}


@click.command("demo")
@click.option("--once", is_flag=True, help="End after the recommendations instead of serving on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the API.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option(
    "--data-dir",
    default=Path(".coursegraph/demo"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the embedded MongoDB and fetched models are kept; a second demo reuses them.",
)
@click.option("--users", default=2_000, show_default=True, type=click.IntRange(1, 100_000), help="People to generate.")
@click.option("--interactions", default=30_000, show_default=True, type=click.IntRange(1), help="1 to 20 a person.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Start of the generator.")
def demo_command(*, once: bool, host: str, port: int, data_dir: Path, users: int, interactions: int, seed: int) -> None:
    """Run `up`, load a generated catalogue through the HTTP API, train once, and print recommendations.

    Uses MONGODB_URI when it is set (database coursegraph_demo unless MONGODB_DATABASE is set, too).
    """
    if not users <= interactions <= 20 * users:
        raise click.BadParameter(f"wanted {users} to {20 * users}, 1 to 20 a person", param_hint="--interactions")
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)

    def then(url: str) -> bool:
        with Client(url, key=own_key(load_settings())) as client:
            tell(client, url, generate_catalogue(seed=seed, n_users=users, n_interactions=interactions))
        if not once:
            click.echo("Serving until interrupted (Ctrl-C).")
        return not once

    run_up(host, port, data_dir, workers=1, then=then)
