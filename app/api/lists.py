"""Routes of lists, which read their options without what FastAPI spends on a call.

Reading 15 parameters with FastAPI takes 100 us, which is more than the whole answer; with none given there is nothing
to read, and what was given before need not be read again.  The signature of the endpoint still says to OpenAPI what
there is, and what is wrong is said as everywhere.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.types import Receive, Scope, Send

from app.api.heads import data_age
from app.api.routing import Route, refuse_unknown, with_parsed_body
from app.schemas.fields import Id
from app.schemas.recommendations import PopularOptions, RecommendationOptions
from app.serving.options import Options

Given = TypeVar("Given", bound=BaseModel)

REPEATABLE = frozenset({"category", "tag", "level", "language", "exclude", "include_only"})
QUERIES_KEPT = 500  # query strings whose options are kept, of each route
OPTIONS_KEPT = 1_000
QUERY_BYTES = 500  # of the longest that is kept

_id = TypeAdapter(Id)
_converted: dict[int, tuple[PopularOptions, Options]] = {}  # by identity, as those of a query are kept


class ListRoute(Route):
    """Calls its endpoint with ``request``, ``options`` and, where the path has one, an id, all read here.

    ``options`` are the query of GET and the JSON body of POST.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint behind our own reading of its parameters."""
        endpoint = self.endpoint
        model: type[BaseModel] = endpoint.__annotations__["options"].__origin__
        read = _body_reader(model) if self.body_field is not None else _of_query(query_reader(model))
        names = list(self.param_convertors)
        name = names[0] if names else None

        async def handle(request: Request) -> Response:
            options = await read(request)
            answer: Response
            if name is None:
                answer = await endpoint(request, options)
            else:
                answer = await endpoint(read_id(request.scope["path_params"][name], name), request, options)
            return answer

        self._answer = handle
        return handle

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer without what FastAPI puts round every endpoint for dependencies, of which there are none here."""
        await send_list(self._answer, scope, receive, send)


async def send_list(
    answer: Callable[[Request], Coroutine[Any, Any, Response]], scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer, and say how old what the list was made of may be."""
    age = data_age(scope["state"]["services"].live.lag_seconds())  # not less while the answer is being made
    response = await answer(Request(scope, receive))
    response.raw_headers += age
    await response(scope, receive, send)


def read_id(value: str, name: str = "user_id") -> str:
    """The id in a path.  name: of its parameter.  Raises RequestValidationError."""
    if value.isalnum() and len(value) < 100:
        return value
    try:
        return _id.validate_python(value)
    except ValidationError as error:
        raise RequestValidationError(_at(error, "path", name)) from None


def _of_query(read: Callable[[bytes], Given]) -> Callable[[Request], Coroutine[Any, Any, Given]]:
    async def read_query(request: Request) -> Given:
        return read(request.scope["query_string"])

    return read_query


def query_reader(model: type[Given]) -> Callable[[bytes], Given]:
    """Makes options of a query string, the same for the same.  Raises RequestValidationError."""
    kept: dict[bytes, Given] = {}
    default = model.model_validate({})

    def read(query: bytes) -> Given:
        if not query:
            return default
        options = kept.get(query)
        if options is None:
            options = _read_query(query, model)
            if len(query) <= QUERY_BYTES:
                if len(kept) >= QUERIES_KEPT:
                    kept.clear()
                kept[query] = options
        return options

    return read


def _body_reader(model: type[Given]) -> Callable[[Request], Coroutine[Any, Any, Given]]:
    async def read(request: Request) -> Given:
        if request.scope["query_string"]:
            refuse_unknown(request.query_params, ())
        parsed = await with_parsed_body(request)
        body = await parsed.json()
        try:
            return model.model_validate(_whole(body) if await parsed.body() else {}, strict=True)
        except ValidationError as error:
            raise RequestValidationError(_at(error, "body")) from None

    return read


def _whole(body: object) -> object:
    """JSON has one kind of number: 5.0 is 5, and "5" is none."""
    if not isinstance(body, dict):
        return body
    return {
        key: int(value) if isinstance(value, float) and value.is_integer() else value for key, value in body.items()
    }


def _read_query(query: bytes, model: type[Given]) -> Given:
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


def to_options(given: PopularOptions) -> Options:
    """What serving needs to know of them."""
    kept = _converted.get(id(given))
    if kept is not None and kept[0] is given:
        return kept[1]
    options = _convert(given)
    if len(_converted) >= OPTIONS_KEPT:
        _converted.clear()
    _converted[id(given)] = given, options
    return options


def _convert(given: PopularOptions) -> Options:
    if not isinstance(given, RecommendationOptions):
        return Options(n=given.n, offset=given.offset, categories=tuple(given.category))
    return Options(
        n=given.n,
        offset=given.offset,
        categories=tuple(given.category),
        exclude=tuple(given.exclude),
        exclude_seen=given.exclude_seen,
        percent_over=given.percent_over,
        temperature=given.temperature,
        tags=tuple(given.tag),
        levels=tuple(given.level),
        languages=tuple(given.language),
        include_only=None if given.include_only is None else tuple(given.include_only),
        prerequisites_met=given.prerequisites == "met",
        diversity=given.diversity,
    )
