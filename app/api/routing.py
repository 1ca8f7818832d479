"""Routes that refuse what they do not know: query parameters nobody reads, bodies of another type."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Cookie, Header, Path
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from app.api.access import scope_of
from app.api.bodies import JSON, MERGE_PATCH, ParsedRequest, media_type, parse_json, read_json
from app.api.gate import ADMITTED, Gate
from app.api.outage import unless_gone
from app.api.slots import AllSlots
from app.errors import UnsupportedMediaError
from app.schemas.problems import problems_of

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
COUNTED = "counted_as"  # attribute of an endpoint
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def counted(kind: Literal["batches", "streams"]) -> Callable[[Endpoint], Endpoint]:
    """An endpoint of which a process works on so many at once as the limit of the kind says; below the route."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, COUNTED, kind)
        return endpoint

    return mark


class Route(APIRoute):
    """A route that lets in whom its scope says, and on which a mistyped query parameter is an error.

    Its scope stands in ``openapi_extra`` (`app.api.access`).  Raises ValueError for a route that says none.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        try:
            self.needed = scope_of(options.get("openapi_extra"))
        except ValueError as error:
            raise ValueError(f"{sorted(options.get('methods') or ())} {path}: {error}") from None
        always = problems_of(400, 422, 431) if self.needed is None else problems_of(400, 401, 403, 422, 429, 431, 503)
        options["responses"] = {**always, **(options.get("responses") or {})}
        self._kind: str | None = getattr(endpoint, COUNTED, None)
        super().__init__(path, endpoint, **options)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer those who may ask; a method that is not done here says so first."""
        if scope["method"] in (self.methods or ()):
            if self.needed is not None and not scope.get(ADMITTED):  # once, as each time counts against the limit
                gate: Gate = scope["state"]["gate"]
                gate.admit(scope, self.needed)
            if self._kind is None:
                await self.answer(scope, receive, send)
            else:
                slots: AllSlots = scope["state"]["slots"]
                with getattr(slots, self._kind).one():
                    await self.answer(scope, receive, send)
        else:
            await super().handle(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer somebody who may ask."""
        await super().handle(scope, receive, send)

    def get_route_handler(self) -> Handler:
        """FastAPI's handler behind our own checks of the query and the body."""
        inner = super().get_route_handler()
        # The fields of a query model come as plain fields, so what is left out is what is something else.
        params = get_flat_params(self.dependant)
        known = tuple(param.alias for param in params if not isinstance(param.field_info, Path | Header | Cookie))
        takes_body = self.body_field is not None

        async def handle(request: Request) -> Response:
            if request.scope["query_string"]:
                refuse_unknown(request.query_params, known)
            return await inner(await with_parsed_body(request) if takes_body else request)

        return guarded(handle)


def guarded(handler: Handler) -> Handler:
    """The handler, given up with UnavailableError when the database is gone."""

    async def handle(request: Request) -> Response:
        return await unless_gone(handler(request), request.scope["state"]["services"].live)

    return handle


def refuse_unknown(given: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Raises RequestValidationError that names the parameters which are not known."""
    unknown = [name for name in given if name not in known]
    if unknown:
        wanted = f"wanted one of {', '.join(known)}" if known else "this call takes none"
        raise RequestValidationError(
            [
                {
                    "type": "unknown_parameter",
                    "loc": ("query", name),
                    "msg": f"unknown parameter; {wanted}",
                    "input": given[name],
                }
                for name in unknown
            ]
        )


async def with_parsed_body(request: Request) -> Request:
    """The request with its JSON body, None when it is empty and has no type.

    Raises UnsupportedMediaError, TooLargeError, MalformedBodyError.
    """
    kind = media_type(request)
    if kind not in {JSON, MERGE_PATCH, ""}:
        raise UnsupportedMediaError(kind, JSON)
    body = await read_json(request, request.app.state.body_limit_bytes)
    if not kind and not body:
        return request_without_body(request)
    if not kind:
        raise UnsupportedMediaError(kind, JSON)
    return ParsedRequest(request, body, parse_json(body))


def request_without_body(request: Request) -> Request:
    """The same request, its (empty) body read."""
    return ParsedRequest(request, b"", None)


def clean_operation_id(route: APIRoute) -> str:
    """The name of the function: client generators make names of it."""
    return route.name


def router(tag: str, route_class: type[APIRoute] = Route) -> APIRouter:
    """A router whose routes all have this tag."""
    return APIRouter(tags=[tag], route_class=route_class, generate_unique_id_function=clean_operation_id)
