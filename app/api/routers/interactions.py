"""Interactions."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from app.api.access import READ, WRITE
from app.api.dependencies import (
    After,
    Batch,
    Interactions,
    Limit,
    OfCourse,
    OfType,
    OfUser,
    StoredInteractions,
    ThisCourse,
    ThisUser,
)
from app.api.openapi import batch_body
from app.api.routing import Route
from app.schemas.interactions import Interaction, StoredInteraction
from app.schemas.pages import PageOf, encode_cursor
from app.schemas.problems import problem_responses
from app.schemas.reports import BatchReport

router = APIRouter(prefix="/interactions", tags=["interactions"], route_class=Route)
ROWS = batch_body(Interaction, {"user_id": "ada", "course_id": "python", "type": "complete"})


class RemovedCount(BaseModel):
    """How many interactions were removed."""

    deleted: int


@router.post(
    "",
    operation_id="write_interactions",
    summary="Create or update interactions",
    response_model=BatchReport,
    responses=problem_responses(400, 404, 409, 413, 415),
    openapi_extra=WRITE | ROWS,
)
async def write_interactions(
    batch: Batch,
    interactions: Interactions,
    auto_create: Annotated[bool, Query(description="Create unknown users and courses as bare records")] = True,
) -> Response:
    """One object, a JSON array of up to 10,000, or NDJSON of any length.

    The key is (user_id, course_id, type): sending it again is an update, and an older timestamp never overwrites a
    newer one.
    """
    return await batch.take(interactions.batch(auto_create=auto_create))


@router.get(
    "", operation_id="list_interactions", summary="List interactions", responses=problem_responses(), openapi_extra=READ
)
async def list_interactions(  # noqa: PLR0917 - the framework calls it by name
    interactions: StoredInteractions,
    after: After,
    limit: Limit = 100,
    user_id: OfUser = None,
    course_id: OfCourse = None,
    type: OfType = None,  # noqa: A002 - the name in the contract
) -> PageOf[StoredInteraction]:
    """Interactions that fit all that is given, in the order of their keys."""
    page = await interactions.page(limit, after, user_id=user_id, course_id=course_id, type_=type)
    return PageOf[StoredInteraction](items=page.items, next_cursor=encode_cursor(page.after))


@router.delete(
    "",
    operation_id="delete_interactions",
    summary="Remove interactions",
    responses=problem_responses(),
    openapi_extra=WRITE,
)
async def delete_interactions(
    interactions: Interactions,
    user_id: ThisUser,
    course_id: ThisCourse,
    type: OfType = None,  # noqa: A002 - the name in the contract
) -> RemovedCount:
    """Removes what the user did with the course, of one type or of all."""
    return RemovedCount(deleted=await interactions.delete(user_id, course_id, type))
