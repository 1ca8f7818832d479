"""``coursegraph shard``: divide the collections among the shards of a cluster."""

import asyncio
import json

import click

from app.cli.database import database_uri
from app.settings import Settings, load_settings
from app.store.client import open_database, prepare_database
from app.store.sharding import SHARD_KEYS, shard, shard_commands


@click.command("shard")
@click.option("--dry-run", is_flag=True, help="Only print what mongosh would be told; no database is needed.")
def shard_command(*, dry_run: bool) -> None:
    """Divide users, interactions, answers and files of models among the shards of a cluster.

    MONGODB_URI must name one router (mongos).  What is divided already stays as it is; services may go on meanwhile.
    """
    settings = load_settings()
    if dry_run:
        for command in shard_commands(settings.mongodb_database):
            click.echo(f"db.adminCommand({json.dumps(command)})")
        return
    with database_uri(settings, None) as uri:
        divided = asyncio.run(_shard(settings, uri))
    for collection, key in SHARD_KEYS.items():
        state = "is divided now" if collection in divided else "was divided before"
        click.echo(f"{settings.mongodb_database}.{collection} {state}, by {json.dumps(key)}")


async def _shard(settings: Settings, uri: str) -> list[str]:
    async with open_database(
        uri,
        settings.mongodb_database,
        timeout_seconds=settings.database_timeout_seconds,
        app_name="coursegraph shard",
    ) as db:
        await prepare_database(db)
        return await shard(db)
