"""Metrics and the pages about the API on a port of their own, which only operators need reach."""

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import NotFoundError
from app.schemas.problems import MEDIA_TYPE, problem

APART = frozenset({"/metrics", "/docs", "/redoc", "/openapi.json"})
BOTH = ("/health/", "/page/", "/favicon.ico")  # probes, and what the pages load


class Ports:
    """Round the application: each path is answered on one of the two ports, probes and files of pages on both."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app, self._port = app, port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what belongs to the port it came to."""
        if scope["type"] == "http" and not scope["path"].startswith(BOTH):
            came_apart = (scope.get("server") or ("", None))[1] == self._port
            if came_apart != (scope["path"] in APART):
                await _refuse(scope["path"], send)
                return
        await self._app(scope, receive, send)


async def _refuse(path: str, send: Send) -> None:
    detail = f"there is nothing at {path!r} on this port"
    document = problem(
        type_=NotFoundError.slug, title=NotFoundError.title, status=404, detail=detail, instance=path, request_id=""
    )
    body = orjson.dumps(document)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": body})
