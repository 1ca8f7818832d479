"""The application with less round every request than FastAPI puts there, and doors of their own for what is asked most.

What FastAPI has round a request to observe it, to bound its body, and to answer bugs, our own middleware and routes do;
together they take as long as making a list does.
"""

import re
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

_Found = tuple[Route, list[str], bool]  # the route, its parameters, whether a slash may end its path

ERROR = "coursegraph.error"
UNOBSERVED: Any = {"tracing": False, "metrics": False, "logs": False}


class Application(FastAPI):
    """FastAPI whose ``doors``, GET routes with one or two parameters at the end, are found without the table."""

    def __init__(self, doors: Sequence[BaseRoute], **options: Any) -> None:
        self._doors = doors
        super().__init__(telemetry=UNOBSERVED, **options)

    def build_middleware_stack(self) -> ASGIApp:
        """Ours outermost, which answers bugs; then errors that have an answer; then the routes."""
        handlers: dict[Any, Any] = {**self.exception_handlers}
        table = ExceptionMiddleware(AsyncExitStackMiddleware(self.router), handlers)
        app: ASGIApp = Doors(self._doors, table, ExceptionMiddleware(_fail_again, handlers))
        for middleware in reversed(self.user_middleware):
            app = middleware.cls(app, *middleware.args, **middleware.kwargs)
        return app


class Doors:
    """Takes GET requests for some routes straight to them, and all others to the table."""

    def __init__(self, routes: Sequence[BaseRoute], table: ASGIApp, failed: ASGIApp) -> None:
        """failed: answers the error in the scope."""
        self._table, self._failed = table, failed
        self._one: dict[str, _Found] = {}  # by prefix, routes with one parameter
        self._two: dict[str, _Found] = {}  # with two
        for route in routes:
            assert isinstance(route, Route)
            prefix, _, parameters = route.path.partition("{")
            assert re.fullmatch(r"\w+}(/{\w+})?", parameters)
            assert "GET" in (route.methods or ())
            found = route, [*route.param_convertors], bool(getattr(route, "takes_slash", False))
            (self._two if "/" in parameters else self._one)[prefix] = found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and scope["method"] == "GET" and not scope.get("root_path"):
            route = self.find(scope)
            if route is not None:
                scope["route"] = route
                scope["endpoint"] = route.endpoint
                try:
                    await route.handle(scope, receive, send)
                except Exception as error:
                    scope[ERROR] = error
                    await self._failed(scope, receive, send)
                return
        await self._table(scope, receive, send)

    def find(self, scope: Scope) -> Route | None:
        """The route, its parameters noted in the scope; None when the table must say."""
        path: str = scope["path"]
        slash = path.endswith("/")
        end = len(path) - slash
        last = path.rfind("/", 0, end) + 1
        found = self._one.get(path[:last])
        if found is not None:
            route, names, takes_slash = found
            if last == end or (slash and not takes_slash):
                return None
            scope["path_params"] = {names[0]: path[last:end]}
            return route
        first = path.rfind("/", 0, last - 1) + 1
        found = self._two.get(path[:first])
        # With a % a slash may be part of a parameter.
        if found is None or not first < last - 1 < end - 1 or b"%" in scope.get("raw_path", b"%"):
            return None
        route, names, takes_slash = found
        if slash and not takes_slash:
            return None
        scope["path_params"] = {names[0]: path[first : last - 1], names[1]: path[last:end]}
        return route


async def _fail_again(scope: Scope, receive: Receive, send: Send) -> None:
    raise scope[ERROR]
