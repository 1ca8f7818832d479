"""The command line: one module a command, imported when it is called, so that `serve` never loads torch."""

import importlib
import sys
from typing import NoReturn

import click

from app import __version__
from app.errors import CourseGraphError, MissingExtraError

EXTRAS = dict.fromkeys(("torch", "scipy", "sklearn", "matplotlib", "networkx"), "train")  # extras by package

COMMANDS = {
    # name: (module, one line for --help)
    "up": ("up", "Run API, worker and an embedded MongoDB under one parent."),
    "demo": ("demo", "Run `up` with a generated catalogue and print recommendations."),
    "serve": ("serve", "Run the HTTP API."),
    "work": ("work", "Run the background worker that retrains."),
    "train": ("train", "Train one model now, in the foreground."),
    "evaluate": ("evaluate", "Show how good the model is on a public data set in a folder."),
    "import": ("transfer", "Load users, courses or interactions from CSV or NDJSON files."),
    "export": ("transfer", "Write users, courses or interactions to a CSV or NDJSON file."),
    "backup": ("backup", "Write all that is stored into a directory, while services go on."),
    "restore": ("backup", "Verify a backup and write it into an empty database."),
    "shard": ("shard", "Divide the collections among the shards of a cluster."),
    "plot": ("plot", "Write a picture of the served model: graph, loss or embeddings."),
    "keys": ("keys", "Make, list, rotate and revoke the keys of callers."),
    "settings": ("settings", "List every setting with its value, default and meaning."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command object; module ``x`` keeps command ``name`` in ``name_command``."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"app.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="coursegraph")
def group() -> None:
    """CourseGraph: a recommender service for courses."""


def main() -> None:
    """Run the command line; an error of ours is one sentence on stderr and exit code 1."""
    try:
        group(prog_name="coursegraph")
    except CourseGraphError as error:
        _end(error)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        _end(MissingExtraError(error.name, EXTRAS[error.name]))


def _end(error: CourseGraphError) -> NoReturn:
    click.echo(f"coursegraph: {error}", err=True)
    sys.exit(1)
