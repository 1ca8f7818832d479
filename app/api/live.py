"""What this process serves from: kept in step with the database by one background task."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from app.artifact.load import load_artifact
from app.domain.changes import (
    Change,
    CourseChanged,
    CurrentModelChanged,
    InteractionChanged,
    UserChanged,
)
from app.errors import ArtifactError, ChangeHistoryLostError, UnavailableError, UnknownModelError
from app.serving.catalogue import Catalogue
from app.serving.current import CurrentIndex
from app.serving.index import ServingIndex
from app.serving.listing import Interaction, ListingReader
from app.serving.live import LiveModel, rank_popular
from app.serving.options import Options, RankedList
from app.store.changes import follow
from app.store.client import UNAVAILABLE_ERRORS, Database, cluster_time, prepare_database
from app.store.courses import CourseStore
from app.store.interactions import InteractionStore
from app.store.model_cache import discard
from app.store.models import ModelStore
from app.store.users import UserStore
from app.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0  # between tries to begin while the database is away
COUNTS_SECONDS = 2.0  # how old the counts of takers may be before the first model
LISTED_ROWS = 10_000  # interactions compared with a model at once
SILENCE_SECONDS = 5.0  # an idle stream is heard of twice a second; longer silence is a problem

USER_KINDS = (InteractionChanged, UserChanged)
KINDS = (*USER_KINDS, CourseChanged, CurrentModelChanged)


class Live:
    """The current model and catalogue, and how well they are kept up; ``run`` does the keeping."""

    def __init__(self, db: Database, cache: Path, counted_types: Iterable[str], metrics: Metrics) -> None:
        self._db, self._cache, self._metrics = db, cache, metrics
        self._counted_types = frozenset(counted_types)
        self._models, self._interactions = ModelStore(db), InteractionStore(db)
        self._current: CurrentIndex | None = None
        self._swapping: asyncio.Task[None] | None = None
        self._model_problem: str | None = None
        self._problem = "starting"
        self._connected = False
        self._heard = time.monotonic()
        self._counts: dict[str, int] = {}
        self._counted = -COUNTS_SECONDS

    # --- asked by requests

    async def recommend(self, user_id: str, options: Options) -> RankedList:
        """A list for a user; from memory as soon as there is a model.  Raises UnavailableError while starting."""
        current = self._ready()
        if current.model is not None:
            return current.model.recommend(user_id, options)
        seen = await self._interactions.seen_by(user_id)
        return rank_popular(current.catalogue, await self._takers(), seen, options)

    async def popular(self, options: Options) -> RankedList:
        """Most taken courses.  Raises UnavailableError while starting."""
        current = self._ready()
        if current.model is not None:
            return current.model.popular(options)
        return rank_popular(current.catalogue, await self._takers(), (), options)

    def apply_local(self, changes: Iterable[Change]) -> None:
        """Know a write of this process at once."""
        if self._current is not None:
            self._current.apply_local(changes)

    def checks(self) -> dict[str, str]:
        """Named checks of readiness: ``ok`` or what is wrong."""
        silent = time.monotonic() - self._heard
        connected = self._connected and silent < SILENCE_SECONDS
        return {
            "database": "ok" if connected else self._problem,
            "change_stream": "ok" if connected else f"not heard of for {silent:.1f} s",
            "model": self._model_problem or "ok",
        }

    def lag_seconds(self) -> float:
        """Age of what is known of other processes' writes."""
        return time.monotonic() - self._heard

    def _ready(self) -> CurrentIndex:
        if self._current is None:
            raise UnavailableError(f"the service is starting: {self._problem}")
        return self._current

    async def _takers(self) -> dict[str, int]:
        if time.monotonic() - self._counted > COUNTS_SECONDS:
            self._counts = dict(await self._interactions.popularity(self._counted_types))
            self._counted = time.monotonic()
        return self._counts

    # --- keeping up

    async def run(self) -> None:
        """Begin as soon as the database is there, and follow its changes until cancelled."""
        try:
            while True:
                try:
                    await prepare_database(self._db)
                    current = await self._begin()
                    await self._follow(current)
                except ChangeHistoryLostError:
                    log.warning("more changed than the oplog holds; reading the present state")
                    self._metrics.history_lost.inc()
                except UNAVAILABLE_ERRORS as error:
                    self._problem = f"MongoDB does not answer ({type(error).__name__})"
                    self._connected = False
                    log.warning("%s", self._problem)
                    await asyncio.sleep(RETRY_SECONDS)
        except Exception as error:
            self._problem = f"{type(error).__name__}: {error}"
            log.exception("the service cannot keep up with the database")
            raise
        finally:
            await self._stop_swapping()

    async def _begin(self) -> CurrentIndex:
        """The present state; what is served until then stays."""
        await self._stop_swapping()
        position = await cluster_time(self._db)
        current = CurrentIndex(Catalogue([course async for course in CourseStore(self._db).facts()], position))
        model_id = await self._models.current()
        if model_id is not None:
            await self._swap(current, model_id)
        self._current = current
        return current

    async def _follow(self, current: CurrentIndex) -> None:
        async with contextlib.aclosing(follow(self._db, current.position, kinds=KINDS)) as batches:
            async for batch in batches:
                self._connected = batch.connected
                if not batch.connected:
                    self._problem = "MongoDB does not answer"
                    continue
                current.apply(batch)
                if batch.caught_up:
                    self._heard = time.monotonic()
                for change in batch:
                    if isinstance(change, CurrentModelChanged):
                        await self._stop_swapping()
                        self._swapping = asyncio.create_task(self._swap(current, change.model_id))

    async def _swap(self, current: CurrentIndex, model_id: str) -> None:
        """Load a model aside and serve it; if that cannot be, the old one stays and the checks say so."""
        if current.model is not None and current.model.index.model_id == model_id:
            return
        began = time.monotonic()
        while True:
            try:
                index = await self._load(model_id)
                model = await self._replayed(index, current)
                break
            except UNAVAILABLE_ERRORS:
                await asyncio.sleep(RETRY_SECONDS)
            except (ArtifactError, UnknownModelError, OSError) as error:
                self._model_problem = f"model {model_id} cannot be served: {error}"
                self._metrics.model_failures.inc()
                log.error("%s", self._model_problem)
                return
        current.swap(model)
        self._model_problem = None
        self._metrics.model.clear()
        self._metrics.model.labels(model_id).set(1)
        log.info("model %s is served, %.2f s after it was heard of", model_id, time.monotonic() - began)

    async def _load(self, model_id: str) -> ServingIndex:
        directory = await self._models.fetch(model_id, self._cache)
        try:
            artifact = await asyncio.to_thread(load_artifact, directory)
        except ArtifactError:  # damaged on this machine's disk, perhaps
            await asyncio.to_thread(discard, directory)
            directory = await self._models.fetch(model_id, self._cache)
            artifact = await asyncio.to_thread(load_artifact, directory)
        return await asyncio.to_thread(ServingIndex.from_artifact, artifact)

    async def _replayed(self, index: ServingIndex, current: CurrentIndex) -> LiveModel:
        """The model with all that changed since its snapshot, as far as ``current`` has come."""
        model = LiveModel(index, current.catalogue)
        try:
            since = index.contents.cluster_time
            async with contextlib.aclosing(follow(self._db, since, kinds=USER_KINDS)) as batches:
                async for batch in batches:
                    model.apply(batch)
                    if model.overlay.position >= current.position:
                        return model
        except ChangeHistoryLostError:
            log.warning("the oplog does not reach back to model %s; comparing all interactions", index.model_id)
        return await self._compared(index, current)

    async def _compared(self, index: ServingIndex, current: CurrentIndex) -> LiveModel:
        position = await cluster_time(self._db)
        reader, rows = ListingReader(index), list[Interaction]()
        async for row in self._interactions.stream():
            rows.append((row.user_id, row.course_id, row.type))
            if len(rows) == LISTED_ROWS:
                reader.add(rows)
                rows.clear()
        reader.add(rows)
        users = [user.user_id async for user in UserStore(self._db).stream()]
        model = LiveModel(index, current.catalogue, reader.finish(position, users))
        async with contextlib.aclosing(follow(self._db, position, kinds=USER_KINDS)) as batches:
            async for batch in batches:
                model.apply(batch)
                if model.overlay.position >= current.position:
                    break
        return model

    async def _stop_swapping(self) -> None:
        if self._swapping is not None:
            self._swapping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._swapping
            self._swapping = None


@contextlib.asynccontextmanager
async def running(live: Live) -> AsyncIterator[None]:
    """Keep it up to date while the block runs."""
    task = asyncio.create_task(live.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
