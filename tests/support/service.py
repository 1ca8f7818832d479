"""The whole service in this process, on a real database: the API, and a worker when a test wants one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from app.api.application import create_application
from app.settings import Settings, load_settings
from app.worker.loop import run_worker


def make_settings(uri: str, name: str, folder: Path, **overrides: Any) -> Settings:
    """Settings of a test's own service; nothing trains by itself."""
    values = {"auto_train": False, "lease_seconds": 2.0, "device": "cpu", **overrides}
    return load_settings(mongodb_uri=uri, mongodb_database=name, cache_dir=folder, **values)


@contextlib.asynccontextmanager
async def api(settings: Settings, app: FastAPI | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API, once it is ready."""
    app = app or create_application(settings, local=True)
    async with app.router.lifespan_context(app) as state:
        transport = httpx.ASGITransport(with_state(app, state))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            while (await client.get("/health/ready")).status_code != 200:  # noqa: ASYNC110 - it is behind HTTP
                await asyncio.sleep(0.02)
            yield client


def with_state(app: Any, state: Any) -> Any:
    """The transport does not run the lifespan, so what it yields is put into each request here."""

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return handle


@contextlib.asynccontextmanager
async def worker(settings: Settings) -> AsyncIterator[None]:
    """A worker that runs while the block does."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_worker(settings, stop=stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


async def train(client: httpx.AsyncClient) -> dict[str, Any]:
    """The ended run that this asked for, its model served if it made one."""
    asked = await client.post("/training/runs")
    assert asked.status_code == 202, asked.text
    while (run := (await client.get(asked.headers["location"])).json())["ended_at"] is None:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    while run["model_id"] and (await client.get("/popular")).json()["model_id"] != run["model_id"]:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    ended: dict[str, Any] = run
    return ended
