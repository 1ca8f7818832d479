"""Items and users that resemble each other."""

from typing import Annotated

from fastapi import Path, Query, Request, Response

from app.api.access import READ
from app.api.dependencies import UserId, get_services
from app.api.gorse.lists import pairs_response
from app.api.gorse.openapi import many
from app.api.gorse.queries import GorseListOptions
from app.api.gorse.routing import GorseListRoute, ItemId, gorse_router
from app.schemas.gorse.answers import GorseScore

router = gorse_router(GorseListRoute)
NEAREST = many(GorseScore, "Nearest first; none for an id that is not known")

Category = Annotated[str, Path(description="Only items in this category", examples=["Programming"])]
Name = Annotated[str, Path(description="Any: there is one such list", examples=["neighbors"])]


@router.get(
    "/item/{item_id}/neighbors",
    operation_id="gorse_item_neighbors",
    summary="Items like one",
    responses=NEAREST,
    openapi_extra=READ,
)
async def gorse_item_neighbors(
    item_id: ItemId, request: Request, options: Annotated[GorseListOptions, Query()]
) -> Response:
    """The same list as `GET /courses/{course_id}/similar` gives."""
    return _items(item_id, request, options)


@router.get(
    "/item/{item_id}/neighbors/{category}",
    operation_id="gorse_item_neighbors_in_category",
    summary="Items like one in a category",
    responses=NEAREST,
    openapi_extra=READ,
)
async def gorse_item_neighbors_in_category(
    item_id: ItemId, category: Category, request: Request, options: Annotated[GorseListOptions, Query()]
) -> Response:
    """The same with a category in the path."""
    return _items(item_id, request, options)


@router.get(
    "/item-to-item/{name}/{item_id}",
    operation_id="gorse_item_to_item",
    summary="Items like one, by the name of a list",
    responses=NEAREST,
    openapi_extra=READ,
)
async def gorse_item_to_item(
    name: Name, item_id: ItemId, request: Request, options: Annotated[GorseListOptions, Query()]
) -> Response:
    """The same as `/item/{item_id}/neighbors`, whatever the name."""
    return _items(item_id, request, options)


@router.get(
    "/user/{user_id}/neighbors",
    operation_id="gorse_user_neighbors",
    summary="Users like one",
    responses=NEAREST,
    openapi_extra=READ,
)
async def gorse_user_neighbors(
    user_id: UserId, request: Request, options: Annotated[GorseListOptions, Query()]
) -> Response:
    """The same list as `GET /users/{user_id}/similar` gives."""
    return await _users(user_id, request, options)


@router.get(
    "/user-to-user/{name}/{user_id}",
    operation_id="gorse_user_to_user",
    summary="Users like one, by the name of a list",
    responses=NEAREST,
    openapi_extra=READ,
)
async def gorse_user_to_user(
    name: Name, user_id: UserId, request: Request, options: Annotated[GorseListOptions, Query()]
) -> Response:
    """The same as `/user/{user_id}/neighbors`, whatever the name."""
    return await _users(user_id, request, options)


def _items(item_id: str, request: Request, options: GorseListOptions) -> Response:
    until = options.offset + options.n
    near = get_services(request).recommender.similar_courses(item_id, until, options.category) if options.n else None
    found = near.courses[options.offset :] if near else ()
    return pairs_response((course.course_id, course.similarity) for course in found)


async def _users(user_id: str, request: Request, options: GorseListOptions) -> Response:
    until = options.offset + options.n
    found = (await get_services(request).recommender.similar_users(user_id, until))[1] if options.n else []
    return pairs_response((user.user_id, user.similarity) for user in found[options.offset :])
