"""Every error as a problem document, RFC 9457."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.api.gorse.answers import error_text, is_gorse
from app.errors import DatabaseGoneError, HttpError, InvalidValueError, MalformedBodyError, NotFoundError, shown
from app.schemas.problems import MEDIA_TYPE, problem
from app.store.client import UNAVAILABLE_ERRORS
from app.telemetry.logging import request_id

logger = logging.getLogger(__name__)

# Slugs of statuses that the framework gives and that have no error class of ours.
_SLUGS = {404: NotFoundError.slug, 405: "method_not_allowed", 400: MalformedBodyError.slug}


def add_exception_handlers(app: FastAPI) -> None:
    """Answer all errors but bugs, which the middleware answers, as they pass through it last."""
    app.add_exception_handler(HttpError, _http_error)
    app.add_exception_handler(HTTPException, _framework_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    for unavailable in UNAVAILABLE_ERRORS:
        app.add_exception_handler(unavailable, _database_error)


def problem_response(request: Request, error: HttpError) -> Response:
    """The answer to an error of ours."""
    return _respond(
        request,
        status=error.status,
        type_=error.slug,
        title=error.title,
        detail=error.detail,
        headers=error.headers,
        members=error.members,
    )


def bug_response(request: Request) -> Response:
    """The answer to an exception that nobody expected."""
    return _respond(
        request,
        status=500,
        type_="internal_error",
        title="Internal error",
        detail="this is a bug; the log has its traceback under the request_id",
    )


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpError)
    return problem_response(request, error)


async def _database_error(request: Request, error: Exception) -> Response:
    logger.warning("MongoDB does not answer: %s", str(error).partition(", Timeout:")[0])
    return problem_response(request, DatabaseGoneError())


async def _framework_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    detail = str(error.detail)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = allowed = ", ".join(_methods_of(request))
        detail = f"{request.method} is not done on this path; it takes {allowed}"
    elif error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"there is nothing at {request.url.path!r}; /docs lists all calls (ids cannot hold a '/')"
    title = HTTPStatus(error.status_code).phrase
    type_ = _SLUGS.get(error.status_code, title.lower().replace(" ", "_"))
    return _respond(request, status=error.status_code, type_=type_, title=title, detail=detail, headers=headers)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return validation_response(request, error.errors())


def validation_response(request: Request, errors: Sequence[Any]) -> Response:
    """422 with each error in words; what is not well-formed at all is 400."""
    listed = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in errors]
    first = errors[0]
    place = ".".join(map(str, first["loc"]))
    value = "" if first["type"] == "missing" else f" has value {shown(first.get('input'))}"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return _respond(
        request,
        status=InvalidValueError.status,
        type_=InvalidValueError.slug,
        title=InvalidValueError.title,
        detail=f"{place}{value}: {first['msg']}{more}",
        members={"errors": listed},
    )


def _methods_of(request: Request) -> list[str]:
    """All methods of all routes with this path; the framework names only those of the first."""
    methods: set[str] = set()
    for route in request.app.routes:
        match, _ = route.matches(request.scope)
        if match != Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


def _respond(
    request: Request,
    *,
    status: int,
    type_: str,
    title: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> Response:
    if is_gorse(request):
        return error_text(status, detail, headers)
    document = problem(
        type_=type_,
        title=title,
        status=status,
        detail=detail,
        instance=request.url.path,
        request_id=request_id.get() or "",
        **(members or {}),
    )
    body = orjson.dumps(document, default=str, option=orjson.OPT_NON_STR_KEYS)
    return Response(body, status, headers, MEDIA_TYPE)
