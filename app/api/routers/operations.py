"""Probes and metrics."""

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app.api.dependencies import AllServices, Serving
from app.api.routing import Route
from app.telemetry.metrics import CONTENT_TYPE

router = APIRouter(tags=["operations"], route_class=Route)


class Health(BaseModel):
    """``ok``, or what is wrong."""

    status: str
    checks: dict[str, str] = {}


NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "A check says what is wrong"}}


@router.get("/health/live", operation_id="get_liveness", summary="Is the process alive?")
async def get_liveness() -> Health:
    """Touches nothing outside the process."""
    return Health(status="ok")


@router.get("/health/ready", operation_id="get_readiness", summary="Can it serve?", responses=NOT_READY)
async def get_readiness(live: Serving, response: Response) -> Health:
    """503 with named checks while something is wrong; no model yet is not wrong."""
    checks = live.checks()
    ready = all(check == "ok" for check in checks.values())
    response.status_code = 200 if ready else 503
    return Health(status="ok" if ready else "unavailable", checks=checks)


@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Text format"}},
)
async def get_metrics(services: AllServices) -> Response:
    """Counts and times of this process."""
    services.metrics.change_stream_lag.set(services.live.lag_seconds())
    return Response(services.metrics.render(), media_type=CONTENT_TYPE)
