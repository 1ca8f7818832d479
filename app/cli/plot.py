"""``coursegraph plot``: a picture of the served model, or of another one, as a file."""

import asyncio
import sys
from pathlib import Path

import click

from app.cli.database import database_uri
from app.errors import NoModelError, NoPictureError
from app.settings import Settings, load_settings
from app.store.client import open_database
from app.store.models import ModelStore

FORMATS = ("svg", "png", "json")


@click.command("plot")
@click.argument("picture", type=click.Choice(["graph", "loss", "embeddings"]))
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="File to write, .svg, .png or .json; `-` for standard output.  [default: PICTURE.svg]",
)
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Format; by default the file's name tells.")
@click.option("--model", "model_id", help="Id of a model; by default the one that is served.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data directory of `coursegraph up`; used when MONGODB_URI is not set.",
)
def plot_command(
    picture: str, output: Path | None, format_: str | None, model_id: str | None, data_dir: Path | None
) -> None:
    """Write the graph, the loss curve or the embedding map of a model, as the worker drew it when it was trained."""
    target = output or Path(f"{picture}.{format_ or 'svg'}")
    suffix = target.suffix.removeprefix(".").lower()
    kind = format_ or (suffix if suffix in FORMATS else None)
    if kind is None:
        raise click.UsageError(
            f"the name {str(target)!r} tells no format; give one of {', '.join(FORMATS)} with --format"
        )
    settings = load_settings()
    with database_uri(settings, data_dir) as uri:
        content, model = asyncio.run(
            _read(settings.model_copy(update={"mongodb_uri": uri}), model_id, f"{picture}.{kind}")
        )
    if str(target) == "-":
        sys.stdout.buffer.write(content)
        return
    target.write_bytes(content)
    click.echo(f"{target}: {picture} of model {model}, {len(content):,} bytes")


async def _read(settings: Settings, model_id: str | None, name: str) -> tuple[bytes, str]:
    assert settings.mongodb_uri is not None
    async with open_database(
        settings.mongodb_uri,
        settings.mongodb_database,
        timeout_seconds=settings.database_timeout_seconds,
        app_name="coursegraph-plot",
    ) as db:
        models = ModelStore(db)
        wanted = model_id or await models.current()
        if wanted is None:
            raise NoModelError
        content = await models.file(wanted, name)
    if content is None:
        raise NoPictureError(name, f"model {wanted} was published without it")
    return content, wanted
