"""Everything as NDJSON."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from app.api.access import READ
from app.api.dependencies import AllServices
from app.api.outage import parts_unless_gone
from app.api.routing import Route, counted
from app.schemas.problems import problem_responses

router = APIRouter(prefix="/export", tags=["operations"], route_class=Route)
NDJSON = "application/x-ndjson"
ROW = {"anyOf": [{"$ref": f"#/components/schemas/Stored{kind}"} for kind in ("User", "Course", "Interaction")]}
EXAMPLE = '{"user_id":"ada","course_id":"python","type":"complete"}\n'
CHUNK_ROWS = 500  # lines sent at once


@router.get(
    "/{kind}",
    operation_id="export_rows",
    summary="Export users, courses or interactions",
    response_class=StreamingResponse,
    responses={
        200: {"content": {NDJSON: {"schema": ROW, "example": EXAMPLE}}, "description": "One row a line"},
        **problem_responses(),
    },
    openapi_extra=READ,
)
@counted("batches")
async def export_rows(
    kind: Annotated[Literal["users", "courses", "interactions"], Path(description="Which rows", examples=["courses"])],
    services: AllServices,
) -> StreamingResponse:
    """Lines that POST takes back unchanged."""
    stores: dict[str, Any] = {
        "users": services.users.store,
        "courses": services.courses.store,
        "interactions": services.interactions.store,
    }
    await stores[kind].count()  # a database that is away is a 503, not half an answer
    lines = parts_unless_gone(_lines(stores[kind].stream()), services.live)
    return StreamingResponse(lines, media_type="application/x-ndjson")


async def _lines(rows: AsyncIterator[BaseModel]) -> AsyncIterator[str]:
    lines: list[str] = []
    async for row in rows:
        lines.append(row.model_dump_json() + "\n")
        if len(lines) == CHUNK_ROWS:
            yield "".join(lines)
            lines.clear()
    yield "".join(lines)
