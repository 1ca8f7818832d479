"""What this process serves from: kept in step with the database by one background task."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from app.api.loading import load_model, overlay_of_present_state
from app.api.profiles import Profiles
from app.api.records import CourseRecords
from app.domain.changes import Change, ChangeBatch, CourseChanged, CurrentModelChanged, InteractionChanged, UserChanged
from app.errors import ArtifactError, ChangeHistoryLostError, CourseGraphError, UnavailableError, UnknownModelError
from app.memory import settle
from app.serving.catalogue import Catalogue
from app.serving.current import CurrentIndex
from app.serving.live import LiveModel
from app.store.changes import follow
from app.store.client import UNAVAILABLE_ERRORS, Database, cluster_time, prepare_database
from app.store.courses import CourseStore
from app.store.models import ModelStore
from app.store.pulse import Pulse
from app.store.users import UserStore
from app.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5  # between tries to begin while the database is away
MODEL_RETRY_SECONDS = 30.0  # between tries to load a model whose files are damaged or find no room
SILENCE_SECONDS = 5.0  # an idle stream is heard of twice a second; longer silence is a problem

USER_KINDS = (InteractionChanged, UserChanged)
KINDS = (*USER_KINDS, CourseChanged, CurrentModelChanged)


class Live:
    """The current model and catalogue, and how well they are kept up; ``run`` does the keeping."""

    def __init__(
        self, db: Database, cache: Path, metrics: Metrics, pulse: Pulse, users_held: int | None = None
    ) -> None:
        """users_held: of a model, the first; None: all."""
        self._db, self._cache, self._metrics, self._pulse, self._users_held = db, cache, metrics, pulse, users_held
        self._models = ModelStore(db)
        self.profiles = Profiles(UserStore(db), self)
        self.records = CourseRecords(CourseStore(db), self)
        self._current: CurrentIndex | None = None
        self._beginning: CurrentIndex | None = None  # takes the place of ``_current`` when it is complete
        self._swapping: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()  # the model in question is served, or it is known why it is not
        self._model_problem: str | None = None
        self._problem: str | None = "starting"
        self.stopping = False  # soon there will be nobody here to ask
        self._heard = time.monotonic()
        self.changed_at: float | None = None  # when data was last heard to have changed, seconds since 1970
        self.ready = asyncio.Event()
        self.settled = asyncio.Event()  # ready, or it is known why not
        metrics.change_stream_lag.set_function(self.lag_seconds)
        metrics.database_up.set_function(lambda: float(not self.database_gone()))
        metrics.overlay_users.set_function(self._overlay_users)

    # --- asked by requests

    def current(self) -> CurrentIndex:
        """What is served now.  Raises UnavailableError while starting."""
        if self._current is None:
            raise UnavailableError(f"the service cannot answer yet: {self._problem}")
        return self._current

    @property
    def model(self) -> LiveModel | None:
        """The model that is served now, None before there is one."""
        return None if self._current is None else self._current.model

    def apply_local(self, changes: Iterable[Change]) -> None:
        """Know writes of this process at once; each carries the cluster time that its write gave."""
        changes = list(changes)
        self.profiles.note(changes)
        self.records.note(changes)
        for current in (self._current, self._beginning):
            if current is not None:
                current.apply_local(changes)

    def checks(self) -> dict[str, str]:
        """Named checks of readiness: ``ok`` or what is wrong."""
        lag = self.lag_seconds()
        return {
            "database": self._problem or ("MongoDB does not answer" if self._pulse.is_silent() else "ok"),
            "change_stream": "ok" if lag < SILENCE_SECONDS else f"{lag:.0f} s behind what other processes wrote",
            "model": self._model_problem or "ok",
        }

    def database_gone(self) -> bool:
        """Whether the database is known not to answer."""
        return self._problem is not None or self._pulse.is_silent()

    def _overlay_users(self) -> float:
        model = None if self._current is None else self._current.model
        return 0.0 if model is None else float(len(model.overlay.touched_users()))

    def lag_seconds(self) -> float:
        """How old what is known of other processes' writes may be."""
        return time.monotonic() - self._heard

    # --- keeping up

    async def run(self) -> None:
        """Begin as soon as the database is there, and follow its changes until cancelled; whatever happens, go on."""
        try:
            while True:
                try:
                    await self._keep_up()
                except ChangeHistoryLostError as error:
                    self._metrics.history_lost.inc()
                    log.warning("changes were missed, so all is read again: %s", error)
                except UNAVAILABLE_ERRORS as error:
                    self._note_problem(f"MongoDB does not answer ({type(error).__name__})")
                except CourseGraphError as error:
                    self._note_problem(str(error))
                except Exception as error:
                    log.exception("following the database failed; trying again")
                    self._note_problem(f"{type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            await self._stop_swapping()

    async def _keep_up(self) -> None:
        await prepare_database(self._db)
        await self._stop_swapping()
        position = await cluster_time(self._db)
        self.profiles.clear()
        self.records.clear()
        catalogue = Catalogue([course async for course in CourseStore(self._db).facts()], position)
        current = self._beginning = CurrentIndex(catalogue)
        try:
            if (model_id := await self._models.current()) is not None:
                await self._begin_swap(current, model_id)
                await self._tried.wait()  # rather than to answer meanwhile as if there were no model
            async with contextlib.aclosing(follow(self._db, position, kinds=KINDS)) as batches:
                async for batch in batches:
                    await self._take(batch, current)
        finally:
            self._beginning = None

    async def _take(self, batch: ChangeBatch, current: CurrentIndex) -> None:
        if not batch.connected:
            self._note_problem("MongoDB does not answer")
            return
        self.profiles.note(batch)
        self.records.note(batch)
        current.apply(batch)
        if batch.as_of is not None:
            self._heard = batch.as_of
            if self._current is not current:  # not before it is in step: others have written since it was read
                self._current, self._beginning = current, None
        elif self._current is current:
            self._heard = time.monotonic() - max(0.0, time.time() - (batch.position >> 32))
        if self._problem is not None and self._current is current:
            log.info("in step with the database again" if self.ready.is_set() else "in step with the database")
            self._problem = None
            self.ready.set()
            self.settled.set()
        for change in batch:
            if not isinstance(change, CurrentModelChanged):
                self.changed_at = time.time()
            else:
                await self._begin_swap(current, change.model_id)

    def _note_problem(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("%s", problem)
        self._problem = problem
        self.settled.set()

    # --- models

    async def _begin_swap(self, current: CurrentIndex, model_id: str) -> None:
        await self._stop_swapping()
        self._tried.clear()
        if current.model is not None and current.model.index.model_id == model_id:
            self._model_problem = None  # back to what is served: the model between could not be
        else:
            self._swapping = asyncio.create_task(self._swap(current, model_id))

    async def _stop_swapping(self) -> None:
        if self._swapping is not None:
            self._swapping.cancel()
            await asyncio.wait([self._swapping])
            self._swapping = None

    async def _swap(self, current: CurrentIndex, model_id: str) -> None:
        """Load a model aside and serve it; as long as that cannot be, the old one stays and the checks say so."""
        began = time.monotonic()
        while True:
            pause = RETRY_SECONDS
            try:
                index = await load_model(self._models, model_id, self._cache, self._users_held)
                await self._replay(LiveModel(index, current.catalogue), current)
                break
            except UNAVAILABLE_ERRORS:
                pass
            except (ArtifactError, UnknownModelError, OSError) as error:  # unknown: pruned, as the pointer has moved on
                self._note_model_problem(model_id, error)
                pause = MODEL_RETRY_SECONDS
            except Exception as error:
                log.exception("loading a model failed")
                self._note_model_problem(model_id, error)
                pause = MODEL_RETRY_SECONDS
            await asyncio.sleep(pause)
        self._model_problem = None
        self._metrics.model.clear()
        self._metrics.model.labels(model_id).set(1)
        self._tried.set()
        settle()
        log.info("model %s is served, %.2f s after it was heard of", model_id, time.monotonic() - began)
        with contextlib.suppress(*UNAVAILABLE_ERRORS, UnknownModelError):
            self._metrics.model_created.set((await self._models.get(model_id)).created_at.timestamp())

    def _note_model_problem(self, model_id: str, error: Exception) -> None:
        self._model_problem = f"model {model_id} cannot be served: {error}"
        self._metrics.model_failures.inc()
        self._tried.set()
        log.error("%s", self._model_problem)

    async def _replay(self, model: LiveModel, current: CurrentIndex) -> None:
        """Let the model take in what changed since its snapshot, and serve it."""
        index = model.index
        try:
            await self._catch_up(model, current)
        except ChangeHistoryLostError:
            log.warning("the oplog does not reach back to the snapshot of model %s; all is compared", index.model_id)
            overlay = await overlay_of_present_state(self._db, index)
            await self._catch_up(LiveModel(index, current.catalogue, overlay), current)

    async def _catch_up(self, model: LiveModel, current: CurrentIndex) -> None:
        async with contextlib.aclosing(follow(self._db, model.overlay.position, kinds=USER_KINDS)) as batches:
            async for batch in batches:
                model.apply(batch)
                if model.overlay.position >= current.position:
                    current.swap(model)  # at once: while anything is awaited, the other stream may go on
                    self._model_problem = None
                    return


@contextlib.asynccontextmanager
async def running(live: Live, *, patience_seconds: float) -> AsyncIterator[None]:
    """Keep it up to date while the block runs, which begins when it is ready, cannot be, or patience has run out."""
    task = asyncio.create_task(live.run())
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(live.settled.wait(), patience_seconds)
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
