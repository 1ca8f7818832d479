"""Feedback."""

from typing import Annotated

from fastapi import Path, Request, Response

from app.api.access import READ, WRITE
from app.api.batches import batch_place
from app.api.dependencies import Interactions, StoredInteractions, UserId
from app.api.gorse.answers import affected, ok, ok_array
from app.api.gorse.bodies import chunks, read_rows
from app.api.gorse.openapi import body, many, one, one_or_none
from app.api.gorse.pages import PART, After, Rows, page, whole
from app.api.gorse.queries import DEFAULT_N
from app.api.gorse.routing import ItemId, gorse_router
from app.api.gorse.writing import written
from app.api.service import InteractionService
from app.schemas.fields import Id
from app.schemas.gorse.answers import GorseFeedbackPage, GorseSuccess
from app.schemas.gorse.feedback import GorseFeedback, feedback_json, to_interaction

router = gorse_router()
WRITTEN = "How many were written"
REMOVED = "How many were removed"

FeedbackType = Annotated[Id, Path(description="Type of feedback", examples=["like"])]


@router.post(
    "/feedback",
    operation_id="gorse_insert_feedback",
    summary="Write feedback",
    responses=one(GorseSuccess, WRITTEN, 409, 413),
    openapi_extra=WRITE | body(GorseFeedback, rows=True),
)
async def gorse_insert_feedback(request: Request, interactions: Interactions) -> Response:
    """All of it, or nothing if a row is bad; users and items that are not known are created.

    To send it again is an update, and what is older than what is there is not written.
    """
    return await _write(request, interactions, overwrite=False)


@router.put(
    "/feedback",
    operation_id="gorse_upsert_feedback",
    summary="Write feedback over what is there",
    responses=one(GorseSuccess, WRITTEN, 409, 413),
    openapi_extra=WRITE | body(GorseFeedback, rows=True),
)
async def gorse_upsert_feedback(request: Request, interactions: Interactions) -> Response:
    """The same, and what is there is overwritten whenever it happened."""
    return await _write(request, interactions, overwrite=True)


@router.get(
    "/feedback",
    operation_id="gorse_get_feedback",
    summary="List feedback",
    responses=one(GorseFeedbackPage, "A page"),
    openapi_extra=READ,
)
async def gorse_get_feedback(interactions: StoredInteractions, after: After, n: Rows = DEFAULT_N) -> Response:
    """In the order of users, items and types."""
    return ok(await page(interactions.page, n, after, "Feedback", feedback_json))


@router.get(
    "/feedback/{feedback_type}",
    operation_id="gorse_get_feedback_of_type",
    summary="List feedback of a type",
    responses=one(GorseFeedbackPage, "A page"),
    openapi_extra=READ,
)
async def gorse_get_feedback_of_type(
    feedback_type: FeedbackType, interactions: StoredInteractions, after: After, n: Rows = DEFAULT_N
) -> Response:
    """In the order of users and items."""
    found = await page(
        lambda limit, start: interactions.page(limit, start, type_=feedback_type), n, after, "Feedback", feedback_json
    )
    return ok(found)


@router.get(
    "/feedback/{user_id}/{item_id}",
    operation_id="gorse_get_feedback_of_pair",
    summary="Get what a user did with an item",
    responses=many(GorseFeedback, "Of each type that there is"),
    openapi_extra=READ,
)
async def gorse_get_feedback_of_pair(user_id: UserId, item_id: ItemId, interactions: StoredInteractions) -> Response:
    """Nothing is an empty array."""
    found = await interactions.page(PART, user_id=user_id, course_id=item_id)
    return ok([feedback_json(row.__dict__) for row in found.items])


@router.delete(
    "/feedback/{user_id}/{item_id}",
    operation_id="gorse_delete_feedback_of_pair",
    summary="Remove what a user did with an item",
    responses=one(GorseSuccess, REMOVED),
    openapi_extra=WRITE,
)
async def gorse_delete_feedback_of_pair(user_id: UserId, item_id: ItemId, interactions: Interactions) -> Response:
    """Of all types."""
    return affected(await interactions.delete(user_id, item_id, None))


@router.get(
    "/feedback/{feedback_type}/{user_id}/{item_id}",
    operation_id="gorse_get_one_feedback",
    summary="Get one feedback",
    responses=one_or_none(GorseFeedback, "The feedback, or `{}`"),
    openapi_extra=READ,
)
async def gorse_get_one_feedback(
    feedback_type: FeedbackType, user_id: UserId, item_id: ItemId, interactions: StoredInteractions
) -> Response:
    """`{}` when there is none."""
    found = await interactions.page(1, user_id=user_id, course_id=item_id, type_=feedback_type)
    return ok(feedback_json(found.items[0].__dict__) if found.items else {})


@router.delete(
    "/feedback/{feedback_type}/{user_id}/{item_id}",
    operation_id="gorse_delete_one_feedback",
    summary="Remove one feedback",
    responses=one(GorseSuccess, REMOVED),
    openapi_extra=WRITE,
)
async def gorse_delete_one_feedback(
    feedback_type: FeedbackType, user_id: UserId, item_id: ItemId, interactions: Interactions
) -> Response:
    """What is not there is no error."""
    return affected(await interactions.delete(user_id, item_id, feedback_type))


@router.get(
    "/user/{user_id}/feedback",
    operation_id="gorse_get_user_feedback",
    summary="Get all feedback of a user",
    responses=many(GorseFeedback, "All of it"),
    openapi_extra=READ,
)
async def gorse_get_user_feedback(user_id: UserId, interactions: StoredInteractions) -> Response:
    """In the order of items and types."""
    return await ok_array(whole(lambda limit, start: interactions.page(limit, start, user_id=user_id), feedback_json))


@router.get(
    "/user/{user_id}/feedback/{feedback_type}",
    operation_id="gorse_get_user_feedback_of_type",
    summary="Get all feedback of a user of one type",
    responses=many(GorseFeedback, "All of it"),
    openapi_extra=READ,
)
async def gorse_get_user_feedback_of_type(
    user_id: UserId, feedback_type: FeedbackType, interactions: StoredInteractions
) -> Response:
    """In the order of items."""
    return await ok_array(
        whole(lambda limit, start: interactions.page(limit, start, user_id=user_id, type_=feedback_type), feedback_json)
    )


@router.get(
    "/item/{item_id}/feedback",
    operation_id="gorse_get_item_feedback",
    summary="Get all feedback on an item",
    responses=many(GorseFeedback, "All of it"),
    openapi_extra=READ,
)
async def gorse_get_item_feedback(item_id: ItemId, interactions: StoredInteractions) -> Response:
    """In the order of users and types."""
    return await ok_array(whole(lambda limit, start: interactions.page(limit, start, course_id=item_id), feedback_json))


@router.get(
    "/item/{item_id}/feedback/{feedback_type}",
    operation_id="gorse_get_item_feedback_of_type",
    summary="Get all feedback on an item of one type",
    responses=many(GorseFeedback, "All of it"),
    openapi_extra=READ,
)
async def gorse_get_item_feedback_of_type(
    item_id: ItemId, feedback_type: FeedbackType, interactions: StoredInteractions
) -> Response:
    """In the order of users."""
    return await ok_array(
        whole(
            lambda limit, start: interactions.page(limit, start, course_id=item_id, type_=feedback_type), feedback_json
        )
    )


async def _write(request: Request, interactions: InteractionService, *, overwrite: bool) -> Response:
    count, n_written = interactions.batch(auto_create=True).count, 0
    with batch_place(request):
        rows = [to_interaction(row) for row in await read_rows(request, GorseFeedback)]
        for some in chunks(rows):
            n_written += written(await interactions.write(list(some), auto_create=True, overwrite=overwrite))
            count(len(some), 0)
    return affected(n_written)
