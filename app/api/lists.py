"""Lists of courses as bytes, and the routes that ask for them without what FastAPI spends on a call.

Reading 15 parameters with FastAPI takes 100 us, which is more than the whole answer; with none given there is nothing
to read.  The signature of the endpoint still says to OpenAPI what there is.
"""

import hashlib
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from random import getrandbits
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.api.live import Answer
from app.api.routing import Route, refuse_unknown
from app.schemas.fields import Id
from app.schemas.recommendations import PopularOptions, RecommendationOptions
from app.serving.options import Options

Query = TypeVar("Query", bound=BaseModel)

REPEATABLE = frozenset({"category", "exclude"})

_id = TypeAdapter(Id)
_DEFAULT = RecommendationOptions()
_DEFAULT_OPTIONS = Options()


class ListRoute(Route):
    """Calls its endpoint with ``request``, ``options`` and, where the path has one, ``user_id``, all read here."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint behind our own reading of its parameters."""
        endpoint = self.endpoint
        model: type[BaseModel] = endpoint.__annotations__["options"].__origin__
        default = model()
        of_user = "user_id" in self.param_convertors

        async def handle(request: Request) -> Response:
            query = request.scope["query_string"]
            options = _read_query(query, model) if query else default
            if of_user:
                answer: Response = await endpoint(_read_id(request), request, options)
            else:
                answer = await endpoint(request, options)
            return answer

        return handle


def _read_id(request: Request) -> str:
    try:
        return _id.validate_python(request.scope["path_params"]["user_id"])
    except ValidationError as error:
        raise RequestValidationError(_at(error, "path", "user_id")) from None


def _read_query(query: bytes, model: type[Query]) -> Query:
    """Options from a query string, errors as FastAPI words them."""
    values: dict[str, Any] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name in REPEATABLE:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    refuse_unknown(values, tuple(model.model_fields))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError(_at(error, "query")) from None


def _at(error: ValidationError, *place: str) -> list[Any]:
    return [{**problem, "loc": (*place, *problem["loc"])} for problem in error.errors(include_url=False)]


def to_options(given: RecommendationOptions | PopularOptions) -> Options:
    """What serving needs to know of them."""
    if given == _DEFAULT:
        return _DEFAULT_OPTIONS
    shared = Options(n=given.n, offset=given.offset, categories=tuple(given.category))
    if isinstance(given, PopularOptions):
        return shared
    return Options(
        n=given.n,
        offset=given.offset,
        categories=shared.categories,
        exclude=tuple(given.exclude),
        exclude_seen=given.exclude_seen,
        percent_over=given.percent_over,
        temperature=given.temperature,
    )


def list_response(request: Request, user_id: str | None, answer: Answer, percent_over: str) -> Response:
    """The list with its tag, or 304 when the caller has it already.

    The tag is made from the list and from what the user has taken, so it is the same in every process.
    """
    ranked = answer.ranked
    items = orjson.dumps(
        [
            {"course_id": course_id, "rank": rank, "score": score, "percent": percent}
            for course_id, score, percent, rank in ranked.items
        ]
    )
    said = b"\x1e".join((str(ranked.model_id).encode(), ranked.source.encode(), answer.taken, items))
    tag = f'W/"{hashlib.blake2b(said, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private"}
    wanted = request.headers.get("if-none-match")
    if request.method == "GET" and wanted is not None and _matches(wanted, tag):
        return Response(status_code=304, headers=headers)
    body = {
        "user_id": user_id,
        "model_id": ranked.model_id,
        "source": ranked.source,
        "generated_at": datetime.now(UTC),
        "recommendation_id": f"r-{getrandbits(96):024x}",
        "percent_over": percent_over,
        "items": orjson.Fragment(items),
    }
    content = orjson.dumps(body, option=orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS)
    return Response(content, media_type="application/json", headers=headers)


def _matches(wanted: str, tag: str) -> bool:
    """Whether If-None-Match names the tag; weakly, as RFC 9110 says."""
    opaque = tag.removeprefix("W/")
    return wanted.strip() == "*" or opaque in {one.strip().removeprefix("W/") for one in wanted.split(",")}
