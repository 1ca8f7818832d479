"""Writes: stored first, then known to this process at once."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from operator import itemgetter
from typing import Any, ClassVar, Generic, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from app.api.batches import BatchKind, Outcome, Unknown
from app.api.live import Live
from app.api.quotas import Quota, Quotas, without
from app.domain.changes import Change, CourseChanged, InteractionChanged, UserChanged
from app.schemas.courses import Course, StoredCourse
from app.schemas.interactions import Interaction
from app.schemas.reports import Deleted, Kind, RejectedRow
from app.schemas.users import StoredUser, User
from app.store.client import UNAVAILABLE_ERRORS
from app.store.courses import course_facts
from app.store.given_answers import GivenAnswerStore
from app.store.interactions import InteractionStore
from app.store.records import Patched, RecordStore
from app.store.rejected import RejectedStore
from app.telemetry.metrics import Metrics

Given = TypeVar("Given", bound=BaseModel)
Stored = TypeVar("Stored", bound=BaseModel)


def noting(rejected: RejectedStore, kind: Kind) -> Callable[[list[RejectedRow]], Awaitable[None]]:
    """What keeps rejected rows of a kind; the batch is answered also when they cannot be kept."""

    async def note(rows: list[RejectedRow]) -> None:
        with contextlib.suppress(*UNAVAILABLE_ERRORS):
            await rejected.note(kind, rows)

    return note


class RecordService(ABC, Generic[Given, Stored]):
    """Users or courses."""

    kind: ClassVar[Kind]

    def __init__(
        self,
        store: RecordStore[Given, Stored],
        live: Live,
        metrics: Metrics,
        rejected: RejectedStore,
        quota: Quota,
    ) -> None:
        self.store, self._live, self._rejected, self._quota = store, live, rejected, quota
        count, note = partial(metrics.count_rows, self.kind), noting(rejected, self.kind)
        self.batch = BatchKind(store.given, self.write, self._over, count, note)

    @abstractmethod
    def written(self, record: Given | Stored, cluster_time: int) -> Change:
        """What serving must know of a record that was written."""

    @abstractmethod
    def removed(self, record_id: str, cluster_time: int) -> Change:
        """What serving must know of a record that was removed."""

    async def put(self, record: Given) -> bool:
        """Create or replace; whether it was created.  Raises QuotaError."""
        outcome = await self.write([record])
        for _, refused in outcome.unknown:
            raise refused
        return outcome.created == 1

    async def write(self, records: list[Given]) -> Outcome:
        """Create or replace many, as far as the quota lets."""
        refused = await self._over(records)
        taken = without(records, refused)
        if not taken:
            return Outcome(0, 0, 0, refused)
        written = await self.store.put_many(taken)
        self._tell(taken, written.cluster_time)
        return Outcome(written.created, written.updated, written.unchanged, refused)

    async def patch(self, record_id: str, changes: Mapping[str, Any]) -> Stored:
        """Merge into a record.  Raises NotFoundError, InvalidValueError, RequestValidationError."""
        return await self._changed(self.store.patch(record_id, changes))

    async def change(self, record_id: str, make: Callable[[dict[str, Any]], dict[str, Any]]) -> Stored:
        """Replace a record by what ``make`` gives for its fields.  Raises NotFoundError, RequestValidationError."""
        return await self._changed(self.store.change(record_id, make))

    async def _changed(self, changing: Awaitable[Patched[Stored]]) -> Stored:
        try:
            patched = await changing
        except ValidationError as error:
            problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors(include_url=False)]
            raise RequestValidationError(problems) from None
        self._tell([patched.record], patched.cluster_time)
        return patched.record

    async def delete(self, record_id: str) -> Deleted:
        """Erase a record and what names it.  Raises NotFoundError."""
        erased = await self.store.delete(record_id)
        self._live.apply_local([self.removed(record_id, erased.cluster_time)])
        return erased.deleted

    async def _over(self, records: list[Given]) -> Unknown:
        """Every valid record can be written for which there is room."""
        return await self._quota.refused([getattr(record, self.store.id_field) for record in records])

    def _tell(self, records: Collection[Given | Stored], cluster_time: int) -> None:
        self._live.apply_local([self.written(record, cluster_time) for record in records])


class UserService(RecordService[User, StoredUser]):
    """Users."""

    kind = "users"

    def __init__(
        self,
        store: RecordStore[User, StoredUser],
        live: Live,
        metrics: Metrics,
        rejected: RejectedStore,
        quota: Quota,
        *,
        answers: GivenAnswerStore,
    ) -> None:
        super().__init__(store, live, metrics, rejected, quota)
        self._answers = answers

    def written(self, record: User | StoredUser, cluster_time: int) -> Change:
        """Interests and features count for somebody of whom nothing else is known."""
        return UserChanged(cluster_time, record.user_id, removed=False)

    def removed(self, record_id: str, cluster_time: int) -> Change:
        """The vector is nobody's any more."""
        return UserChanged(cluster_time, record_id, removed=True)

    async def delete(self, record_id: str) -> Deleted:
        """Erase also what rejected rows say of the user; lists and the model's vector are used no more from here on."""
        n_rows = await self._rejected.forget_user(record_id)
        await self._answers.forget_user(record_id)
        model = self._live.current().model
        known = model is not None and model.index.user_row(record_id) is not None
        n_vectors = int(known and model is not None and not model.overlay.forgotten(record_id))
        deleted = await super().delete(record_id)
        return deleted.model_copy(update={"vectors": n_vectors, "rejected_rows": n_rows})


class CourseService(RecordService[Course, StoredCourse]):
    """Courses."""

    kind = "courses"

    def written(self, record: Course | StoredCourse, cluster_time: int) -> Change:
        """Filters look at it."""
        return CourseChanged(cluster_time, record.course_id, course_facts(record.__dict__))

    def removed(self, record_id: str, cluster_time: int) -> Change:
        """It is recommended no more."""
        return CourseChanged(cluster_time, record_id, None)


class InteractionService:
    """Interactions.

    types: accepted types and their weights; of Gorse's clients every type is accepted.
    """

    def __init__(
        self,
        store: InteractionStore,
        live: Live,
        metrics: Metrics,
        rejected: RejectedStore,
        *,
        types: Mapping[str, float],
        quotas: Quotas,
    ) -> None:
        self.store, self._live, self._types, self._quotas = store, live, types, quotas
        self._note = noting(rejected, "interactions")
        self._count = partial(metrics.count_rows, "interactions")

    def batch(self, *, auto_create: bool) -> BatchKind:
        """How rows are checked and written, creating unknown users and courses or not."""
        write, check = partial(self.write, auto_create=auto_create), partial(self._unknown, auto_create=auto_create)
        return BatchKind(Interaction, write, check, self._count, self._note, self._types)

    async def write(self, rows: list[Interaction], *, auto_create: bool, overwrite: bool = False) -> Outcome:
        """Create or update many, as far as the quotas let; ``overwrite`` those that are newer too."""
        over = await self._quotas.refused_interactions(rows, auto_create=auto_create)
        if over:
            full = dict(over)
            places = [place for place in range(len(rows)) if place not in full]
            kept = [rows[place] for place in places]
            outcome = await self._write(kept, auto_create=auto_create, overwrite=overwrite)
            unknown = [(places[place], error) for place, error in outcome.unknown]
            return Outcome(
                outcome.created, outcome.updated, outcome.unchanged, sorted([*over, *unknown], key=itemgetter(0))
            )
        return await self._write(rows, auto_create=auto_create, overwrite=overwrite)

    async def _write(self, rows: list[Interaction], *, auto_create: bool, overwrite: bool) -> Outcome:
        if not rows:
            return Outcome(0, 0, 0, [])
        written = await self.store.write_many(rows, auto_create=auto_create, overwrite=overwrite)
        refused = {position for position, _ in written.unknown}
        self._live.apply_local(
            InteractionChanged(written.cluster_time, row.user_id, row.course_id, row.type, removed=False)
            for position, row in enumerate(rows)
            if position not in refused
        )
        return Outcome(written.created, written.updated, written.unchanged, written.unknown)

    def weight(self, type_: str) -> float:
        """What a type weighs; as in training, one that no setting names weighs 1."""
        return self._types.get(type_, 1.0)

    async def _unknown(self, rows: list[Interaction], *, auto_create: bool) -> Unknown:
        """Rows whose user or course is not known and would not be created."""
        over = await self._quotas.refused_interactions(rows, auto_create=auto_create)
        unknown = [] if auto_create else await self.store.unknown(rows)
        return sorted({**dict(unknown), **dict(over)}.items(), key=itemgetter(0))

    async def delete(self, user_id: str, course_id: str, type_: str | None) -> int:
        """Remove; how many there were."""
        removed = await self.store.delete(user_id, course_id, type_)
        self._live.apply_local(InteractionChanged(removed.cluster_time, *key, removed=True) for key in removed.keys)
        return len(removed.keys)
