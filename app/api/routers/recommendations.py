"""Recommendations: the calls that everything else exists for."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response

from app.api.dependencies import UserId, get_services
from app.api.lists import ListRoute, list_response, to_options
from app.api.routing import Route
from app.errors import UnknownUserError
from app.schemas.problems import problem_responses
from app.schemas.recommendations import PopularOptions, RecommendationList, RecommendationOptions

router = APIRouter(tags=["recommendations"], route_class=ListRoute)
with_body = APIRouter(tags=["recommendations"], route_class=Route)

DEFAULTS = RecommendationOptions()
EXAMPLE = {
    "user_id": "ada",
    "model_id": "m-000012",
    "source": "model",
    "generated_at": "2026-11-24T10:00:00Z",
    "recommendation_id": "r-7f2b5c0d9e1a4b3c8d6f7a90",
    "percent_over": "recommended",
    "items": [{"course_id": "python", "rank": 1, "score": 1.0312, "percent": 100.0}],
}
OPTIONS = {"n": 5, "category": ["Programming"], "exclude": ["python"]}
LIST: dict[int | str, dict[str, Any]] = {
    200: {
        "model": RecommendationList,
        "description": "Courses, best first",
        "content": {"application/json": {"example": EXAMPLE}},
        "headers": {
            "ETag": {"schema": {"type": "string"}, "description": "Differs with the model and the user's interactions"},
            "Cache-Control": {"schema": {"type": "string"}, "description": "`private`"},
        },
    },
}
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "The list is the one that `If-None-Match` names"}}


@router.get(
    "/recommendations/{user_id}",
    operation_id="get_recommendations",
    summary="What a user should take next",
    responses={**LIST, **UNCHANGED, **problem_responses(404)},
    response_class=Response,
)
async def get_recommendations(
    user_id: UserId, request: Request, options: Annotated[RecommendationOptions, Query()]
) -> Response:
    """The best courses that the user has not taken; popular ones for somebody unknown, and before the first model."""
    return await _recommend(user_id, request, options)


@router.get(
    "/popular",
    operation_id="get_popular",
    summary="What most take",
    responses={**LIST, **UNCHANGED, **problem_responses()},
    response_class=Response,
)
async def get_popular(request: Request, options: Annotated[PopularOptions, Query()]) -> Response:
    """Most taken courses; a score is ln(1 + takers)."""
    answer = await get_services(request).live.popular(to_options(options))
    return list_response(request, None, answer, "recommended")


@with_body.post(
    "/recommendations/{user_id}",
    operation_id="post_recommendations",
    summary="What a user should take next, options in the body",
    responses={**LIST, **problem_responses(400, 404, 413, 415)},
    response_class=Response,
)
async def post_recommendations(
    user_id: UserId, request: Request, options: Annotated[RecommendationOptions, Body(examples=[OPTIONS])] = DEFAULTS
) -> Response:
    """The same as GET, for options that are too long for a URL."""
    return await _recommend(user_id, request, options)


async def _recommend(user_id: str, request: Request, options: RecommendationOptions) -> Response:
    services = get_services(request)
    if options.strict and not await services.live.knows(user_id):
        raise UnknownUserError(user_id)
    answer = await services.live.recommend(user_id, to_options(options))
    services.metrics.count_recommendation(answer.ranked.source)
    return list_response(request, user_id, answer, options.percent_over)
