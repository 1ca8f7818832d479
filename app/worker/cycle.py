"""One retrain, read top to bottom: snapshot, graph, fit, evaluate, draw, publish."""

import asyncio
import hashlib
import json
import logging
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from app import __version__
from app.artifact.features import with_feature_weights
from app.artifact.load import load_artifact
from app.artifact.manifest import Description
from app.artifact.write import write_artifact
from app.domain.contents import ArtifactContents, data_fingerprint, recent_popularity
from app.domain.interactions import Snapshot
from app.errors import (
    ArtifactError,
    CancelledError,
    LeaseLostError,
    RankLostError,
    RunEndedError,
    TrainingError,
    UnknownModelError,
)
from app.schemas.training import Counts, EndStatus, Metrics, Plan, Run, RunError
from app.store.checkpoints import CheckpointStore
from app.store.client import UNAVAILABLE_ERRORS, Database
from app.store.model_cache import discard
from app.store.models import ModelStore
from app.store.runs import RunStore
from app.training.config import TrainingConfig
from app.training.distributed.launch import local_ranks
from app.training.ranks import ALONE, Ranks
from app.training.result import TrainedModel
from app.training.run import train
from app.training.users import Users
from app.worker.checkpoints import StoredCheckpoints
from app.worker.content_cache import remembering
from app.worker.drawing import UsersToDraw, draw_pictures, users_to_draw
from app.worker.erasure import models_of_erased
from app.worker.plan import Past, Rhythm, as_done, important, plan_of, to_keep, told, told_trials
from app.worker.progress import ProgressReporter
from app.worker.publishing import Destination, Written, write_users
from app.worker.reading import read_over

log = logging.getLogger(__name__)
Result = TypeVar("Result")

RANK = "app.worker.rank"  # what the other ranks of this machine run
RETRY_SECONDS = 1.0  # between tries while the database is away


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings that a retrain needs, as values."""

    mongodb_uri: str
    mongodb_database: str
    weights: Mapping[str, float]
    config: TrainingConfig
    models_kept: int
    cache_dir: Path
    checkpoint_seconds: float
    ranks: int
    rank_timeout_seconds: float
    half_life_days: float | None
    popular_half_life_days: float
    rhythm: Rhythm
    gate_margin: float
    half_users: bool

    def scope(self, snapshot: Snapshot, plan: Plan, taken_over: Mapping[str, Any]) -> str:
        """Name of all that a run's result depends on, the machine apart."""
        own = [sorted(self.weights.items()), self.config.as_dict(), __version__, plan.kind, taken_over]
        depends = [data_fingerprint(snapshot), *own]
        return hashlib.sha256(json.dumps(depends).encode()).hexdigest()

    @property
    def important(self) -> dict[str, Any]:
        """What the best recipe depends on, beside the data."""
        weights = {f"weight of {name}": weight for name, weight in self.weights.items()}
        return important(self.config.as_dict(), half_life_days=self.half_life_days, **weights)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    status: EndStatus
    metrics: Metrics | None = None
    model_id: str | None = None
    error: RunError | None = None


class _Team:
    """Ranks, and the one thread that speaks to them: what they are started by must live as long as they shall."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._thread = ThreadPoolExecutor(1, "training")

    async def do(self, work: Callable[[Ranks], Result]) -> Result:
        """In the thread, after what it was given before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self.ranks))

    def close(self) -> None:
        """The thread ends when it has done all."""
        self._thread.shutdown(wait=False)


class Cycle:
    """Runs one training run at a time, for as long as the lease with this fence is held.

    ranks: who trains together with this process; None: as many as the recipe says, on this machine.
    """

    def __init__(self, db: Database, recipe: Recipe, fence: int, ranks: Ranks | None = None) -> None:
        self._db, self._recipe, self._fence, self._ranks = db, recipe, fence, ranks
        self._runs, self._models, self._checkpoints = RunStore(db), ModelStore(db), CheckpointStore(db)
        self._drawer = ThreadPoolExecutor(1, "drawing")

    async def run(self, run: Run, *, on_snapshot: Callable[[], None] = lambda: None) -> Outcome | None:
        """Do the whole run and write its end down; None if it was cancelled before it began.

        on_snapshot: called when the data is about to be read: what changes from then on belongs to the next run.
        Raises LeaseLostError, and then nothing was published.  What the run itself does wrong ends it as ``failed``.
        Cancelled, it hands the run back to whoever works next.
        """
        config = self._recipe.config
        try:
            await persistently(
                lambda: self._runs.start(run.run_id, self._fence, seed=config.seed, config=config.as_dict())
            )
            log.info("training run %s begins", run.run_id)
            outcome = await self._attempt(run.run_id, on_snapshot)
        except RunEndedError:
            return None
        except asyncio.CancelledError:
            handed = await self._runs.hand_back(run.run_id, self._fence)
            log.info("training run %s is broken off and %s", run.run_id, handed.status)
            raise
        await persistently(lambda: self._finish(run.run_id, outcome))
        if outcome.error is None or outcome.error.type != RankLostError.slug:  # after which the next run goes on
            await persistently(lambda: self._checkpoints.keep_only(None))
        return outcome

    async def _attempt(self, run_id: str, on_snapshot: Callable[[], None]) -> Outcome:
        try:
            async with self._team() as team:
                on_snapshot()
                snapshot = await self._read(team)
                await persistently(lambda: self._describe(run_id, snapshot))
                while True:
                    try:
                        return await self._train_and_publish(run_id, team, snapshot)
                    except RankLostError:  # after a fit, of which users were lost: what was kept of it is found again
                        if not await team.do(lambda ranks: ranks.renewed()):
                            raise
        except CancelledError:
            return Outcome("cancelled")
        except TrainingError as error:
            return Outcome("failed", error=RunError(type=error.slug, detail=str(error)))
        except LeaseLostError:
            raise
        except Exception as error:  # whatever went wrong, the old model is served and the next run gets its chance
            log.exception("training run %s failed", run_id)
            return Outcome("failed", error=RunError(type="internal", detail=f"{type(error).__name__}: {error}"))

    async def _train_and_publish(self, run_id: str, team: "_Team", snapshot: Snapshot) -> Outcome:
        past = await persistently(self._past)
        plan = plan_of(past, self._recipe.important, _sizes(snapshot), self._recipe.rhythm)
        trained = await self._train(run_id, team, snapshot, plan, past)
        plan = as_done(plan, trained)
        metrics: Metrics = {name: dict(values) for name, values in trained.metrics.items()}
        if not trained.verdict.accepted:
            error = RunError(type="rejected", detail=trained.verdict.reason)
            return Outcome("rejected", metrics=metrics, error=error)
        kept = to_keep(trained, plan, past, self._recipe.important)
        model_id = await self._publish(run_id, team, snapshot, trained, kept)
        return Outcome("succeeded", metrics=metrics, model_id=model_id)

    async def _read(self, team: "_Team") -> Snapshot:
        recipe, stopped = self._recipe, threading.Event()

        def read(ranks: Ranks) -> Snapshot:
            while True:
                try:
                    return read_over(
                        ranks,
                        recipe.mongodb_uri,
                        recipe.mongodb_database,
                        tuple(recipe.weights),
                        half_life_days=recipe.half_life_days,
                        should_stop=stopped.is_set,
                    )
                except RankLostError:
                    if not ranks.renewed():
                        raise

        try:
            return await persistently(lambda: team.do(read))
        except asyncio.CancelledError:
            stopped.set()  # the thread cannot be killed, but it looks at this after each batch
            raise

    async def _describe(self, run_id: str, snapshot: Snapshot) -> None:
        counts = Counts(users=len(snapshot.users), courses=len(snapshot.items), interactions=len(snapshot.user_rows))
        await self._runs.describe(run_id, self._fence, counts=counts, snapshot_time=snapshot.cluster_time)

    async def _past(self) -> Past:
        last, model_id = await self._runs.last_ended(), await self._models.current()
        if model_id is None:
            return Past(None, None, last)
        try:
            directory = await self._models.fetch(model_id, self._recipe.cache_dir)
            artifact = await asyncio.to_thread(load_artifact, directory)
        except (ArtifactError, UnknownModelError, OSError) as error:
            log.warning("%s, which is served, cannot be read: %s", model_id, error)
            if isinstance(error, ArtifactError):
                await asyncio.to_thread(discard, directory)
            return Past(None, None, last, unreadable=model_id)
        return Past(artifact.manifest, artifact.contents, last)

    async def _train(self, run_id: str, team: "_Team", snapshot: Snapshot, plan: Plan, past: Past) -> TrainedModel:
        reporter = ProgressReporter(self._runs, run_id, self._fence)
        recipe = self._recipe
        remembered = {} if plan.kind == "search" else past.training["recipe"]
        taken_over = {"recipe": remembered, "model": past.model_id if plan.kind == "warm_start" else None}
        log.info("training run %s: %s, since %s", run_id, plan.kind, plan.reason)
        await persistently(lambda: self._runs.describe(run_id, self._fence, plan=plan))
        scope = await asyncio.to_thread(recipe.scope, snapshot, plan, taken_over)
        await persistently(lambda: self._checkpoints.keep_only(scope))
        checkpoints = StoredCheckpoints(self._checkpoints, scope, self._fence, recipe.checkpoint_seconds)
        training = asyncio.create_task(
            team.do(
                lambda ranks: train(
                    snapshot,
                    recipe.weights,
                    recipe.config,
                    remembered=remembered,
                    current=past.current(recipe.gate_margin, go_on=plan.kind == "warm_start"),
                    on_epoch=reporter.on_epoch,
                    should_stop=reporter.cancelled.is_set,
                    learn_encoder=remembering(recipe.cache_dir),
                    checkpoints=checkpoints,
                    ranks=ranks,
                )
            )
        )
        try:
            async with reporter.reporting():
                trained = await asyncio.shield(training)
        except asyncio.CancelledError:
            reporter.cancelled.set()  # the thread cannot be killed, but it looks at this before each step
            await asyncio.wait([training])
            training.exception()  # nobody else asks for it, and asyncio would complain
            raise
        finally:
            await checkpoints.close()
        used = self._used(trained)  # what was left to loss and data has its value only now
        trials = told_trials(trained)
        await persistently(
            lambda: self._runs.describe(
                run_id,
                self._fence,
                device=trained.device,
                config=used,
                trials=trials,
                plan=as_done(plan, trained),
                verdict=trained.verdict.reason,
            )
        )
        return trained

    @asynccontextmanager
    async def _team(self) -> AsyncIterator["_Team"]:
        """Who reads and trains."""
        recipe, stack = self._recipe, ExitStack()
        team = _Team(self._ranks or ALONE)
        ours = self._ranks is None and recipe.ranks > 1
        try:
            if ours:
                environment = {"MONGODB_URI": recipe.mongodb_uri}  # not among the arguments, which everybody can list
                started = local_ranks(recipe.ranks, recipe.rank_timeout_seconds, module=RANK, environment=environment)
                team.ranks = await team.do(lambda _: stack.enter_context(started))
            yield team
        finally:
            if ours:
                await team.do(lambda _: stack.close())
            team.close()

    def _used(self, trained: TrainedModel) -> dict[str, Any]:
        half_life = self._recipe.half_life_days
        return trained.recipe.as_dict() | ({} if half_life is None else {"half_life_days": half_life})

    async def _publish(
        self, run_id: str, team: "_Team", snapshot: Snapshot, trained: TrainedModel, training: Mapping[str, Any]
    ) -> str:
        """Store the users' files, write all others aside and store them, and move the pointer last.

        training: see ``to_keep``.
        """
        model_id = await persistently(self._models.next_id)
        contents = await asyncio.to_thread(_contents, snapshot, trained, self._recipe)
        contents, drawn, written = await self._write_users(team, model_id, snapshot, trained, contents)
        description = Description(
            model_id=model_id,
            run_id=run_id,
            created_at=datetime.now(UTC),
            code_version=__version__,
            config=self._used(trained),
            seed=trained.recipe.seed,
            device=trained.device,
            metrics=trained.metrics,
            losses=trained.losses,
            fence=self._fence,
            training=training,
        )
        pictures = await draw_pictures(self._db, contents, model_id, run_id, trained, users=drawn, drawer=self._drawer)
        with tempfile.TemporaryDirectory(prefix="coursegraph-model-") as parent:
            directory = Path(parent) / model_id
            manifest = await asyncio.to_thread(
                write_artifact, directory, contents, description, pictures=pictures, elsewhere=written.files
            )
            upload = await persistently(
                lambda: self._models.upload(model_id, directory, fence=self._fence, pieces=written.ids)
            )
        await persistently(lambda: self._models.publish(upload, manifest.as_dict()))
        log.info("model %s is published", model_id)
        try:
            erased = await models_of_erased(self._models, snapshot.users)
            if erased:
                log.info("%s: removed, as somebody whom they know was erased", ", ".join(erased))
            await self._models.prune(self._recipe.models_kept, also=erased)
        except UNAVAILABLE_ERRORS:
            log.warning("old models could not be removed now; the next run tries again")
        return model_id

    async def _write_users(
        self, team: "_Team", model_id: str, snapshot: Snapshot, trained: TrainedModel, contents: ArtifactContents
    ) -> tuple[ArtifactContents, UsersToDraw, Written]:
        """Have the ranks write theirs; with the weights that the users' vectors tell, and what is drawn of them."""
        recipe, stopped = self._recipe, threading.Event()
        to = Destination(recipe.mongodb_uri, recipe.mongodb_database, model_id, self._fence)

        def write(ranks: Ranks) -> tuple[ArtifactContents, UsersToDraw, Written]:
            users = Users(ranks, trained.owned)
            half = recipe.half_users and users.to_half()
            whole = with_feature_weights(contents, snapshot.user_features, users.rows)
            drawn = users_to_draw(users, whole)
            return whole, drawn, write_users(ranks, users, whole, to, half=half, should_stop=stopped.is_set)

        try:
            return await persistently(lambda: team.do(write))
        except asyncio.CancelledError:
            stopped.set()  # the thread cannot be killed, but it looks at this after each block
            raise

    async def _finish(self, run_id: str, outcome: Outcome) -> None:
        run = await self._runs.finish(
            run_id,
            self._fence,
            outcome.status,
            metrics=outcome.metrics,
            model_id=outcome.model_id,
            error=outcome.error,
        )
        said = [outcome.error.detail if outcome.error else run.verdict, told(run.trials)]
        log.info("training run %s %s", run_id, ": ".join([outcome.status, "; ".join(filter(None, said))]))


def _sizes(snapshot: Snapshot) -> dict[str, int]:
    return {"courses": len(snapshot.items), "interactions": len(snapshot.user_rows)}


def _contents(snapshot: Snapshot, trained: TrainedModel, recipe: Recipe) -> ArtifactContents:
    """All but the users' vectors; what is popular as the recipe has it."""
    nobody = trained.embeddings.user_vectors[:0]
    embeddings = replace(trained.embeddings, user_vectors=nobody)
    contents = ArtifactContents.from_snapshot(snapshot, recipe.weights, embeddings, trained.item_filter)
    contents = replace(contents, content=trained.content)
    if recipe.popular_half_life_days:
        popularity = recent_popularity(snapshot, recipe.weights, recipe.popular_half_life_days)
        contents = replace(contents, popularity=popularity)
    return contents


async def persistently(work: Callable[[], Awaitable[Result]]) -> Result:
    """What ``work`` gives, tried until the database is there; whoever calls is cancelled when the lease is lost."""
    while True:
        try:
            return await work()
        except UNAVAILABLE_ERRORS as error:
            log.warning("the database does not answer, trying again: %s", type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)
