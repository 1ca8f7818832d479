"""Users."""

from fastapi import Request, Response

from app.api.access import READ, WRITE
from app.api.batches import batch_place
from app.api.dependencies import UserId, Users
from app.api.gorse.answers import affected, ok
from app.api.gorse.bodies import given_fields, read_row, read_rows
from app.api.gorse.openapi import body, one
from app.api.gorse.pages import After, Rows, page
from app.api.gorse.queries import DEFAULT_N
from app.api.gorse.routing import gorse_router
from app.api.gorse.writing import changes_of, delete_record, found, merge_rows
from app.schemas.gorse.answers import GorseSuccess, GorseUserPage
from app.schemas.gorse.users import GorseUser, GorseUserFields, merge_user, user_json

router = gorse_router()
WRITTEN = "How many were written"


@router.post(
    "/user",
    operation_id="gorse_insert_user",
    summary="Create or replace a user",
    responses=one(GorseSuccess, WRITTEN, 409, 413),
    openapi_extra=WRITE | body(GorseUser),
)
async def gorse_insert_user(request: Request, users: Users) -> Response:
    """What Gorse does not know of a user stays as it is."""
    user = await read_row(request, GorseUser)
    return affected(await merge_rows(users, [(user.UserId, changes_of(user))], merge_user))


@router.post(
    "/users",
    operation_id="gorse_insert_users",
    summary="Create or replace many users",
    responses=one(GorseSuccess, WRITTEN, 409, 413),
    openapi_extra=WRITE | body(GorseUser, rows=True),
)
async def gorse_insert_users(request: Request, users: Users) -> Response:
    """All of them, or none if one is bad."""
    with batch_place(request):
        rows = await read_rows(request, GorseUser)
        return affected(await merge_rows(users, [(row.UserId, changes_of(row)) for row in rows], merge_user))


@router.get(
    "/users",
    operation_id="gorse_get_users",
    summary="List users",
    responses=one(GorseUserPage, "A page"),
    openapi_extra=READ,
)
async def gorse_get_users(users: Users, after: After, n: Rows = DEFAULT_N) -> Response:
    """Users in the order of their ids."""
    return ok(await page(users.store.page, n, after, "Users", user_json))


@router.get(
    "/user/{user_id}",
    operation_id="gorse_get_user",
    summary="Get a user",
    responses=one(GorseUser, "The user", 404),
    openapi_extra=READ,
)
async def gorse_get_user(user_id: UserId, users: Users) -> Response:
    """All fields, whether they were given or not."""
    with found("user", user_id):
        return ok(user_json((await users.store.get(user_id)).__dict__))


@router.patch(
    "/user/{user_id}",
    operation_id="gorse_update_user",
    summary="Change some fields of a user",
    responses=one(GorseSuccess, WRITTEN, 404, 413),
    openapi_extra=WRITE | body(GorseUserFields),
)
async def gorse_update_user(user_id: UserId, request: Request, users: Users) -> Response:
    """What is absent or null stays."""
    changes = given_fields(await read_row(request, GorseUserFields))
    with found("user", user_id):
        await users.change(user_id, lambda fields: merge_user(fields, changes))
    return affected(1)


@router.delete(
    "/user/{user_id}",
    operation_id="gorse_delete_user",
    summary="Erase a user",
    responses=one(GorseSuccess, "1, or 0 when there was none"),
    openapi_extra=WRITE,
)
async def gorse_delete_user(user_id: UserId, users: Users) -> Response:
    """Erases the user and all feedback; who is not there is no error."""
    return affected(await delete_record(users, user_id))
