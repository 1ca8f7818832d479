"""What FastAPI can do at all: an endpoint that returns ready bytes, at its place in a table of our routes.

Usage: bare.py PORT FILE, the file with the bytes.
"""

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response

from app.api.application import create_application
from app.settings import load_settings


def make(body: bytes) -> FastAPI:
    """The application."""
    bare = FastAPI()

    @bare.get("/recommendations/{user_id}")
    async def answer(user_id: str) -> Response:
        return Response(body, media_type="application/json")

    ours = create_application(load_settings(mongodb_uri="mongodb://127.0.0.1:1"))
    bare.router.routes += ours.router.routes[1:]  # the first is that of the same path
    return bare


if __name__ == "__main__":
    port, file = sys.argv[1:]
    uvicorn.run(
        make(Path(file).read_bytes()),
        port=int(port),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        server_header=False,
        log_level="warning",
    )
