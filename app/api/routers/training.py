"""Training runs."""

from typing import Any

from fastapi import APIRouter, Response
from sse_starlette import EventSourceResponse

from app.api.access import ADMIN, READ
from app.api.dependencies import After, AllServices, Limit, RunId, Runs
from app.api.routing import Route, counted
from app.api.watching import watch
from app.schemas.pages import PageOf, encode_cursor
from app.schemas.problems import problem_responses
from app.schemas.training import Run

router = APIRouter(prefix="/training/runs", tags=["training"], route_class=Route)
EVENT = {
    "type": "object",
    "properties": {
        "event": {"const": "run"},
        "data": {"type": "string", "contentMediaType": "application/json", "description": "A run"},
    },
    "required": ["event", "data"],
}
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events, until the run has ended",
        "content": {
            "text/event-stream": {
                "schema": EVENT,
                "example": 'event: run\ndata: {"run_id":"r-000014","status":"running","losses":[4.21]}\n\n',
            }
        },
    }
}
PING_SECONDS = 15  # proxies close connections on which nothing comes for a minute or so


@router.post(
    "",
    status_code=202,
    operation_id="request_run",
    summary="Ask for a training run now",
    responses=problem_responses(409),
    openapi_extra=ADMIN,
)
async def request_run(services: AllServices, response: Response) -> Run:
    """A worker begins it within a second or so; one that is already waiting or running is answered with 409."""
    run = await services.runs.request("request", services.training_settings)
    response.headers["Location"] = f"/training/runs/{run.run_id}"
    return run


@router.get(
    "", operation_id="list_runs", summary="List training runs", responses=problem_responses(404), openapi_extra=READ
)
async def list_runs(runs: Runs, after: After, limit: Limit = 100) -> PageOf[Run]:
    """Newest first."""
    page = await runs.page(limit, after)
    return PageOf[Run](items=page.items, next_cursor=encode_cursor(page.after))


@router.get(
    "/{run_id}",
    operation_id="get_run",
    summary="Get a training run",
    responses=problem_responses(404),
    openapi_extra=READ,
)
async def get_run(run_id: RunId, runs: Runs) -> Run:
    """Its status, progress, losses and metrics."""
    return await runs.get(run_id)


@router.get(
    "/{run_id}/events",
    operation_id="watch_run",
    summary="Watch a training run",
    response_class=EventSourceResponse,
    responses={**EVENTS, **problem_responses(404)},
    openapi_extra=READ,
)
@counted("streams")
async def watch_run(run_id: RunId, runs: Runs) -> EventSourceResponse:
    """Server-sent events named `run`, each with the run as JSON, whenever it has changed; the stream ends with it."""
    run = await runs.get(run_id)  # 404 before the stream begins
    return EventSourceResponse(watch(run, runs), ping=PING_SECONDS)


@router.post(
    "/{run_id}/cancel",
    status_code=202,
    operation_id="cancel_run",
    summary="Cancel a training run",
    responses=problem_responses(404, 409),
    openapi_extra=ADMIN,
)
async def cancel_run(run_id: RunId, runs: Runs) -> Run:
    """A waiting run ends at once, a running one at its next step."""
    return await runs.request_cancel(run_id)
