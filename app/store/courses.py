"""Courses as they are stored."""

from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from sys import intern
from typing import Any

from app.domain.courses import CourseFacts
from app.errors import UnknownCourseError
from app.schemas.courses import Course, StoredCourse
from app.store.client import Document
from app.store.records import RecordStore

FACTS = ("title", "categories", "tags", "level", "language", "prerequisites", "available", "published_at")
FACTS_BATCH = 5_000  # courses decoded at once


class CourseStore(RecordStore[Course, StoredCourse]):
    """Courses; deleting one deletes what was done with it."""

    collection, id_field, json_fields = "courses", "course_id", ("attributes",)
    unknown, given, stored = UnknownCourseError, Course, StoredCourse

    def interactions_of(self, record_id: str) -> Document:
        """A course's interactions, found by index."""
        return {"course_id": record_id}

    async def facts(self) -> AsyncIterator[tuple[str, CourseFacts]]:
        """What serving needs to know of every course, in no order."""
        cursor = self._records.find({}, dict.fromkeys(FACTS, 1), batch_size=FACTS_BATCH)
        while documents := await cursor.to_list(FACTS_BATCH):
            for document in documents:
                yield document["_id"], course_facts(document)


@lru_cache(maxsize=10_000)
def _shared(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Equal ones as one object: the same few words stand at thousands of courses."""
    return tuple(map(intern, labels))


def course_facts(fields: Mapping[str, Any]) -> CourseFacts:
    """Facts from a course's document, or from the fields of its schema."""
    level, language = fields.get("level"), fields.get("language")
    return CourseFacts(
        title=fields.get("title"),
        categories=_shared(tuple(fields.get("categories", ()))),
        tags=_shared(tuple(fields.get("tags", ()))),
        level=level and intern(level),
        language=language and intern(language),
        prerequisites=_shared(tuple(fields.get("prerequisites", ()))),
        available=fields.get("available", True),
        published_at=fields.get("published_at"),
    )
