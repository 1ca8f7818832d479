"""Users."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from app.api.access import READ, WRITE
from app.api.dependencies import After, Batch, Limit, NewUserId, StoredInteractions, UserId, Users
from app.api.openapi import batch_body
from app.api.routing import Route
from app.errors import InvalidValueError, UnknownUserError
from app.schemas.interactions import StoredInteraction
from app.schemas.pages import PageOf, encode_cursor
from app.schemas.problems import problem_responses
from app.schemas.reports import BatchReport, Deleted
from app.schemas.users import StoredUser, User, UserBody

router = APIRouter(prefix="/users", tags=["users"], route_class=Route)
EXAMPLE = {"interests": {"statistics": 1.0, "python": 0.5}, "attributes": {"faculty": "science"}}
ROWS = batch_body(User, {"user_id": "ada", "interests": {"statistics": 1.0}}, {"user_id": "bob"})


@router.post(
    "",
    operation_id="write_users",
    summary="Create or replace many users",
    response_model=BatchReport,
    responses=problem_responses(400, 409, 413, 415),
    openapi_extra=WRITE | ROWS,
)
async def write_users(batch: Batch, users: Users) -> Response:
    """A JSON array of up to 10,000 users, or NDJSON of any length; every row that is not written is named."""
    return await batch.take(users.batch)


@router.get("", operation_id="list_users", summary="List users", responses=problem_responses(), openapi_extra=READ)
async def list_users(users: Users, after: After, limit: Limit = 100) -> PageOf[StoredUser]:
    """Users in the order of their ids."""
    page = await users.store.page(limit, after)
    return PageOf[StoredUser](items=page.items, next_cursor=encode_cursor(page.after))


@router.get(
    "/{user_id}", operation_id="get_user", summary="Get a user", responses=problem_responses(404), openapi_extra=READ
)
async def get_user(user_id: UserId, users: Users) -> StoredUser:
    """The user as it is stored."""
    return await users.store.get(user_id)


@router.put(
    "/{user_id}",
    operation_id="put_user",
    summary="Create or replace a user",
    responses={201: {"model": StoredUser, "description": "Created"}, **problem_responses(400, 404, 409, 413, 415)},
    openapi_extra=WRITE,
)
async def put_user(
    user_id: NewUserId, body: Annotated[UserBody, Body(examples=[EXAMPLE])], users: Users, response: Response
) -> StoredUser:
    """What the body leaves out gets its default."""
    if body.user_id not in {None, user_id}:
        raise InvalidValueError(("body", "user_id"), body.user_id, f"{user_id!r}, the id in the path, or none")
    user = User(user_id=user_id, **body.model_dump(exclude={"user_id"}))
    response.status_code = 201 if await users.put(user) else 200
    return await users.store.get(user_id)


@router.patch(
    "/{user_id}",
    operation_id="patch_user",
    summary="Change some fields of a user",
    responses=problem_responses(400, 404, 413, 415),
    openapi_extra=WRITE,
)
async def patch_user(
    user_id: UserId, changes: Annotated[dict[str, Any], Body(examples=[{"interests": {"logic": 1}}])], users: Users
) -> StoredUser:
    """JSON merge (RFC 7396): what is absent stays, null clears."""
    return await users.patch(user_id, changes)


@router.delete(
    "/{user_id}",
    operation_id="delete_user",
    summary="Erase a user",
    responses=problem_responses(404),
    openapi_extra=WRITE,
)
async def delete_user(user_id: UserId, users: Users) -> Deleted:
    """Erases the user, all interactions, and what rejected rows say of the user; counts what was erased.

    From here on no list is made with the user's vector. The files of models that hold it are removed as soon as a newer
    model is published, which the erasure makes due as any change does.
    """
    return await users.delete(user_id)


@router.get(
    "/{user_id}/interactions",
    operation_id="list_user_interactions",
    summary="List what a user did, newest first",
    responses=problem_responses(404),
    openapi_extra=READ,
)
async def list_user_interactions(
    user_id: UserId, users: Users, interactions: StoredInteractions, after: After, limit: Limit = 100
) -> PageOf[StoredInteraction]:
    """The same as `GET /interactions?user_id=`, but newest first, and 404 for an unknown user."""
    if not await users.store.existing([user_id]):
        raise UnknownUserError(user_id)
    try:
        page = await interactions.of_user(user_id, limit, after)
    except ValueError:
        raise InvalidValueError(("query", "cursor"), after, "the next_cursor of an earlier page") from None
    return PageOf[StoredInteraction](items=page.items, next_cursor=encode_cursor(page.after))
