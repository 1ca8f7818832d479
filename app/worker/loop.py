"""The worker's life: wait for the lease, then follow the changes and retrain when it is due."""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Coroutine
from typing import Any, Literal

from app.domain.changes import CourseChanged, InteractionChanged, RunChanged, UserChanged
from app.errors import ChangeHistoryLostError, LeaseLostError, RunInProgressError, SettingError
from app.memory import give_back
from app.schemas.training import Run
from app.settings import Settings
from app.store.changes import follow
from app.store.client import UNAVAILABLE_ERRORS, Database, cluster_time, open_database, prepare_database
from app.store.interactions import InteractionStore
from app.store.lease import RENEWALS, Lease
from app.store.runs import RunStore
from app.telemetry.metrics import WorkerMetrics
from app.telemetry.traces import Traces
from app.training.config import TrainingConfig
from app.worker.cycle import Cycle, Recipe, persistently
from app.worker.plan import Rhythm
from app.worker.schedule import Policy, Schedule

log = logging.getLogger(__name__)

POLL_SECONDS = 5.0  # a queued run is told by the change stream; this is for when that is behind
WATCHED = (InteractionChanged, CourseChanged, UserChanged, RunChanged)


async def run_worker(
    settings: Settings, *, stop: asyncio.Event, metrics: WorkerMetrics | None = None, traces: Traces | None = None
) -> None:
    """Work until ``stop`` is set.  Raises SettingError without MONGODB_URI, and what ``prepare_database`` raises."""
    recipe, metrics, traces = recipe_from(settings), metrics or WorkerMetrics(), traces or Traces()
    async with open_database(
        recipe.mongodb_uri,
        recipe.mongodb_database,
        timeout_seconds=settings.database_timeout_seconds,
        app_name="coursegraph-worker",
    ) as db:
        await first_of(persistently(lambda: prepare_database(db)), stop.wait())
        lease = Lease(db, holder_name(), settings.lease_seconds)
        while not stop.is_set():
            try:
                fence = await lease.acquire()
                if fence is not None:
                    log.info("this worker holds the lease with fence %d", fence)
                    metrics.fence.set(fence)
                    with metrics.leads.track_inprogress():
                        leader = Leader(db, recipe, fence, policy_from(settings), metrics, traces=traces)
                        await _lead(leader, lease, stop)
            except LeaseLostError as error:
                log.warning("%s", error)
            except UNAVAILABLE_ERRORS as error:
                log.warning("the database does not answer: %s", type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.lease_seconds / RENEWALS):
                    await stop.wait()


async def _lead(leader: "Leader", lease: Lease, stop: asyncio.Event) -> None:
    """Retrain while the lease is held.  Raises LeaseLostError when it is lost."""
    try:
        await first_of(lease.keep(), leader.watch(), leader.work(), stop.wait())
    finally:
        with contextlib.suppress(*UNAVAILABLE_ERRORS):
            await lease.release()


class Leader:
    """What the holder of the lease does."""

    def __init__(
        self, db: Database, recipe: Recipe, fence: int, policy: Policy, metrics: WorkerMetrics, *, traces: Traces
    ) -> None:
        self._db, self._fence, self._metrics, self._traces = db, fence, metrics, traces
        self._runs = RunStore(db)
        self._cycle = Cycle(db, recipe, fence)
        self._config = recipe.config.as_dict()
        self._schedule = Schedule(policy, now=time.monotonic())
        self._wake = asyncio.Event()
        metrics.waiting.set_function(lambda: float(self._schedule.changes))

    async def watch(self) -> None:
        """Count what changed since the last snapshot, and wake ``work`` up."""
        while True:
            since = await persistently(self._changed_since)
            try:
                async for batch in follow(self._db, since, kinds=WATCHED):
                    asked = sum(isinstance(change, RunChanged) for change in batch)
                    self._schedule.changed(len(batch) - asked, now=time.monotonic())
                    if len(batch):
                        self._wake.set()
            except ChangeHistoryLostError:
                log.warning("more changed than the oplog holds; a run is due")
                self._schedule.changed(self._schedule.policy.after_changes, now=time.monotonic())
                self._wake.set()

    async def _changed_since(self) -> int:
        """The cluster time from which changes count."""
        now = await cluster_time(self._db)
        if self._schedule.changes:  # the history was lost, and all before now is counted as changed
            return now
        last = await self._runs.last_snapshot_time()
        if last is not None:
            return last
        # Nothing was ever learned from, so all that is there is new.
        self._schedule.changed(await InteractionStore(self._db).count(), now=time.monotonic())
        return now

    async def work(self) -> None:
        """Do what is queued, and queue what is due."""
        detail = "the worker that ran it died or lost its lease"
        await persistently(lambda: self._runs.take_over_orphans(self._fence, detail))
        while True:
            self._wake.clear()
            run = await persistently(self._runs.next_queued) or await persistently(self._queue_if_due)
            if run is None:
                await self._sleep()
                continue
            started = time.monotonic()
            with self._traces.span("training run", run_id=run.run_id) as note:
                outcome = await self._cycle.run(run, on_snapshot=self._snapshot_taken)
                status = "cancelled" if outcome is None else outcome.status
                note("status", status)
            self._metrics.count_run(status, time.monotonic() - started)
            self._schedule.ended(now=time.monotonic())
            give_back()

    def _snapshot_taken(self) -> None:
        self._schedule.snapshot_taken(now=time.monotonic())

    async def _queue_if_due(self) -> Run | None:
        schedule = self._schedule
        if schedule.seconds_until_due(now=time.monotonic()) != 0.0:
            return None
        enough = schedule.changes >= schedule.policy.after_changes
        trigger: Literal["changes", "time"] = "changes" if enough else "time"
        try:
            return await self._runs.request(trigger, self._config)
        except RunInProgressError:  # somebody asked at the same moment
            return await self._runs.next_queued()

    async def _sleep(self) -> None:
        due = self._schedule.seconds_until_due(now=time.monotonic())
        seconds = POLL_SECONDS if due is None else min(POLL_SECONDS, due)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for of Python 3.11 may swallow a cancellation here
                await self._wake.wait()


async def first_of(*works: Coroutine[Any, Any, object]) -> None:
    """Run all until one ends, then cancel the others and wait; an error is raised, that of the first before others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in (*done, *tasks):
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


def recipe_from(settings: Settings) -> Recipe:
    """The values that a retrain needs.  Raises SettingError without MONGODB_URI."""
    if settings.mongodb_uri is None:
        raise SettingError("MONGODB_URI", None, "the address of a MongoDB replica set")
    return Recipe(
        mongodb_uri=settings.mongodb_uri,
        mongodb_database=settings.mongodb_database,
        weights=settings.interaction_weights,
        config=TrainingConfig(**{name: getattr(settings, name) for name in TrainingConfig.__dataclass_fields__}),
        models_kept=settings.models_kept,
        half_life_days=settings.half_life_days,
        popular_half_life_days=settings.popular_half_life_days,
        rhythm=Rhythm(settings.search_every, settings.full_every, warm_start=settings.warm_start == "auto"),
        gate_margin=settings.gate_margin,
        half_users=settings.user_vectors == "float16",
        checkpoint_seconds=settings.checkpoint_seconds,
        ranks=settings.ranks,
        rank_timeout_seconds=settings.rank_timeout_seconds,
        cache_dir=settings.cache_dir,
    )


def policy_from(settings: Settings) -> Policy:
    """When to retrain."""
    return Policy(
        automatic=settings.auto_train,
        after_changes=settings.train_after_changes,
        after_seconds=settings.train_after_seconds,
        quiet_seconds=settings.train_quiet_seconds,
    )


def holder_name() -> str:
    """A name that no other process has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
