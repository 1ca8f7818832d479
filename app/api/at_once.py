"""Lists that can be made from memory alone, answered at once: without a task, a request object, or a table of routes.

This is what is asked most.  All else, and whatever is wrong with a request, goes the ordinary road, which answers the
same to what is answered here.
"""

import logging
from time import perf_counter
from typing import Any, NamedTuple

from fastapi.exceptions import RequestValidationError
from starlette.routing import Route
from starlette.types import Scope

from app.api.access import scope_of
from app.api.answers import list_reply
from app.api.compression import LEAST_BYTES, packed
from app.api.gate import ADMITTED, GIVEN, Gate
from app.api.heads import NOSNIFF, REQUEST_ID, data_age, new_request_id, read_headers
from app.api.lists import query_reader, read_id, to_options
from app.api.recommender import Answer
from app.schemas.recommendations import QueryOptions
from app.telemetry.logging import request_id
from app.telemetry.metrics import Metrics

logger = logging.getLogger("app.request")


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class AtOnce:
    """Answers GET requests of one route, whose path ends in the id of a user."""

    def __init__(self, route: Route, metrics: Metrics) -> None:
        self._route, self._metrics = route, metrics
        self.prefix, _, rest = route.path.partition("{")
        assert "/" not in rest
        self._needed = scope_of(getattr(route, "openapi_extra", None))
        self._read = query_reader(QueryOptions)

    def __call__(self, scope: Scope) -> Reply | None:
        """The answer to a request of HTTP; None when it must go the ordinary road, which need not ask here again."""
        path: str = scope["path"]
        if not path.startswith(self.prefix) or scope["method"] != "GET" or ADMITTED in scope or scope.get("root_path"):
            return None
        scope[ADMITTED] = False
        try:
            return self._answer(scope, path[len(self.prefix) :])
        except RequestValidationError:
            return None
        except Exception:
            logger.exception("GET %r failed at once; going the ordinary road", path)
            return None

    def _answer(self, scope: Scope, user_id: str) -> Reply | None:
        began = perf_counter()
        if "/" in user_id:
            return None
        user_id = read_id(user_id)
        options = self._read(scope["query_string"])
        given = read_headers(scope["headers"])
        if options.strict or options.include_course or given.origin:
            return None
        state: dict[str, Any] = scope["state"]
        scope[GIVEN] = given.key
        gate: Gate = state["gate"]
        if self._needed is not None and gate.refusal(scope, self._needed) is not None:
            return None
        scope[ADMITTED] = True
        services = state["services"]
        answer: Answer | None = services.recommender.recommend_now(
            user_id, to_options(options), explain=options.explain
        )
        if answer is None:
            return None
        services.count(answer)
        status, headers, body = list_reply(user_id, answer, options.percent_over, known=given.if_none_match)
        if given.packs and len(body) >= LEAST_BYTES:
            headers, body = packed(headers, body)
        headers += data_age(services.live.lag_seconds())
        id_ = given.id or new_request_id()
        took = perf_counter() - began
        headers += ((REQUEST_ID, id_), (b"server-timing", b"app;dur=%.2f" % (took * 1000)), NOSNIFF)
        self._note(scope, status, took, id_)
        return Reply(status, headers, body)

    def _note(self, scope: Scope, status: int, seconds: float, id_: bytes) -> None:
        scope["route"] = self._route
        self._metrics.count_request("GET", self._route.path, status, seconds)
        if logger.isEnabledFor(logging.DEBUG):
            token = request_id.set(id_.decode())
            fields = {"status": status, "milliseconds": round(seconds * 1000, 2)}
            logger.debug("GET %r", scope["path"], extra=fields)
            request_id.reset(token)
