"""A course as callers send and receive it."""

from pydantic import Field

from app.schemas.fields import (
    Attributes,
    FeatureVector,
    Id,
    Label,
    Labels,
    NewId,
    Record,
    ServerTimes,
    Text,
    Title,
    UtcTime,
)


class CourseFields(Record):
    """All of a course but the id."""

    title: Title | None = None
    description: Text | None = None
    categories: Labels = []
    tags: Labels = []
    level: Label | None = None
    language: Label | None = None
    url: Title | None = None
    prerequisites: list[Id] = Field([], max_length=100, description="Ids of courses to complete before")
    available: bool = Field(True, strict=True, description="false: never recommended, nothing is forgotten")
    features: FeatureVector | None = Field(None, description="Content vector, all courses' of one length")
    attributes: Attributes = Field({}, description="Anything else, kept as given; numbers fit in 64 bits")
    published_at: UtcTime | None = None


class CourseBody(CourseFields):
    """Body of `PUT /courses/{course_id}`; an id in it must equal the one in the path."""

    course_id: Id | None = None


class Course(CourseFields):
    """A course in a batch; the server's times are taken and ignored, so that an export can be sent back."""

    course_id: NewId
    created_at: UtcTime | None = Field(None, exclude=True, description="Ignored: the server's own")
    updated_at: UtcTime | None = Field(None, exclude=True, description="Ignored: the server's own")


class StoredCourse(CourseFields, ServerTimes):
    """A course as it is stored."""

    course_id: Id
