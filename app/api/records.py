"""Records of courses as JSON, for lists with ``include_course``."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping

import orjson

from app.domain.changes import Change, CourseChanged
from app.store.courses import CourseStore

KEPT_BYTES = 8 * 2**20  # of JSON in each process: some ten thousand courses with a description
WITHOUT = frozenset({"features"})


class CourseRecords:
    """Records as they are in the database, those asked last kept until they change."""

    def __init__(self, courses: CourseStore, kept_bytes: int = KEPT_BYTES) -> None:
        self._courses, self._kept_bytes = courses, kept_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._asked: dict[str, object] = {}  # which is being read, and by whom: a change meanwhile ends that

    async def get_many(self, course_ids: Collection[str]) -> Mapping[str, orjson.Fragment]:
        """Those that there are.  Raises one of UNAVAILABLE_ERRORS when one is not kept and cannot be read."""
        found, missing = dict[str, bytes](), list[str]()
        for course_id in course_ids:
            kept = self._kept.get(course_id)
            if kept is None:
                missing.append(course_id)
            else:
                found[course_id] = kept
                self._kept.move_to_end(course_id)
        if missing:
            found |= await self._read(missing)
        return {course_id: orjson.Fragment(record) for course_id, record in found.items()}

    async def _read(self, course_ids: list[str]) -> dict[str, bytes]:
        reading = object()
        self._asked.update(dict.fromkeys(course_ids, reading))
        try:
            records = await self._courses.records(course_ids, without=WITHOUT)
            read = {course_id: orjson.dumps(record) for course_id, record in records.items()}
        finally:
            unchanged = [course_id for course_id in course_ids if self._asked.get(course_id) is reading]
            for course_id in unchanged:
                del self._asked[course_id]
        for course_id in unchanged:
            if course_id in read:
                self._keep(course_id, read[course_id])
        return read

    def _keep(self, course_id: str, record: bytes) -> None:
        self._drop(course_id)
        self._kept[course_id] = record
        self._size += len(record)
        while self._size > self._kept_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._size -= len(oldest)

    def _drop(self, course_id: str) -> None:
        self._size -= len(self._kept.pop(course_id, b""))

    def note(self, changes: Iterable[Change]) -> None:
        """Forget those that have changed."""
        for change in changes:
            if isinstance(change, CourseChanged):
                self._drop(change.course_id)
                self._asked.pop(change.course_id, None)

    def clear(self) -> None:
        """Forget all, as changes may have been missed."""
        self._kept.clear()
        self._size = 0
        self._asked.clear()
