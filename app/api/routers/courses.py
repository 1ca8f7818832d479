"""Courses."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from app.api.access import READ, WRITE
from app.api.dependencies import After, Batch, CourseId, Courses, Limit, NewCourseId
from app.api.openapi import batch_body
from app.api.routing import Route
from app.errors import InvalidValueError
from app.schemas.courses import Course, CourseBody, StoredCourse
from app.schemas.pages import PageOf, encode_cursor
from app.schemas.problems import problem_responses
from app.schemas.reports import BatchReport, Deleted

router = APIRouter(prefix="/courses", tags=["courses"], route_class=Route)
EXAMPLE = {"title": "Python Programming", "categories": ["Programming"], "level": "beginner", "language": "en"}
ROWS = batch_body(Course, {"course_id": "python", "title": "Python Programming", "categories": ["Programming"]})


@router.post(
    "",
    operation_id="write_courses",
    summary="Create or replace many courses",
    response_model=BatchReport,
    responses=problem_responses(400, 409, 413, 415),
    openapi_extra=WRITE | ROWS,
)
async def write_courses(batch: Batch, courses: Courses) -> Response:
    """A JSON array of up to 10,000 courses, or NDJSON of any length; every row that is not written is named."""
    return await batch.take(courses.batch)


@router.get("", operation_id="list_courses", summary="List courses", responses=problem_responses(), openapi_extra=READ)
async def list_courses(courses: Courses, after: After, limit: Limit = 100) -> PageOf[StoredCourse]:
    """Courses in the order of their ids."""
    page = await courses.store.page(limit, after)
    return PageOf[StoredCourse](items=page.items, next_cursor=encode_cursor(page.after))


@router.get(
    "/{course_id}",
    operation_id="get_course",
    summary="Get a course",
    responses=problem_responses(404),
    openapi_extra=READ,
)
async def get_course(course_id: CourseId, courses: Courses) -> StoredCourse:
    """The course as it is stored."""
    return await courses.store.get(course_id)


@router.put(
    "/{course_id}",
    operation_id="put_course",
    summary="Create or replace a course",
    responses={201: {"model": StoredCourse, "description": "Created"}, **problem_responses(400, 404, 409, 413, 415)},
    openapi_extra=WRITE,
)
async def put_course(
    course_id: NewCourseId, body: Annotated[CourseBody, Body(examples=[EXAMPLE])], courses: Courses, response: Response
) -> StoredCourse:
    """What the body leaves out gets its default."""
    if body.course_id not in {None, course_id}:
        raise InvalidValueError(("body", "course_id"), body.course_id, f"{course_id!r}, the id in the path, or none")
    course = Course(course_id=course_id, **body.model_dump(exclude={"course_id"}))
    response.status_code = 201 if await courses.put(course) else 200
    return await courses.store.get(course_id)


@router.patch(
    "/{course_id}",
    operation_id="patch_course",
    summary="Change some fields of a course",
    responses=problem_responses(400, 404, 413, 415),
    openapi_extra=WRITE,
)
async def patch_course(
    course_id: CourseId, changes: Annotated[dict[str, Any], Body(examples=[{"available": False}])], courses: Courses
) -> StoredCourse:
    """JSON merge (RFC 7396): what is absent stays, null clears."""
    return await courses.patch(course_id, changes)


@router.delete(
    "/{course_id}",
    operation_id="delete_course",
    summary="Erase a course",
    responses=problem_responses(404),
    openapi_extra=WRITE,
)
async def delete_course(course_id: CourseId, courses: Courses) -> Deleted:
    """Erases the course and its interactions; counts what was erased."""
    return await courses.delete(course_id)
