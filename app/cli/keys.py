"""``coursegraph keys``: make, list, rotate and revoke the keys of callers."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from app.cli.database import database_uri
from app.domain.api_keys import KeyScope, StoredKey
from app.settings import Settings, load_settings
from app.store.api_keys import KeyStore
from app.store.client import open_database, prepare_database

T = TypeVar("T")
HEADINGS = ["id", "scope", "state", "created", "last used", "name"]

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data directory of `coursegraph up`; used when MONGODB_URI is not set.",
)


@click.group("keys")
def keys_command() -> None:
    """Make, list, rotate and revoke the keys of callers, who give theirs in the header X-API-Key.

    Running services know a change within a second.
    """


@keys_command.command("create")
@click.option("--name", required=True, help="Whose key it is, for `keys list`.")
@click.option(
    "--scope",
    type=click.Choice([scope.name for scope in KeyScope]),
    default=KeyScope.read.name,
    show_default=True,
    help="What it may do: ask; also change data; also train and choose the model.",
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Days until it expires; never without.")
@data_dir_option
def create_command(name: str, scope: str, days: float | None, data_dir: Path | None) -> None:
    """Make a key and print it.  It is shown this once: what is stored cannot be turned back into it."""
    lifetime = None if days is None else timedelta(days=days)
    key, stored = _with_store(data_dir, lambda store: store.create(name, KeyScope[scope], lifetime))
    _show(key, stored)


@keys_command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@data_dir_option
def list_command(as_json: bool, data_dir: Path | None) -> None:
    """List every key with its scope, state and last use, which is noted every half minute."""
    now = datetime.now(UTC)
    rows = [_row(key, now) for key in _with_store(data_dir, lambda store: store.all())]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    table = [HEADINGS, *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@keys_command.command("rotate")
@click.argument("key_id")
@click.option(
    "--overlap-hours",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    help="How long the old key goes on working, so that its holder can change over.",
)
@data_dir_option
def rotate_command(key_id: str, overlap_hours: float, data_dir: Path | None) -> None:
    """Make a key with the name and scope of another and print it; the other one ends after a while."""
    key, stored = _with_store(data_dir, lambda store: store.rotate(key_id, timedelta(hours=overlap_hours)))
    _show(key, stored)


@keys_command.command("revoke")
@click.argument("key_id")
@data_dir_option
def revoke_command(key_id: str, data_dir: Path | None) -> None:
    """End a key at once.  A service whose last key is revoked answers nobody."""
    stored = _with_store(data_dir, lambda store: store.revoke(key_id))
    click.echo(f"Key {stored.key_id} ({stored.name}) is revoked.")


def _show(key: str, stored: StoredKey) -> None:
    """The key alone on stdout, so that it can be piped to where it belongs."""
    click.echo(f"Key {stored.key_id}, scope {stored.scope.name}. It is not shown again:", err=True)
    click.echo(key)


def _row(key: StoredKey, now: datetime) -> dict[str, Any]:
    if key.revoked_at is not None:
        state = "revoked"
    elif key.is_valid(now):
        state = "valid" if key.expires_at is None else f"valid until {_time(key.expires_at)}"
    else:
        state = "expired"
    return {
        "id": key.key_id,
        "scope": key.scope.name,
        "state": state,
        "created_at": _time(key.created_at),
        "last_used_at": None if key.last_used_at is None else _time(key.last_used_at),
        "name": key.name,
    }


def _cell(value: str | None) -> str:
    return "never" if value is None else value


def _time(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def any_valid(settings: Settings, data_dir: Path | None) -> bool:
    """Whether somebody has a key.  Raises UnavailableError, SettingError, EmbeddedDatabaseError."""
    now = datetime.now(UTC)
    return any(key.is_valid(now) for key in _with_store(data_dir, lambda store: store.all(), settings))


def _with_store(
    data_dir: Path | None, work: Callable[[KeyStore], Coroutine[Any, Any, T]], settings: Settings | None = None
) -> T:
    settings = settings or load_settings()

    async def run(uri: str) -> T:
        async with open_database(
            uri,
            settings.mongodb_database,
            timeout_seconds=settings.database_timeout_seconds,
            app_name="coursegraph-keys",
        ) as db:
            await prepare_database(db)
            return await work(KeyStore(db))

    with database_uri(settings, data_dir) as uri:
        return asyncio.run(run(uri))
