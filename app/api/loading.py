"""From a published model to what serves it; files are read and hashed in threads."""

import asyncio
from pathlib import Path

from app.artifact.arrays import USER_FILES
from app.artifact.load import load_artifact
from app.errors import ArtifactError
from app.serving.index import ServingIndex
from app.serving.listing import Interaction, ListingReader
from app.serving.overlay import Overlay
from app.store.client import Database, cluster_time
from app.store.interactions import InteractionStore
from app.store.model_cache import discard
from app.store.models import ModelStore
from app.store.users import UserStore

LISTED_ROWS = 10_000  # interactions compared with a model at once, which takes 5 ms


async def load_model(models: ModelStore, model_id: str, cache: Path, users_held: int | None = None) -> ServingIndex:
    """The index of a model, fetched anew if the files on this machine are damaged.

    users_held: so many users alone, the first; None: all.

    Raises UnknownModelError, ArtifactError, OSError, or one of UNAVAILABLE_ERRORS.
    """
    without = USER_FILES if users_held == 0 else ()
    directory = await models.fetch(model_id, cache, without)
    try:
        return await asyncio.to_thread(_read, directory, users_held)
    except ArtifactError:
        await asyncio.to_thread(discard, directory)
    directory = await models.fetch(model_id, cache, without)
    try:
        return await asyncio.to_thread(_read, directory, users_held)
    except ArtifactError:
        await asyncio.to_thread(discard, directory)
        raise


def _read(directory: Path, users_held: int | None) -> ServingIndex:
    return ServingIndex.from_artifact(load_artifact(directory, users_held))


async def overlay_of_present_state(db: Database, index: ServingIndex) -> Overlay:
    """What differs now from what the model has seen, for when the changes since are no longer to be had."""
    position = await cluster_time(db)
    reader, rows = ListingReader(index), list[Interaction]()
    if not len(index.users) and index.is_partial:
        return reader.finish(position)  # of nobody is it known what the model has seen
    async for row in InteractionStore(db).stream():
        rows.append((row.user_id, row.course_id, row.type))
        if len(rows) == LISTED_ROWS:
            reader.add(rows)
            rows.clear()
    reader.add(rows)
    user_ids = [user.user_id async for user in UserStore(db).stream() if user.user_id in index.users]
    return reader.finish(position, user_ids)
