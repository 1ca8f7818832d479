"""The application with less round every request than FastAPI puts there, and a door of its own for what is asked most.

What FastAPI has round a request to observe it, to bound its body, and to answer bugs, our own middleware and routes do;
together they take as long as making a list does.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

ERROR = "coursegraph.error"
UNOBSERVED: Any = {"tracing": False, "metrics": False, "logs": False}


class Application(FastAPI):
    """FastAPI whose first route, ``GET {prefix}/{id}``, is found without a look at the table of all routes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(telemetry=UNOBSERVED, **options)

    def build_middleware_stack(self) -> ASGIApp:
        """Ours outermost, which answers bugs; then errors that have an answer; then the routes."""
        handlers: dict[Any, Any] = {**self.exception_handlers}
        table = ExceptionMiddleware(AsyncExitStackMiddleware(self.router), handlers)
        app: ASGIApp = _Door(self.router.routes[0], table, ExceptionMiddleware(_fail_again, handlers))
        for middleware in reversed(self.user_middleware):
            app = middleware.cls(app, *middleware.args, **middleware.kwargs)
        return app


class _Door:
    """Takes GET requests for one route straight to it, and all others to the table."""

    def __init__(self, route: Any, table: ASGIApp, failed: ASGIApp) -> None:
        """failed: answers the error in the scope."""
        assert isinstance(route, Route)
        assert route.path.endswith("/{user_id}")
        assert "GET" in (route.methods or ())
        self._route, self._table, self._failed = route, table, failed
        self._prefix = route.path.removesuffix("{user_id}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and not scope.get("root_path"):
            prefix, path = self._prefix, scope["path"]
            if path.startswith(prefix) and path.find("/", len(prefix)) < 0 and len(path) > len(prefix):
                scope["path_params"] = {"user_id": path[len(prefix) :]}
                scope["route"] = self._route
                scope["endpoint"] = self._route.endpoint
                try:
                    await self._route.handle(scope, receive, send)
                except Exception as error:
                    scope[ERROR] = error
                    await self._failed(scope, receive, send)
                return
        await self._table(scope, receive, send)


async def _fail_again(scope: Scope, receive: Receive, send: Send) -> None:
    raise scope[ERROR]
