"""The dashboard and the pages about the API: files of the package, that ask nothing of another host."""

import asyncio

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from app.api.compression import accepts_gzip
from app.api.page import PageFile, PageFiles

router = APIRouter(include_in_schema=False)
FILES = PageFiles()

# Scripts and styles are files of ours; nothing stands inline and nothing comes from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI and ReDoc write their own style elements, and ReDoc searches in a worker made from a blob.
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/")
async def get_page(request: Request) -> Response:
    """The dashboard."""
    return await _respond(request, "index.html", POLICY)


@router.get("/docs")
async def get_docs(request: Request) -> Response:
    """The API to read and try, by Swagger UI."""
    return await _respond(request, "docs.html", DOCS_POLICY)


@router.get("/redoc")
async def get_redoc(request: Request) -> Response:
    """The API to read, by ReDoc."""
    return await _respond(request, "redoc.html", DOCS_POLICY)


@router.get("/favicon.ico")
async def get_icon(request: Request) -> Response:
    """Browsers ask for it by this name when they open a JSON answer."""
    return await _respond(request, "favicon.svg", POLICY)


@router.get("/page/{name:path}")
async def get_page_file(name: str, request: Request) -> Response:
    """What these pages load."""
    return await _respond(request, name, POLICY)


async def _respond(request: Request, name: str, policy: str) -> Response:
    file = FILES.ready(name) or await asyncio.to_thread(FILES.read, name)
    if file is None:
        raise HTTPException(404)
    headers = {
        "ETag": file.tag,
        "Cache-Control": "no-cache",  # an asked-again file is 304; a new release shows at once
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "Vary": "Accept-Encoding",
    }
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = _packed(request, file)
    if content is not file.content:
        headers["Content-Encoding"] = "gzip"
    return Response(content, media_type=file.media_type, headers=headers)


def _packed(request: Request, file: PageFile) -> bytes:
    accepted = accepts_gzip(request.headers.get("accept-encoding", "").encode("latin-1"))
    return file.packed if file.packed is not None and accepted else file.content
