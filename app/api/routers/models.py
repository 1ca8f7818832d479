"""Published models."""

from fastapi import APIRouter

from app.api.access import ADMIN, READ
from app.api.dependencies import After, AllServices, Limit, ModelId, Models
from app.api.routing import Route
from app.errors import NoModelError
from app.schemas.models import ModelSummary
from app.schemas.pages import PageOf, encode_cursor
from app.schemas.problems import problem_responses

router = APIRouter(prefix="/models", tags=["models"], route_class=Route)


@router.get("", operation_id="list_models", summary="List models", responses=problem_responses(404), openapi_extra=READ)
async def list_models(models: Models, after: After, limit: Limit = 100) -> PageOf[ModelSummary]:
    """Those that are kept, newest first."""
    page = await models.page(limit, after)
    return PageOf[ModelSummary](items=page.items, next_cursor=encode_cursor(page.after))


@router.get(
    "/current",
    operation_id="get_current_model",
    summary="Get the served model",
    responses=problem_responses(404),
    openapi_extra=READ,
)
async def get_current_model(models: Models) -> ModelSummary:
    """The model that the pointer names; every process serves it within a second."""
    model_id = await models.current()
    if model_id is None:
        raise NoModelError
    return await models.get(model_id)


@router.get(
    "/{model_id}", operation_id="get_model", summary="Get a model", responses=problem_responses(404), openapi_extra=READ
)
async def get_model(model_id: ModelId, services: AllServices) -> ModelSummary:
    """What it was made from, how, how good it is, and what became of its lists."""
    await services.shown.tell()
    model = await services.models.get(model_id)
    return model.model_copy(update={"click_through": await services.models.click_through(model_id)})


@router.post(
    "/{model_id}/activate",
    operation_id="activate_model",
    summary="Serve a model",
    responses=problem_responses(404),
    openapi_extra=ADMIN,
)
async def activate_model(model_id: ModelId, models: Models) -> ModelSummary:
    """Promote or roll back; every process serves it within a second."""
    return await models.activate(model_id)
