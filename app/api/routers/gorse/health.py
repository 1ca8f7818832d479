"""Probes."""

from fastapi import Response

from app.api.access import OPEN
from app.api.dependencies import Serving
from app.api.gorse.answers import error_text, ok
from app.api.gorse.openapi import probe
from app.api.gorse.routing import gorse_router
from app.schemas.gorse.answers import GorseHealth

router = gorse_router()


@router.get(
    "/health/live",
    operation_id="gorse_live",
    summary="Is the process alive?",
    responses=probe(GorseHealth, "It is; the fields say whether it can serve"),
    openapi_extra=OPEN,
)
async def gorse_live(live: Serving) -> Response:
    """Touches nothing outside the process, and needs no key."""
    return ok(_health(live.checks()["database"]))


@router.get(
    "/health/ready",
    operation_id="gorse_ready",
    summary="Can it serve?",
    responses=probe(GorseHealth, "It can"),
    openapi_extra=OPEN,
)
async def gorse_ready(live: Serving) -> Response:
    """503 while the database is away; needs no key."""
    problem = live.checks()["database"]
    return ok(_health(problem)) if problem == "ok" else error_text(503, problem)


def _health(problem: str) -> dict[str, object]:
    fine, error = problem == "ok", None if problem == "ok" else problem
    return {
        "Ready": fine,
        "DataStoreError": error,
        "CacheStoreError": error,
        "DataStoreConnected": fine,
        "CacheStoreConnected": fine,
    }
