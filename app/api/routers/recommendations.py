"""Recommendations: the calls that everything else exists for."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import orjson
from fastapi import APIRouter, Header, Query, Response

from app.api.dependencies import AllServices, Options, PathId, RankedList
from app.api.routing import Route
from app.errors import UnknownUserError
from app.schemas.problems import problem_responses
from app.schemas.recommendations import PopularOptions, RecommendationList, RecommendationOptions

router = APIRouter(tags=["recommendations"], route_class=Route)
DEFAULTS = RecommendationOptions()
LIST: dict[int | str, dict[str, Any]] = {
    200: {"model": RecommendationList, "description": "Courses, best first"},
    304: {"description": "The list is the one that `If-None-Match` names"},
}
NoneMatch = Annotated[str | None, Header(alias="If-None-Match")]


@router.get(
    "/recommendations/{user_id}",
    operation_id="get_recommendations",
    summary="What a user should take next",
    responses={**LIST, **problem_responses(404)},
    response_class=Response,
)
async def get_recommendations(
    user_id: PathId,
    services: AllServices,
    options: Annotated[RecommendationOptions, Query()],
    if_none_match: NoneMatch = None,
) -> Response:
    """The best courses that the user has not taken; popular ones for somebody unknown, and before the first model."""
    return await _recommend(user_id, services, options, if_none_match)


@router.post(
    "/recommendations/{user_id}",
    operation_id="post_recommendations",
    summary="What a user should take next, options in the body",
    responses={**LIST, **problem_responses(400, 404)},
    response_class=Response,
)
async def post_recommendations(
    user_id: PathId,
    services: AllServices,
    options: RecommendationOptions = DEFAULTS,
    if_none_match: NoneMatch = None,
) -> Response:
    """The same as GET, for options that are too long for a URL."""
    return await _recommend(user_id, services, options, if_none_match)


@router.get(
    "/popular",
    operation_id="get_popular",
    summary="What most take",
    responses={**LIST, **problem_responses()},
    response_class=Response,
)
async def get_popular(
    services: AllServices, options: Annotated[PopularOptions, Query()], if_none_match: NoneMatch = None
) -> Response:
    """Most taken courses; a score is ln(1 + takers)."""
    wanted = Options(n=options.n, offset=options.offset, categories=tuple(options.category))
    return _answer(None, await services.live.popular(wanted), "recommended", if_none_match)


async def _recommend(
    user_id: str, services: AllServices, options: RecommendationOptions, if_none_match: str | None
) -> Response:
    if options.strict and not await services.users.store.existing([user_id]):
        raise UnknownUserError(user_id)
    wanted = Options(
        n=options.n,
        offset=options.offset,
        categories=tuple(options.category),
        exclude=tuple(options.exclude),
        exclude_seen=options.exclude_seen,
        percent_over=options.percent_over,
        temperature=options.temperature,
    )
    ranked = await services.live.recommend(user_id, wanted)
    services.metrics.count_recommendation(ranked.source)
    return _answer(user_id, ranked, options.percent_over, if_none_match)


def _answer(user_id: str | None, ranked: RankedList, percent_over: str, if_none_match: str | None) -> Response:
    items = [
        {"course_id": item.course_id, "rank": item.rank, "score": item.score, "percent": item.percent}
        for item in ranked.items
    ]
    # The tag is made from what the list says, so it is the same in every process.
    said = orjson.dumps([ranked.model_id, ranked.source, items])
    etag = f'"{hashlib.blake2b(said, digest_size=12).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "private"}
    if if_none_match is not None and etag in {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}:
        return Response(status_code=304, headers=headers)
    body = {
        "user_id": user_id,
        "model_id": ranked.model_id,
        "source": ranked.source,
        "generated_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "recommendation_id": f"r-{uuid4().hex}",
        "percent_over": percent_over,
        "items": items,
    }
    return Response(orjson.dumps(body), media_type="application/json", headers=headers)
