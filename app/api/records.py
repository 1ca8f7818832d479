"""Records of courses as JSON, for lists with ``include_course``."""

from collections.abc import Collection, Iterable, Mapping

import orjson

from app.api.kept import Kept
from app.api.outage import Database, unless_gone
from app.domain.changes import Change, CourseChanged
from app.store.courses import CourseStore

KEPT_BYTES = 8 * 2**20  # of JSON in each process: some ten thousand courses with a description
WITHOUT = frozenset({"features"})


class CourseRecords:
    """Records as they are in the database, those asked last kept until they change."""

    def __init__(self, courses: CourseStore, database: Database, kept_bytes: int = KEPT_BYTES) -> None:
        self._courses, self._database = courses, database
        self._kept = Kept(self._read, kept_bytes, len)
        self.clear = self._kept.clear

    async def get_many(self, course_ids: Collection[str]) -> Mapping[str, orjson.Fragment]:
        """Those that there are.

        Raises UnavailableError or one of UNAVAILABLE_ERRORS when one is not kept and cannot be read.
        """
        found = await self._kept.get_many(course_ids)
        return {course_id: orjson.Fragment(record) for course_id, record in found.items()}

    async def _read(self, course_ids: Collection[str]) -> dict[str, bytes]:
        records = await unless_gone(self._courses.records(course_ids, without=WITHOUT), self._database)
        return {course_id: orjson.dumps(record) for course_id, record in records.items()}

    def note(self, changes: Iterable[Change]) -> None:
        """Forget those that have changed."""
        for change in changes:
            if isinstance(change, CourseChanged):
                self._kept.forget(change.course_id)
