"""Recommendations: the calls that everything else exists for."""

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from starlette.responses import StreamingResponse

from app.api import examples
from app.api.access import READ
from app.api.answers import document, items_json, json_response, list_response
from app.api.dependencies import CourseId, Services, UserId, get_services
from app.api.heads import DATA_AGE
from app.api.lists import ListRoute, to_options
from app.api.recommender import Answer, profile_of
from app.api.routing import counted
from app.errors import UnknownCourseError, UnknownUserError
from app.schemas.problems import problem_responses
from app.schemas.recommendations import (
    AnonymousOptions,
    BatchOptions,
    CountOptions,
    InterestedUsers,
    PopularOptions,
    QueryOptions,
    RecommendationList,
    RecommendationOptions,
    SimilarCourses,
    SimilarUsers,
)

router = APIRouter(tags=["recommendations"], route_class=ListRoute)

DEFAULTS, NOBODY = RecommendationOptions(), AnonymousOptions()
NDJSON = "application/x-ndjson"
CHUNK_BYTES = 2**16  # of a batch, sent at once
OPTIONS = {"n": 5, "category": ["Programming"], "exclude": ["python"], "explain": True}
SOMEBODY = {"course_ids": ["python"], "interests": {"statistics": 1.0}, "n": 5}
BATCH = {"user_ids": ["ada", "bob"], "n": 5}
AGED = {
    DATA_AGE: {
        "schema": {"type": "number"},
        "description": "Only when this process has not heard for longer than a second of what others stored, as while "
        "it is cut off from the database: for how many seconds. What a user took within them may still be listed.",
    }
}
TAGGED = {
    "ETag": {"schema": {"type": "string"}, "description": "Differs with the model and the user's interactions"},
    "Cache-Control": {"schema": {"type": "string"}, "description": "`private`"},
    **AGED,
}
LIST: dict[int | str, dict[str, Any]] = {
    200: {
        "model": RecommendationList,
        "description": "Courses, best first",
        "content": {"application/json": {"example": examples.LIST}},
        "headers": TAGGED,
    },
}
LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One list a line, like `GET /recommendations/{user_id}`, in the order of `user_ids`",
        "content": {NDJSON: {"schema": {"$ref": "#/components/schemas/RecommendationList"}}},
        "headers": AGED,
    },
}
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "The list is the one that `If-None-Match` names"}}


@router.get(
    "/recommendations/{user_id}",
    operation_id="get_recommendations",
    summary="What a user should take next",
    responses={**LIST, **UNCHANGED, **problem_responses(404)},
    response_class=Response,
    openapi_extra=READ,
)
async def get_recommendations(user_id: UserId, request: Request, options: Annotated[QueryOptions, Query()]) -> Response:
    """The best courses that the user has not taken; popular ones for somebody unknown, and before the first model."""
    return await _recommend(user_id, request, options)


@router.get(
    "/popular",
    operation_id="get_popular",
    summary="What most take",
    responses={**LIST, **UNCHANGED, **problem_responses()},
    response_class=Response,
    openapi_extra=READ,
)
async def get_popular(request: Request, options: Annotated[PopularOptions, Query()]) -> Response:
    """Most taken courses; a score is ln(1 + takers), of whom earlier ones may count less."""
    services = get_services(request)
    answer = await services.recommender.popular(to_options(options))
    services.count(answer)
    return list_response(request, None, answer, "recommended")


@router.post(
    "/recommendations/batch",
    operation_id="post_recommendations_batch",
    summary="What many users should take next",
    responses={**LINES, **problem_responses(400, 404, 413, 415)},
    response_class=StreamingResponse,
    openapi_extra=READ,
)
@counted("batches")
async def post_recommendations_batch(
    request: Request, options: Annotated[BatchOptions, Body(examples=[BATCH])]
) -> Response:
    """Lines as fast as they are read, all by the model that is served at the start.

    With `strict` an unknown user is 404 before the first line.
    """
    services = get_services(request)
    if options.strict and (unknown := await services.recommender.unknown(options.user_ids)) is not None:
        raise UnknownUserError(unknown)
    lines = _lines(services, options)
    first = await anext(lines, b"")  # what cannot be answered at all is said with a status
    return StreamingResponse(_begun(first, lines), media_type=NDJSON)


@router.post(
    "/recommendations/{user_id}",
    operation_id="post_recommendations",
    summary="What a user should take next, options in the body",
    responses={**LIST, **problem_responses(400, 404, 413, 415)},
    response_class=Response,
    openapi_extra=READ,
)
async def post_recommendations(
    user_id: UserId, request: Request, options: Annotated[RecommendationOptions, Body(examples=[OPTIONS])] = DEFAULTS
) -> Response:
    """The same as GET, for options that are too long for a URL; a user whose id is `batch` can only be asked by GET."""
    return await _recommend(user_id, request, options)


@router.post(
    "/recommendations",
    operation_id="post_anonymous_recommendations",
    summary="What somebody without an account should take next",
    responses={**LIST, **problem_responses(400, 413, 415)},
    response_class=Response,
    openapi_extra=READ,
)
async def post_anonymous_recommendations(
    request: Request, options: Annotated[AnonymousOptions, Body(examples=[SOMEBODY])] = NOBODY
) -> Response:
    """From courses taken and interests; nothing of it is kept.  Popular courses when nothing is said."""
    services = get_services(request)
    profile = profile_of(options.interests, options.features)
    answer = await services.recommender.recommend_to(
        options.course_ids, profile, to_options(options), explain=options.explain
    )
    return await _respond(request, services, None, answer, options)


@router.get(
    "/courses/{course_id}/similar",
    operation_id="get_similar_courses",
    summary="Courses like one",
    responses={
        200: {"model": SimilarCourses, "description": "Nearest first", "headers": AGED},
        **problem_responses(404),
    },
    response_class=Response,
    openapi_extra=READ,
)
async def get_similar_courses(
    course_id: CourseId, request: Request, options: Annotated[CountOptions, Query()]
) -> Response:
    """Available courses with the nearest vectors; with most labels in common when the course has no vector."""
    recommender = get_services(request).recommender
    if not recommender.knows_course(course_id):
        raise UnknownCourseError(course_id)
    near = recommender.similar_courses(course_id, options.n)
    items = [
        {"course_id": course.course_id, "rank": rank, "score": course.similarity, "shared_users": course.shared}
        for rank, course in enumerate(near.courses, 1)
    ]
    return json_response({"course_id": course_id, "model_id": near.model_id, "source": near.source, "items": items})


@router.get(
    "/courses/{course_id}/users",
    operation_id="get_course_users",
    summary="Who should take a course",
    responses={
        200: {"model": InterestedUsers, "description": "Highest ranks first", "headers": AGED},
        **problem_responses(404),
    },
    response_class=Response,
    openapi_extra=READ,
)
async def get_course_users(
    course_id: CourseId, request: Request, options: Annotated[CountOptions, Query()]
) -> Response:
    """Users in whose lists the course stands highest and who have not taken it; none before the first model.

    Of those whom the process holds, by COURSEGRAPH_USERS_HELD.
    """
    recommender = get_services(request).recommender
    if not recommender.knows_course(course_id):
        raise UnknownCourseError(course_id)
    model_id, users = await recommender.users_for(course_id, options.n)
    items = [{"user_id": user.user_id, "rank": user.rank, "score": user.score} for user in users]
    return json_response({"course_id": course_id, "model_id": model_id, "items": items})


@router.get(
    "/users/{user_id}/similar",
    operation_id="get_similar_users",
    summary="Users like one",
    responses={200: {"model": SimilarUsers, "description": "Nearest first", "headers": AGED}, **problem_responses(404)},
    response_class=Response,
    openapi_extra=READ,
)
async def get_similar_users(user_id: UserId, request: Request, options: Annotated[CountOptions, Query()]) -> Response:
    """Users of the model with the nearest vectors; none for somebody without a vector, or before the first model.

    Of those whom the process holds, by COURSEGRAPH_USERS_HELD.
    """
    recommender = get_services(request).recommender
    if await recommender.unknown([user_id]) is not None:
        raise UnknownUserError(user_id)
    model_id, users = await recommender.similar_users(user_id, options.n)
    items = [{"user_id": user.user_id, "rank": rank, "score": user.similarity} for rank, user in enumerate(users, 1)]
    return json_response({"user_id": user_id, "model_id": model_id, "items": items})


async def _recommend(user_id: str, request: Request, options: RecommendationOptions) -> Response:
    services = get_services(request)
    if options.strict and await services.recommender.unknown([user_id]) is not None:
        raise UnknownUserError(user_id)
    answer = await services.recommender.recommend(user_id, to_options(options), explain=options.explain)
    return await _respond(request, services, user_id, answer, options)


async def _respond(
    request: Request, services: Services, user_id: str | None, answer: Answer, options: RecommendationOptions
) -> Response:
    services.count(answer)
    courses = await _records(services, [answer]) if options.include_course else None
    return list_response(request, user_id, answer, options.percent_over, courses)


async def _records(services: Services, answers: Collection[Answer]) -> Mapping[str, Any]:
    """The courses of these lists as they are stored, without their vectors."""
    return await services.live.records.get_many({item.course_id for answer in answers for item in answer.ranked.items})


async def _begun(first: bytes, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for line in lines:
        yield line


async def _lines(services: Services, options: BatchOptions) -> AsyncIterator[bytes]:
    start, lines, size = 0, list[bytes](), 0
    blocks = services.recommender.recommend_many(options.user_ids, to_options(options), explain=options.explain)
    async for answers in blocks:
        courses = await _records(services, answers) if options.include_course else None
        for user_id, answer in zip(options.user_ids[start : start + len(answers)], answers, strict=True):
            services.count(answer)
            lines.append(document(user_id, answer, options.percent_over, items_json(answer, courses)))
            size += len(lines[-1])
            if size >= CHUNK_BYTES:
                yield b"\n".join([*lines, b""])
                lines, size = [], 0
        start += len(answers)
    if lines:
        yield b"\n".join([*lines, b""])
