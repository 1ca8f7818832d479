"""Writes: stored first, then known to this process at once."""

from collections.abc import Collection, Mapping
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
from app.schemas.reports import Deleted
from app.schemas.users import StoredUser, User
from app.store.courses import course_facts
from app.store.interactions import InteractionStore
from app.store.records import RecordStore
from app.telemetry.metrics import Metrics

Given = TypeVar("Given", bound=BaseModel)
Stored = TypeVar("Stored", bound=BaseModel)


class RecordService(Generic[Given, Stored]):
    """Users or courses."""

    kind: ClassVar[str]

    def __init__(self, store: RecordStore[Given, Stored], live: Live, metrics: Metrics, quota: Quota) -> None:
        self.store, self._live, self._quota = store, live, quota
        self.batch = BatchKind(store.given, self.write, self._over, partial(metrics.count_rows, self.kind))

    def written(self, record: Given | Stored, cluster_time: int) -> Change:
        """What serving must know of a record that was written."""
        raise NotImplementedError

    def removed(self, record_id: str, cluster_time: int) -> Change:
        """What serving must know of a record that was removed."""
        raise NotImplementedError

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
        try:
            patched = await self.store.patch(record_id, changes)
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

    def written(self, record: User | StoredUser, cluster_time: int) -> Change:
        """Interests and features count for somebody of whom nothing else is known."""
        return UserChanged(cluster_time, record.user_id, removed=False)

    def removed(self, record_id: str, cluster_time: int) -> Change:
        """The vector is nobody's any more."""
        return UserChanged(cluster_time, record_id, removed=True)


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
    """Interactions."""

    def __init__(
        self, store: InteractionStore, live: Live, metrics: Metrics, types: Collection[str], quotas: Quotas
    ) -> None:
        self.store, self._live, self._types, self._quotas = store, live, types, quotas
        self._count = partial(metrics.count_rows, "interactions")

    def batch(self, *, auto_create: bool) -> BatchKind:
        """How rows are checked and written, creating unknown users and courses or not."""
        write, check = partial(self.write, auto_create=auto_create), partial(self._unknown, auto_create=auto_create)
        return BatchKind(Interaction, write, check, self._count, self._types)

    async def write(self, rows: list[Interaction], *, auto_create: bool) -> Outcome:
        """Create or update many, as far as the quotas let."""
        over = await self._quotas.refused_interactions(rows, auto_create=auto_create)
        if over:
            places = [place for place in range(len(rows)) if place not in dict(over)]
            outcome = await self._write([rows[place] for place in places], auto_create=auto_create)
            unknown = [(places[place], error) for place, error in outcome.unknown]
            return Outcome(
                outcome.created, outcome.updated, outcome.unchanged, sorted([*over, *unknown], key=itemgetter(0))
            )
        return await self._write(rows, auto_create=auto_create)

    async def _write(self, rows: list[Interaction], *, auto_create: bool) -> Outcome:
        if not rows:
            return Outcome(0, 0, 0, [])
        written = await self.store.write_many(rows, auto_create=auto_create)
        refused = {position for position, _ in written.unknown}
        self._live.apply_local(
            InteractionChanged(written.cluster_time, row.user_id, row.course_id, row.type, removed=False)
            for position, row in enumerate(rows)
            if position not in refused
        )
        return Outcome(written.created, written.updated, written.unchanged, written.unknown)

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
