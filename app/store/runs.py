"""Training runs: asked for by anyone, run by the holder of the lease.

At most one is open, queued or running; a unique index sees to it.  Whatever the worker writes names its
fence, and is refused once the run has passed on.  All times are the server's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from app.errors import LeaseLostError, RunEndedError, RunInProgressError, UnavailableError, UnknownRunError
from app.schemas.training import Counts, EndStatus, Metrics, Plan, Progress, Run, RunError, Trial, Trigger
from app.store.client import Database, Document, Session
from app.store.lease import touch_lease
from app.store.numbers import next_number, number_of, readable_id
from app.store.records import Page
from app.store.transactions import in_transaction

PREFIX = "r"
MOST_TAKEOVERS = 3  # of one run
ATTEMPTS = 10  # at asking for a run while others end and begin
WORKER_DIED = "worker_died"  # type of RunError
INTERRUPTED = (WORKER_DIED, "worker_stopped")  # the latter by earlier releases
ENDED = {"$unset": {"open": True}, "$currentDate": {"ended_at": True}}
QUEUED_AGAIN: Document = {"status": "queued", "losses": [], "progress": None}


class RunStore:
    """All training runs.  Every method may raise one of ``client.UNAVAILABLE_ERRORS``."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._runs = db["training_runs"]

    # --- for callers

    async def request(self, trigger: Trigger, config: Mapping[str, Any]) -> Run:
        """Queue a run.  Raises RunInProgressError with the id of the one that is open."""
        for _ in range(ATTEMPTS):
            if (open_run := await self._runs.find_one({"open": True}, {"_id": 1})) is not None:
                raise RunInProgressError(readable_id(PREFIX, open_run["_id"]))
            number = await next_number(self._db, "run")
            run = {"open": True, "status": "queued", "trigger": trigger, "config": dict(config), "losses": []}
            try:
                return await self._write({"_id": number}, {"$setOnInsert": run, "$currentDate": {"requested_at": True}})
            except DuplicateKeyError:  # another asked at the same moment
                continue
        raise UnavailableError("training runs begin and end faster than one can be asked for")

    async def get(self, run_id: str) -> Run:
        """Raises UnknownRunError."""
        document = await self._runs.find_one({"_id": _number(run_id)})
        if document is None:
            raise UnknownRunError(run_id)
        return _run(document)

    async def page(self, limit: int, after: str | None = None) -> Page[Run]:
        """Runs, newest first, from the one before ``after``.  Raises UnknownRunError if that is no run's id."""
        condition: Document = {} if after is None else {"_id": {"$lt": _number(after)}}
        documents = await self._runs.find(condition).sort("_id", -1).limit(limit + 1).to_list(None)
        runs = [_run(document) for document in documents[:limit]]
        return Page(runs, runs[-1].run_id if len(documents) > limit else None)

    async def request_cancel(self, run_id: str) -> Run:
        """End a queued run now, or ask for the end of a running one.  Raises UnknownRunError, RunEndedError."""
        key = {"_id": _number(run_id)}
        queued = await self._change(key | {"status": "queued"}, {"$set": {"status": "cancelled"}, **ENDED})
        run = queued or await self._change(key | {"status": "running"}, {"$set": {"cancel_requested": True}})
        if run is None:
            raise RunEndedError(run_id, (await self.get(run_id)).status)
        return run

    # --- for the worker

    async def next_queued(self) -> Run | None:
        """The run that waits."""
        document = await self._runs.find_one({"open": True, "status": "queued"})
        return None if document is None else _run(document)

    async def start(self, run_id: str, fence: int, *, seed: int, config: Mapping[str, Any]) -> Run:
        """Begin a queued run with the settings that it will have; again, if the answer to the first call was lost.

        Raises LeaseLostError, UnknownRunError, or RunEndedError if it was cancelled meanwhile.
        """
        begun = {"status": "running", "fence": fence, "seed": seed, "config": dict(config)}

        async def begin(session: Session) -> Run | None:
            await touch_lease(self._db, fence, session)
            ready: Document = {
                "_id": _number(run_id),
                "$or": [{"status": "queued"}, {"status": "running", "fence": fence}],
            }
            return await self._change(ready, {"$set": begun, "$currentDate": {"started_at": True}}, session)

        run = await in_transaction(self._db, begin)
        if run is None:
            raise RunEndedError(run_id, (await self.get(run_id)).status)
        return run

    async def describe(
        self,
        run_id: str,
        fence: int,
        *,
        counts: Counts | None = None,
        snapshot_time: int | None = None,
        device: str | None = None,
        config: Mapping[str, Any] | None = None,
        plan: Plan | None = None,
        trials: Sequence[Trial] | None = None,
        verdict: str | None = None,
    ) -> None:
        """Note what the run learns from, as of which cluster time, where, how and with which settings.

        Raises LeaseLostError.
        """
        known = {
            "counts": counts and counts.model_dump(),
            "snapshot_time": snapshot_time,
            "device": device,
            "config": config and dict(config),
            "plan": plan and plan.model_dump(),
            "trials": None if trials is None else [trial.model_dump() for trial in trials],
            "verdict": verdict,
        }
        news = {"$set": {name: value for name, value in known.items() if value is not None}}
        await self._update(run_id, fence, news, {"_id": 1})

    async def progress(self, run_id: str, fence: int, progress: Progress, losses: Sequence[float]) -> bool:
        """Note how far the run is, with the losses since the last time; whether it shall stop.

        Raises LeaseLostError.
        """
        news = {"$set": {"progress": progress.model_dump()}, "$push": {"losses": {"$each": list(losses)}}}
        document = await self._update(run_id, fence, news, {"cancel_requested": 1})  # losses can be many
        return bool(document.get("cancel_requested", False))

    async def cancel_requested(self, run_id: str, fence: int) -> bool:
        """Whether the run shall stop.  Raises LeaseLostError when it has passed on."""
        mine = {"_id": _number(run_id), "status": "running", "fence": fence}
        document = await self._runs.find_one(mine, {"cancel_requested": 1})
        if document is None:
            raise LeaseLostError(fence)
        return bool(document.get("cancel_requested", False))

    async def finish(
        self,
        run_id: str,
        fence: int,
        status: EndStatus,
        *,
        metrics: Metrics | None = None,
        model_id: str | None = None,
        error: RunError | None = None,
    ) -> Run:
        """End the run.  Raises LeaseLostError when it has passed on, or has been ended by another."""
        outcome = {"metrics": metrics, "model_id": model_id, "error": error and error.model_dump()}
        return _run(await self._update(run_id, fence, {"$set": {"status": status, **outcome}, **ENDED}))

    async def hand_back(self, run_id: str, fence: int) -> Run:
        """Queue a running run again, whose worker is stopped, for the next to go on; end it if it shall stop.

        Raises LeaseLostError when it has passed on.
        """
        mine = {"_id": _number(run_id), "status": "running", "fence": fence}
        unwanted = await self._change(mine | {"cancel_requested": True}, {"$set": {"status": "cancelled"}, **ENDED})
        return unwanted or _run(await self._update(run_id, fence, {"$set": QUEUED_AGAIN}))

    async def last_snapshot_time(self) -> int | None:
        """Cluster time of the newest snapshot that a run learned from to its end, None when there was none."""
        learned = {"snapshot_time": {"$exists": True}, "error.type": {"$nin": list(INTERRUPTED)}, "open": None}
        document = await self._runs.find_one(learned, {"snapshot_time": 1}, sort=[("_id", -1)])
        return None if document is None else int(document["snapshot_time"])

    async def last_ended(self) -> Run | None:
        """The newest run that learned to its end or failed in it, None when there was none."""
        told = {"open": None, "status": {"$in": ["succeeded", "rejected", "failed"]}}
        learned = told | {"error.type": {"$nin": list(INTERRUPTED)}}
        document = await self._runs.find_one(learned, sort=[("_id", -1)])
        return None if document is None else _run(document)

    async def take_over_orphans(self, fence: int, detail: str) -> int:
        """Queue the running runs of holders before this fence again, to go on where they were; how many there were.

        One that shall stop, or has been taken over MOST_TAKEOVERS times and may be what its workers die of, ends.
        """
        orphans = {"status": "running", "fence": {"$lt": fence}}
        unwanted = await self._runs.update_many(
            orphans | {"cancel_requested": True}, {"$set": {"status": "cancelled"}, **ENDED}
        )
        error = RunError(type=WORKER_DIED, detail=detail).model_dump()
        deadly = await self._runs.update_many(
            orphans | {"takeovers": {"$gte": MOST_TAKEOVERS}}, {"$set": {"status": "failed", "error": error}, **ENDED}
        )
        queued = await self._runs.update_many(orphans, {"$set": QUEUED_AGAIN, "$inc": {"takeovers": 1}})
        return unwanted.modified_count + deadly.modified_count + queued.modified_count

    # --- documents

    async def _write(self, key: Document, update: Document) -> Run:
        document = await self._runs.find_one_and_update(key, update, upsert=True, return_document=ReturnDocument.AFTER)
        return _run(document)

    async def _change(self, condition: Document, update: Document, session: Session | None = None) -> Run | None:
        document = await self._runs.find_one_and_update(
            condition, update, return_document=ReturnDocument.AFTER, session=session
        )
        return None if document is None else _run(document)

    async def _update(
        self, run_id: str, fence: int, update: Document, fields: Mapping[str, Any] | None = None
    ) -> Document:
        """Change a run of this fence; its document, or some fields of it, afterwards."""
        mine = {"_id": _number(run_id), "status": "running", "fence": fence}
        document: Document | None = await self._runs.find_one_and_update(
            mine, update, fields, return_document=ReturnDocument.AFTER
        )
        if document is None:
            raise LeaseLostError(fence)
        return document


def _number(run_id: str) -> int:
    number = number_of(PREFIX, run_id)
    if number is None:
        raise UnknownRunError(run_id)
    return number


def _run(document: Document) -> Run:
    return Run.model_validate({**document, "run_id": readable_id(PREFIX, document["_id"])})
