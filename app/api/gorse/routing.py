"""Routes as Gorse's clients call them: with or without a slash at the end, ids and categories percent-encoded."""

import re
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote, unquote

from fastapi import APIRouter, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from app.api.gate import GIVEN
from app.api.gorse.answers import PREFIX, TAG
from app.api.gorse.queries import GorseListOptions, read_list_query
from app.api.lists import send_list
from app.api.routing import Handler, Route, guarded
from app.errors import ElsewhereError, KeyMissingError, KeyRefusedError
from app.schemas.fields import Id

LABELS = {"category", "name"}  # parts of paths that are no ids
CATEGORY = "(?P<category>[^/]+)$"

ItemId = Annotated[Id, Path(description="Id of an item", examples=["python"])]

_id = TypeAdapter(Id)


class GorseRoute(Route):
    """A route that takes its path with a slash at its end too, a category with slashes in it, and any parameters."""

    takes_slash = True

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        pattern = self.path_regex.pattern.replace(CATEGORY, "(?P<category>.+?)$")
        self.path_regex = re.compile(pattern.removesuffix("$") + r"/?\Z", re.DOTALL)  # a category may hold a line break

    def get_route_handler(self) -> Handler:
        """FastAPI's handler without our checks: parameters that are not known are passed over."""
        return guarded(APIRoute.get_route_handler(self))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer those who may ask.

        As with Gorse a key is no obstacle where none is needed: its clients send something in any case.
        """
        try:
            await super().handle(scope, receive, send)
        except KeyRefusedError as refused:
            try:
                await super().handle({**scope, GIVEN: None}, receive, send)
            except (KeyMissingError, ElsewhereError):
                raise refused from None

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """The parts of the path as they were before %2F became a slash."""
        match, child = super().matches(scope)
        raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
        if match is Match.NONE or (b"%" not in raw and "category" not in self.param_convertors):
            return match, child
        wanted = self.path.strip("/").split("/")
        given = raw.decode("utf-8", "replace").removeprefix(scope.get("root_path", "")).strip("/").split("/")
        if len(given) != len(wanted):
            return Match.NONE, {}
        named = zip(wanted, given, strict=True)
        child["path_params"] = {want[1:-1]: unquote(part) for want, part in named if want.startswith("{")}
        return match, child


class GorseListRoute(GorseRoute):
    """Calls its endpoint with ids of the path, the request and its options, read without what FastAPI spends on it.

    As ``ListRoute``, but unknown parameters are passed over.
    """

    def get_route_handler(self) -> Handler:
        """The endpoint behind our own reading of its parameters."""
        endpoint, names = self.endpoint, list(self.param_convertors)
        model: type[GorseListOptions] = endpoint.__annotations__["options"].__origin__

        async def handle(request: Request) -> Response:
            params = request.scope["path_params"]
            values = {name: params[name] if name in LABELS else _read_id(params[name], name) for name in names}
            options = read_list_query(model, request.scope["query_string"], params.get("category"))
            answer: Response = await endpoint(**values, request=request, options=options)
            return answer

        self._answer = handle
        return handle

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer without what FastAPI puts round every endpoint for dependencies, of which there are none here."""
        await send_list(self._answer, scope, receive, send)


def _read_id(value: str, name: str) -> str:
    if value.isalnum() and len(value) < 100:
        return value
    try:
        return _id.validate_python(value)
    except ValidationError as error:
        problems = [{**problem, "loc": ("path", name)} for problem in error.errors(include_url=False)]
        raise RequestValidationError(problems) from None


def gorse_router(route_class: type[GorseRoute] = GorseRoute) -> APIRouter:
    """A router of Gorse's calls."""
    return APIRouter(prefix=PREFIX, tags=[TAG], route_class=route_class, default_response_class=Response)
