"""``coursegraph import`` and ``coursegraph export``: files of rows straight into and out of the database."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TextIO

import click

from app.cli.database import database_uri
from app.cli.files import CONSOLE, FORMATS, Format, RowFile, format_of, row_writer
from app.cli.gorse import GorseLoader, gorse_files
from app.cli.loading import SHOWN, Loader, Tally
from app.cli.tables import TABLES
from app.errors import ImportFileError
from app.settings import Settings, load_settings
from app.store.client import open_database, prepare_database
from app.store.courses import CourseStore
from app.store.interactions import InteractionStore
from app.store.users import UserStore

PROGRESS_ROWS = 1_000  # between two moves of the bar of an export
STORES: dict[str, type[UserStore | CourseStore | InteractionStore]] = {
    "users": UserStore,
    "courses": CourseStore,
    "interactions": InteractionStore,
}

kinds = click.Choice(list(TABLES))
kind_argument = click.argument("kind", type=kinds)
format_option = click.option(
    "--format", "format_", type=click.Choice(FORMATS), help="Format of the files; by default their names tell."
)
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data directory of `coursegraph up`; used when MONGODB_URI is not set.",
)


@click.command("import")
@click.argument("kind", required=False, metavar="[" + "|".join(TABLES) + "]")
@click.argument("files", nargs=-1, type=click.Path(allow_dash=True, path_type=Path))
@click.option(
    "--from-gorse",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Instead of a kind: files that Gorse has exported (JSON lines of users, items or feedback); their rows tell.",
)
@format_option
@data_dir_option
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write all rejected rows here, NDJSON.")
@click.option(
    "--on-error",
    type=click.Choice(["skip", "abort"]),
    default="skip",
    show_default=True,
    help="skip: load the good rows; abort: check all files first, and load nothing if any row is bad.",
)
@click.option("--dry-run", is_flag=True, help="Check the files and write nothing.")
@click.option(
    "--auto-create/--no-auto-create",
    default=True,
    show_default=True,
    help="Create unknown users and courses of interactions, or reject such rows.",
)
@click.option("--ignore-unknown-columns", is_flag=True, help="Skip CSV columns that are no field.")
@click.pass_context
def import_command(
    context: click.Context,
    *,
    kind: str | None,
    files: Sequence[Path],
    from_gorse: Path | None,
    format_: Format | None,
    data_dir: Path | None,
    report: Path | None,
    on_error: Literal["skip", "abort"],
    dry_run: bool,
    auto_create: bool,
    ignore_unknown_columns: bool,
) -> None:
    """Load users, courses or interactions from CSV or NDJSON files, plain or .gz; - is standard input.

    `import users FILE...`, or `import --from-gorse FILE...`.  A row that is there already is updated, so a file may be
    loaded again.  Ends with exit code 1 if a row was rejected.

    CSV needs a header with names of fields.  Lists are JSON or a|b|c, features JSON or numbers between spaces,
    interests JSON or tag:weight|tag, attributes JSON; an empty cell is an absent value.
    """
    settings = load_settings()
    if from_gorse is not None:
        loading = gorse_files([from_gorse, *([] if kind is None else [Path(kind)]), *files])
    else:
        if kind is None or not files:
            raise click.MissingParameter(ctx=context, param_hint="kind and files", param_type="argument")
        kind = kinds.convert(kind, None, context)
        table = TABLES[kind]
        loading = {
            kind: [
                RowFile(path, format_of(path, format_), table, ignore_unknown_columns=ignore_unknown_columns)
                for path in files
            ]
        }
    loader_class = Loader if from_gorse is None else GorseLoader
    check_first = on_error == "abort" and not dry_run
    if check_first and CONSOLE in files:
        raise ImportFileError("-: --on-error abort reads twice, which standard input cannot; give a file")

    async def run(uri: str) -> int:
        async with open_database(
            uri,
            settings.mongodb_database,
            timeout_seconds=settings.database_timeout_seconds,
            app_name="coursegraph import",
        ) as db:
            await prepare_database(db)
            loaders = [
                (loader_class(name, db, settings.interaction_weights, auto_create=auto_create), some)
                for name, some in loading.items()
            ]
            if check_first and (n_rejected := await _load_all(loaders, report, write=False)):
                click.echo(f"{', '.join(loading)}: nothing was written, as {n_rejected} rows were rejected")
                return n_rejected
            return await _load_all(loaders, report, write=not dry_run)

    with database_uri(settings, data_dir) as uri:
        if asyncio.run(run(uri)):
            sys.exit(1)


@click.command("export")
@kind_argument
@click.argument("file", default=CONSOLE, type=click.Path(allow_dash=True, path_type=Path))
@format_option
@data_dir_option
def export_command(*, kind: str, file: Path, format_: Format | None, data_dir: Path | None) -> None:
    """Write all users, courses or interactions to a CSV or NDJSON file, plain or .gz; - is standard output.

    `coursegraph import` and `POST` take it back unchanged.
    """
    settings = load_settings()
    file_format = format_of(file, format_, default="ndjson")
    with database_uri(settings, data_dir) as uri:
        asyncio.run(_export(settings, uri, kind, file, file_format))


async def _load_all(loaders: Sequence[tuple[Loader, Sequence[RowFile]]], report: Path | None, *, write: bool) -> int:
    """Load the files of each kind, or only check them; how many rows were rejected."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(report.open("w", encoding="utf-8")) if report else None
        return sum([(await _load(loader, files, file, write=write)).rejected for loader, files in loaders])


async def _load(loader: Loader, files: Sequence[RowFile], report: TextIO | None, *, write: bool) -> Tally:
    """Load the files, or only check them, and say what became of the rows, also of those before an error."""
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        tally = Tally(report)
        stack.callback(lambda: _print(loader.kind, tally, time.monotonic() - started, write=write))
        size = sum(file.size for file in files)
        label = f"{'Loading' if write else 'Checking'} {loader.kind}"
        bar = stack.enter_context(click.progressbar(length=size, label=label, file=sys.stderr))

        def tell() -> None:
            bar.update(sum(file.position for file in files) - bar.pos)

        for file in files:
            await loader.load(file, tally, write=write, tell=tell)
    return tally


def _print(kind: str, tally: Tally, seconds: float, *, write: bool) -> None:
    for line in tally.shown:
        click.echo(line, err=True)
    if tally.rejected > SHOWN:
        click.echo(f"... and {tally.rejected - SHOWN} more; --report FILE names all of them", err=True)
    rows = tally.accepted + tally.rejected
    if write:
        kept = f"{tally.created:,} created, {tally.updated:,} updated, {tally.unchanged:,} unchanged"
        outcome = f"{tally.accepted:,} accepted ({kept}), {tally.rejected:,} rejected"
    else:
        outcome = f"checked only: {tally.accepted:,} acceptable, {tally.rejected:,} rejected"
    click.echo(f"{kind}: {rows:,} rows, {outcome}; {seconds:.1f} s, {rows / max(seconds, 1e-9):,.0f} rows/s")


async def _export(settings: Settings, uri: str, kind: str, path: Path, file_format: Format) -> None:
    timeout_seconds = settings.database_timeout_seconds
    async with open_database(
        uri, settings.mongodb_database, timeout_seconds=timeout_seconds, app_name="coursegraph export"
    ) as db:
        store = STORES[kind](db)
        n_rows = await store.count()
        with (
            click.progressbar(length=n_rows, label=f"Writing {kind}", file=sys.stderr) as bar,
            row_writer(path, file_format, TABLES[kind]) as write,
        ):
            written = 0
            async for record in store.stream():
                write(record)
                written += 1
                if written % PROGRESS_ROWS == 0:
                    bar.update(PROGRESS_ROWS)
            bar.update(written % PROGRESS_ROWS)
    click.echo(f"{kind}: {written:,} rows written to {path}", err=True)
