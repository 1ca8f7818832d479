"""A training run as server-sent events."""

import asyncio
from collections.abc import AsyncIterator

from sse_starlette import ServerSentEvent

from app.errors import UnknownRunError
from app.schemas.training import Run
from app.store.client import UNAVAILABLE_ERRORS
from app.store.runs import RunStore

LOOK_SECONDS = 0.5  # between two looks at a run; the worker writes about as often


async def watch(run: Run, runs: RunStore) -> AsyncIterator[ServerSentEvent]:
    """The run now, and again whenever it has changed, to its end; a database that is away is waited for."""
    sent = None
    while True:
        text = run.model_dump_json()
        if text != sent:
            yield ServerSentEvent(data=text, event="run")
            sent = text
        if run.ended_at is not None:
            return
        await asyncio.sleep(LOOK_SECONDS)
        try:
            run = await runs.get(run.run_id)
        except UNAVAILABLE_ERRORS:
            continue
        except UnknownRunError:  # the database was put back to an older state
            return
