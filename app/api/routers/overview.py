"""What the service holds, for people who look."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.access import READ
from app.api.dependencies import AllServices, Limit
from app.api.routing import Route
from app.schemas.overview import Found, Statistics
from app.schemas.pages import PageOf
from app.schemas.problems import problem_responses
from app.schemas.reports import Kind, NotedRow

router = APIRouter(tags=["operations"], route_class=Route)


@router.get(
    "/statistics",
    operation_id="get_statistics",
    summary="What there is",
    responses=problem_responses(),
    openapi_extra=READ,
)
async def get_statistics(services: AllServices) -> Statistics:
    """Counts, freshness, the labels that courses have, and limits."""
    return await services.overview.statistics()


@router.get(
    "/rejected",
    operation_id="list_rejected_rows",
    summary="Last rejected rows",
    responses=problem_responses(),
    openapi_extra=READ,
)
async def list_rejected_rows(
    services: AllServices,
    limit: Limit = 100,
    kind: Annotated[Kind | None, Query(description="Only of this kind")] = None,
) -> PageOf[NotedRow]:
    """Rows of anybody's batches that were not written, the last batch first.

    The first 100 of each batch are kept, 500 in all; rows that were sent with `dry_run` are not.
    """
    return PageOf[NotedRow](items=await services.rejected.newest(limit, kind))


@router.get(
    "/search",
    operation_id="search",
    summary="Find users and courses",
    responses=problem_responses(),
    openapi_extra=READ,
)
async def search(
    services: AllServices,
    q: Annotated[
        str, Query(max_length=128, description="Beginning of a user's id, or part of a title", examples=["py"])
    ] = "",
    limit: Annotated[int, Query(ge=1, le=100, description="Most users, and most courses")] = 10,
) -> Found:
    """For suggestions while somebody types: users by the beginning of their id, courses by title or id."""
    return await services.overview.search(q, limit)
