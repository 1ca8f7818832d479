"""Pictures of a model: files for reports, and their points for other pages."""

import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from app.api.access import READ
from app.api.dependencies import OfCourse, OfUser, Pictures
from app.api.pictures import MEDIA_TYPES, Picture
from app.api.routing import Route
from app.errors import InvalidValueError
from app.schemas.problems import problem_responses

router = APIRouter(prefix="/pictures", tags=["pictures"], route_class=Route)

Format = Annotated[
    Literal["svg", "png", "json"],
    Path(description="`svg` and `png` are drawn; `json` has the points", examples=["svg"]),
]
OfRun = Annotated[str | None, Query(description="Of this run, also while it runs", examples=["r-000001"])]
OfModel = Annotated[str | None, Query(description="Of this model", examples=["m-000001"])]
# What an SVG may do when it is opened by itself: hold its own style, and nothing else.
SVG_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

GRAPH = {
    "model_id": "m-000012",
    "scope": "user",
    "focus": "ada",
    "n_users": 2000,
    "n_courses": 300,
    "users": [{"user_id": "ada", "courses": 1}],
    "courses": [
        {"course_id": "python", "title": "Python Programming", "categories": ["Programming"], "users": 120,
         "rank": None, "percent": None},
        {"course_id": "ml", "title": "Machine Learning", "categories": ["Data Science"], "users": 80,
         "rank": 1, "percent": 100.0},
    ],
    "edges": [
        {"user_id": "ada", "course_id": "python", "kind": "taken"},
        {"user_id": "ada", "course_id": "ml", "kind": "recommended"},
    ],
    "hidden": 0,
}  # fmt: skip
LOSS = {
    "model_id": "m-000012",
    "run_id": "r-000014",
    "losses": [4.21, 3.87, 3.52],
    "metric": "ndcg@20",
    "validation": [[2, 0.131], [3, 0.142]],
}
EMBEDDINGS = {
    "model_id": "m-000012",
    "n_users": 1,
    "n_courses": 1,
    "explained_variance": [0.31, 0.12],
    "users": {"ids": ["ada"], "x": [0.41], "y": [-0.2]},
    "courses": {
        "ids": ["python"],
        "titles": ["Python Programming"],
        "categories": [["Programming"]],
        "x": [0.52],
        "y": [0.13],
    },
}


def _responses(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    image = {"schema": {"type": "string", "format": "binary"}}
    content = {
        "image/svg+xml": image,
        "image/png": image,
        "application/json": {"schema": {"type": "object"}, "example": example},
    }
    return {
        200: {"description": "The picture, or its points", "content": content},
        304: {"description": "The picture is the one that `If-None-Match` names"},
        **problem_responses(404),
    }


@router.get(
    "/graph.{format}",
    operation_id="get_graph_picture",
    summary="Picture of the graph",
    response_class=Response,
    responses=_responses(GRAPH),
    openapi_extra=READ,
)
async def get_graph_picture(
    format: Format,  # noqa: A002 - the name in the contract
    request: Request,
    pictures: Pictures,
    user_id: OfUser = None,
    course_id: OfCourse = None,
) -> Response:
    """Users as squares on the left, courses as circles on the right.

    All of a small graph, and of a larger one the neighbourhood of one user, as when the model was trained. With
    `user_id` or `course_id` the neighbourhood of that one as it is now, the recommended courses dashed in.
    """
    if user_id is not None and course_id is not None:
        raise InvalidValueError(("query", "course_id"), course_id, "none beside user_id")
    if user_id is None and course_id is None:
        return _respond(request, await pictures.graph(format))
    return _respond(request, await pictures.neighbourhood(format, user_id, course_id))


@router.get(
    "/loss.{format}",
    operation_id="get_loss_picture",
    summary="Picture of the loss curve",
    response_class=Response,
    responses=_responses(LOSS),
    openapi_extra=READ,
)
async def get_loss_picture(
    format: Format,  # noqa: A002
    request: Request,
    pictures: Pictures,
    run_id: OfRun = None,
) -> Response:
    """Mean loss of each epoch and the metric on held-out interactions, of the served model or of a run."""
    return _respond(request, await pictures.loss(format, run_id))


@router.get(
    "/embeddings.{format}",
    operation_id="get_embeddings_picture",
    summary="Picture of the embedding map",
    response_class=Response,
    responses=_responses(EMBEDDINGS),
    openapi_extra=READ,
)
async def get_embeddings_picture(
    format: Format,  # noqa: A002
    request: Request,
    pictures: Pictures,
    model_id: OfModel = None,
) -> Response:
    """Users and courses in the plane in which their vectors differ most (PCA), of the served model or another."""
    return _respond(request, await pictures.embeddings(format, model_id))


@router.get("/{name}", include_in_schema=False, openapi_extra=READ)
async def get_picture(  # noqa: PLR0917 - the framework calls it by name
    name: Literal["graph", "loss", "embeddings"],
    request: Request,
    pictures: Pictures,
    user_id: OfUser = None,
    course_id: OfCourse = None,
    run_id: OfRun = None,
    model_id: OfModel = None,
) -> Response:
    """The same without a format in the address: the one that `Accept` names first, SVG if it names none."""
    accepted = [part.partition(";")[0].strip() for part in request.headers.get("accept", "").split(",")]
    known = {media_type: format_ for format_, media_type in MEDIA_TYPES.items()}
    wanted: Any = next((known[media_type] for media_type in accepted if media_type in known), "svg")
    if name == "graph":
        return await get_graph_picture(wanted, request, pictures, user_id, course_id)
    if name == "loss":
        return await get_loss_picture(wanted, request, pictures, run_id)
    return await get_embeddings_picture(wanted, request, pictures, model_id)


def _respond(request: Request, picture: Picture) -> Response:
    tag = f'"{hashlib.blake2b(picture.content, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if picture.media_type == MEDIA_TYPES["svg"]:
        headers["Content-Security-Policy"] = SVG_POLICY
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(picture.content, media_type=picture.media_type, headers=headers)
