"""``coursegraph backup`` and ``coursegraph restore``: all that is stored, into a directory and back."""

import asyncio
import sys
import time
from pathlib import Path

import click

from app.cli.database import database_uri
from app.cli.transfer import data_dir_option
from app.settings import Settings, load_settings
from app.store.backup import Backup, back_up, read_backup, restore, verify
from app.store.client import open_database, prepare_database


@click.command("backup")
@click.argument("target", type=click.Path(path_type=Path))
@data_dir_option
def backup_command(*, target: Path, data_dir: Path | None) -> None:
    """Write all that is stored, models too, into the new directory TARGET; services may go on meanwhile.

    All of it is as it was at one moment.  manifest.json counts the documents of each collection and has their SHA-256.
    """
    settings = load_settings()
    started = time.monotonic()
    with database_uri(settings, data_dir) as uri:
        _print(back_up(uri, settings.mongodb_database, target, _tell), "written to", target, started)


@click.command("restore")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@data_dir_option
@click.option("--check", is_flag=True, help="Only verify the backup; no database is needed.")
def restore_command(*, source: Path, data_dir: Path | None, check: bool) -> None:
    """Verify the backup in SOURCE and write it into a database that holds no data yet.

    What is there afterwards is read again and compared.  A backup of an older release is brought up to date.
    """
    started = time.monotonic()
    if check:
        backup = read_backup(source)
        verify(source, backup)
        _print(backup, "verified in", source, started)
        return
    settings = load_settings()
    with database_uri(settings, data_dir) as uri:
        backup = restore(uri, settings.mongodb_database, source, _tell)
        asyncio.run(_prepare(settings, uri))
    _print(backup, "restored from", source, started)


async def _prepare(settings: Settings, uri: str) -> None:
    """Indexes and migrations, as any process does at its start."""
    async with open_database(
        uri,
        settings.mongodb_database,
        timeout_seconds=settings.database_timeout_seconds,
        app_name="coursegraph restore",
    ) as db:
        await prepare_database(db)


def _tell(collection: str, documents: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r  {collection}: {documents:,} more documents\033[K", err=True, nl=False)


def _print(backup: Backup, done: str, place: Path, started: float) -> None:
    if sys.stderr.isatty():
        click.echo("\r\033[K", err=True, nl=False)
    for name, part in backup.collections.items():
        click.echo(f"  {name:<20} {part.documents:>12,} documents  sha256 {part.sha256[:16]}")
    documents = sum(part.documents for part in backup.collections.values())
    click.echo(f"{documents:,} documents {done} {place} in {time.monotonic() - started:.1f} s")
