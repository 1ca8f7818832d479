"""Lists of items."""

from typing import Annotated

from fastapi import Path, Query, Request, Response

from app.api.access import READ
from app.api.dependencies import UserId, get_services
from app.api.gorse.bodies import read_rows
from app.api.gorse.lists import ids_response, scores_response, wants_scores, write_back
from app.api.gorse.openapi import STRINGS, answers, body, many
from app.api.gorse.queries import GorseListOptions, GorseRecommendOptions, GorseUnreadOptions
from app.api.gorse.routing import GorseListRoute, gorse_router
from app.api.recommender import Answer, profile_of
from app.schemas.gorse.answers import GorseScore
from app.schemas.gorse.feedback import GorseSessionFeedback

hot, router = gorse_router(GorseListRoute), gorse_router(GorseListRoute)

LATEST = "latest"

Category = Annotated[str, Path(description="Only items in this category", examples=["Programming"])]
RECOMMENDED = answers("Ids, best first; with `X-API-Version: 2` objects with `Id` and `Score`", STRINGS, ["ml", "sql"])
SCORED = many(GorseScore, "Best first")
NEWEST = many(GorseScore, "Newest first; a score is seconds since 1970, 0 without a Timestamp")


@hot.get(
    "/recommend/{user_id}",
    operation_id="gorse_recommend",
    summary="What a user should take next",
    responses=RECOMMENDED,
    openapi_extra=READ,
)
async def gorse_recommend(
    user_id: UserId, request: Request, options: Annotated[GorseRecommendOptions, Query()]
) -> Response:
    """The same list as `GET /recommendations/{user_id}` gives: for somebody unknown what is popular."""
    return await _recommend(user_id, request, options)


@hot.get(
    "/recommend/{user_id}/{category}",
    operation_id="gorse_recommend_in_category",
    summary="What a user should take next in a category",
    responses=RECOMMENDED,
    openapi_extra=READ,
)
async def gorse_recommend_in_category(
    user_id: UserId, category: Category, request: Request, options: Annotated[GorseRecommendOptions, Query()]
) -> Response:
    """The same with a category in the path; those of the query, if there are any, count instead."""
    return await _recommend(user_id, request, options)


@router.get(
    "/collaborative-filtering/{user_id}",
    operation_id="gorse_collaborative_filtering",
    summary="What a user should take next, with scores",
    responses=SCORED,
    openapi_extra=READ,
)
async def gorse_collaborative_filtering(
    user_id: UserId, request: Request, options: Annotated[GorseListOptions, Query()]
) -> Response:
    """The same as `/recommend/{user_id}`, which here is collaborative filtering too."""
    return scores_response(await _list(user_id, request, options), options)


@router.get(
    "/collaborative-filtering/{user_id}/{category}",
    operation_id="gorse_collaborative_filtering_in_category",
    summary="What a user should take next in a category, with scores",
    responses=SCORED,
    openapi_extra=READ,
)
async def gorse_collaborative_filtering_in_category(
    user_id: UserId, category: Category, request: Request, options: Annotated[GorseListOptions, Query()]
) -> Response:
    """The same with a category in the path."""
    return scores_response(await _list(user_id, request, options), options)


@router.post(
    "/session/recommend",
    operation_id="gorse_session_recommend",
    summary="What somebody without an account should take next",
    responses=SCORED | {413: many(GorseScore, "", 413)[413]},
    openapi_extra=READ | body(GorseSessionFeedback, rows=True),
)
async def gorse_session_recommend(request: Request, options: Annotated[GorseListOptions, Query()]) -> Response:
    """From this feedback, of which nothing is kept, and of which only `ItemId` must be given.

    Its items are not in the list.
    """
    return await _recommend_session(request, options)


@router.post(
    "/session/recommend/{category}",
    operation_id="gorse_session_recommend_in_category",
    summary="What somebody without an account should take next in a category",
    responses=SCORED | {413: many(GorseScore, "", 413)[413]},
    openapi_extra=READ | body(GorseSessionFeedback, rows=True),
)
async def gorse_session_recommend_in_category(
    category: Category, request: Request, options: Annotated[GorseListOptions, Query()]
) -> Response:
    """The same with a category in the path."""
    return await _recommend_session(request, options)


@router.get(
    "/popular",
    operation_id="gorse_popular",
    summary="What most take",
    responses=SCORED,
    openapi_extra=READ,
)
async def gorse_popular(request: Request, options: Annotated[GorseUnreadOptions, Query()]) -> Response:
    """The same list as `GET /popular` gives."""
    return await _popular(request, options)


@router.get(
    "/popular/{category}",
    operation_id="gorse_popular_in_category",
    summary="What most take in a category",
    responses=SCORED,
    openapi_extra=READ,
)
async def gorse_popular_in_category(
    category: Category, request: Request, options: Annotated[GorseUnreadOptions, Query()]
) -> Response:
    """The same with a category in the path."""
    return await _popular(request, options)


@router.get(
    "/latest",
    operation_id="gorse_latest",
    summary="What came out last",
    responses=NEWEST,
    openapi_extra=READ,
)
async def gorse_latest(request: Request, options: Annotated[GorseUnreadOptions, Query()]) -> Response:
    """Newest first; what has no Timestamp comes last."""
    return await _latest(request, options)


@router.get(
    "/latest/{category}",
    operation_id="gorse_latest_in_category",
    summary="What came out last in a category",
    responses=NEWEST,
    openapi_extra=READ,
)
async def gorse_latest_in_category(
    category: Category, request: Request, options: Annotated[GorseUnreadOptions, Query()]
) -> Response:
    """The same with a category in the path."""
    return await _latest(request, options)


@router.get(
    "/non-personalized/{name}",
    operation_id="gorse_non_personalized",
    summary="A list that is the same for all",
    responses=SCORED,
    openapi_extra=READ,
)
async def gorse_non_personalized(
    name: Annotated[str, Path(description="`latest`; every other name stands for popular", examples=["popular"])],
    request: Request,
    options: Annotated[GorseUnreadOptions, Query()],
) -> Response:
    """Gorse's own names are settings of Gorse; here there are two lists."""
    return await (_latest if name == LATEST else _popular)(request, options)


# ---


async def _list(user_id: str, request: Request, options: GorseListOptions) -> Answer:
    services = get_services(request)
    answer = await services.recommender.recommend(user_id, options.options())
    services.count(answer)
    return answer


async def _recommend(user_id: str, request: Request, options: GorseRecommendOptions) -> Response:
    answer = await _list(user_id, request, options)
    if options.write_back_type is not None:
        await write_back(request, user_id, answer, options)
    return scores_response(answer, options) if wants_scores(request) else ids_response(answer, options)


async def _recommend_session(request: Request, options: GorseListOptions) -> Response:
    services, rows = get_services(request), await read_rows(request, GorseSessionFeedback)
    liked = [row.ItemId for row in rows if services.interactions.weight(row.FeedbackType) > 0]
    others = tuple({row.ItemId for row in rows}.difference(liked))
    wanted = options.options(exclude=others)
    answer = await services.recommender.recommend_to(list(dict.fromkeys(liked)), profile_of({}, None), wanted)
    services.count(answer)
    return scores_response(answer, options)


async def _popular(request: Request, options: GorseUnreadOptions) -> Response:
    services = get_services(request)
    answer = await services.recommender.popular(options.options(), options.user_id)
    services.count(answer)
    return scores_response(answer, options)


async def _latest(request: Request, options: GorseUnreadOptions) -> Response:
    answer = await get_services(request).recommender.latest(options.options(), options.user_id)
    return scores_response(answer, options)
