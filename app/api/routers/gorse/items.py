"""Items."""

from typing import Annotated

from fastapi import Path, Query, Request, Response

from app.api.access import READ, WRITE
from app.api.batches import batch_place
from app.api.dependencies import AllServices, Courses
from app.api.gorse.answers import affected, ok
from app.api.gorse.bodies import given_fields, read_row, read_rows
from app.api.gorse.openapi import body, one
from app.api.gorse.pages import After, Rows, page
from app.api.gorse.queries import DEFAULT_N, MOST_ROWS
from app.api.gorse.routing import ItemId, gorse_router
from app.api.gorse.writing import changes_of, delete_record, found, merge_rows
from app.schemas.fields import Label
from app.schemas.gorse.answers import GorseItemPage, GorseSuccess
from app.schemas.gorse.base import Fields
from app.schemas.gorse.items import GorseItem, GorseItemFields, item_json, merge_item

router = gorse_router()
WRITTEN = "How many were written"

Category = Annotated[Label, Path(description="Name of a category", examples=["Programming"])]


@router.post(
    "/item",
    operation_id="gorse_insert_item",
    summary="Create or replace an item",
    responses=one(GorseSuccess, WRITTEN, 409, 413),
    openapi_extra=WRITE | body(GorseItem),
)
async def gorse_insert_item(request: Request, courses: Courses) -> Response:
    """What Gorse does not know of a course, such as its description, stays as it is."""
    item = await read_row(request, GorseItem)
    return affected(await merge_rows(courses, [(item.ItemId, changes_of(item))], merge_item))


@router.post(
    "/items",
    operation_id="gorse_insert_items",
    summary="Create or replace many items",
    responses=one(GorseSuccess, WRITTEN, 409, 413),
    openapi_extra=WRITE | body(GorseItem, rows=True),
)
async def gorse_insert_items(request: Request, courses: Courses) -> Response:
    """All of them, or none if one is bad."""
    with batch_place(request):
        rows = await read_rows(request, GorseItem)
        return affected(await merge_rows(courses, [(row.ItemId, changes_of(row)) for row in rows], merge_item))


@router.get(
    "/items",
    operation_id="gorse_get_items",
    summary="List or search items",
    responses=one(GorseItemPage, "A page"),
    openapi_extra=READ,
)
async def gorse_get_items(
    services: AllServices,
    after: After,
    n: Rows = DEFAULT_N,
    q: Annotated[str, Query(max_length=128, description="Only items with this in their Comment or id")] = "",
) -> Response:
    """Items in the order of their ids; those that are searched for, best first and without a further page."""
    store = services.courses.store
    if not q:
        return ok(await page(store.page, n, after, "Items", item_json))
    ids = [course.course_id for course in (await services.overview.search(q, min(n, MOST_ROWS))).courses]
    records = await store.records(ids)
    items = [records[course_id] for course_id in ids if course_id in records]
    return ok({"Cursor": "", "Items": [item_json(item) for item in items]})


@router.get(
    "/item/{item_id}",
    operation_id="gorse_get_item",
    summary="Get an item",
    responses=one(GorseItem, "The item", 404),
    openapi_extra=READ,
)
async def gorse_get_item(item_id: ItemId, courses: Courses) -> Response:
    """All fields, whether they were given or not."""
    with found("item", item_id):
        return ok(item_json((await courses.store.get(item_id)).__dict__))


@router.patch(
    "/item/{item_id}",
    operation_id="gorse_update_item",
    summary="Change some fields of an item",
    responses=one(GorseSuccess, WRITTEN, 404, 413),
    openapi_extra=WRITE | body(GorseItemFields),
)
async def gorse_update_item(item_id: ItemId, request: Request, courses: Courses) -> Response:
    """What is absent or null stays."""
    changes = given_fields(await read_row(request, GorseItemFields))
    with found("item", item_id):
        await courses.change(item_id, lambda fields: merge_item(fields, changes))
    return affected(1)


@router.delete(
    "/item/{item_id}",
    operation_id="gorse_delete_item",
    summary="Erase an item",
    responses=one(GorseSuccess, "1, or 0 when there was none"),
    openapi_extra=WRITE,
)
async def gorse_delete_item(item_id: ItemId, courses: Courses) -> Response:
    """Erases the item and its feedback; one that is not there is no error."""
    return affected(await delete_record(courses, item_id))


@router.put(
    "/item/{item_id}/category/{category}",
    operation_id="gorse_insert_item_category",
    summary="Put an item into a category",
    responses=one(GorseSuccess, WRITTEN, 404),
    openapi_extra=WRITE,
)
async def gorse_insert_item_category(item_id: ItemId, category: Category, courses: Courses) -> Response:
    """Takes no body; to be in it already is no error."""

    def put(fields: Fields) -> Fields:
        others = fields.get("categories") or []
        return {**fields, "categories": others if category in others else [*others, category]}

    with found("item", item_id):
        await courses.change(item_id, put)
    return affected(1)


@router.delete(
    "/item/{item_id}/category/{category}",
    operation_id="gorse_delete_item_category",
    summary="Take an item out of a category",
    responses=one(GorseSuccess, WRITTEN, 404),
    openapi_extra=WRITE,
)
async def gorse_delete_item_category(item_id: ItemId, category: Category, courses: Courses) -> Response:
    """Not to be in it is no error."""

    def take(fields: Fields) -> Fields:
        return {**fields, "categories": [other for other in fields.get("categories") or [] if other != category]}

    with found("item", item_id):
        await courses.change(item_id, take)
    return affected(1)
