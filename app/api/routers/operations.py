"""Probes and metrics."""

from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from app.api.access import OPEN, READ
from app.api.dependencies import Access, AllServices, Serving
from app.api.routing import Route
from app.telemetry.metrics import CONTENT_TYPE

router = APIRouter(tags=["operations"], route_class=Route)


class Health(BaseModel):
    """What works."""

    status: Literal["ok", "degraded", "unavailable"]
    checks: dict[str, str] = Field({}, description="`ok` or what is wrong, of each thing that must work")
    change_stream_lag_seconds: float | None = Field(
        None, description="How old what is known of other processes' writes may be; under a second when all is well"
    )
    access: str | None = Field(None, description="Who is answered: those with a key, or this machine only")


NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "A check says what is wrong"}}


@router.get("/health/live", operation_id="get_liveness", summary="Is the process alive?", openapi_extra=OPEN)
async def get_liveness() -> Health:
    """Touches nothing outside the process."""
    return Health(status="ok")


@router.get(
    "/health/ready", operation_id="get_readiness", summary="Can it serve?", responses=NOT_READY, openapi_extra=OPEN
)
async def get_readiness(live: Serving, gate: Access, response: Response) -> Health:
    """503 with named checks while the database is away.

    Also as soon as the process has been told to stop, while it still answers for `COURSEGRAPH_DRAIN_SECONDS`.
    `degraded` is 200: recommendations are answered, but from an older model than was published, or without what
    other processes wrote a moment ago. No model yet is not wrong.
    """
    checks, lag, access = live.checks(), round(live.lag_seconds(), 3), gate.describe()
    if live.stopping:
        checks["process"] = "stopping"
    if live.stopping or checks["database"] != "ok":
        response.status_code = 503
        return Health(status="unavailable", checks=checks, change_stream_lag_seconds=lag, access=access)
    wrong = any(check != "ok" for check in checks.values())
    return Health(status="degraded" if wrong else "ok", checks=checks, change_stream_lag_seconds=lag, access=access)


@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Text format"}},
    openapi_extra=READ,
)
async def get_metrics(services: AllServices) -> Response:
    """Counts and times of this process."""
    return Response(services.metrics.render(), media_type=CONTENT_TYPE)
