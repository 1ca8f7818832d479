"""What the OpenAPI document says beyond what FastAPI finds in the signatures."""

from typing import Any

import orjson
from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.api.access import SECURITY_SCHEMES
from app.api.examples import add_examples
from app.api.gorse.openapi import GORSE_MODELS, GORSE_TAG, complete_answers
from app.schemas.courses import Course
from app.schemas.interactions import Interaction
from app.schemas.problems import Problem, ValidationProblem
from app.schemas.users import User

# Models that no signature names: rows of batches, which are read by hand, and problems.
UNNAMED: tuple[type[BaseModel], ...] = (User, Course, Interaction, Problem, ValidationProblem, *GORSE_MODELS)
MAX_ROWS = 10_000  # of a JSON array

TAGS = [
    {"name": "recommendations", "description": "What a user should take next."},
    {"name": "users", "description": "Who learns."},
    {"name": "courses", "description": "What can be learned."},
    {"name": "interactions", "description": "Who did what with which course."},
    {"name": "training", "description": "Making a new model."},
    {"name": "models", "description": "The models that were made."},
    {"name": "pictures", "description": "The graph, the loss curve and the embedding map of a model."},
    {"name": "operations", "description": "Health, metrics, export."},
    GORSE_TAG,
]


def batch_body(model: type[BaseModel], *examples: dict[str, Any]) -> dict[str, Any]:
    """The request body of a call that takes one row, an array of them, or NDJSON."""
    row = {"$ref": f"#/components/schemas/{model.__name__}"}
    rows = {"type": "array", "maxItems": MAX_ROWS, "items": row}
    lines = "".join(orjson.dumps(example).decode() + "\n" for example in examples)
    content = {
        "application/json": {"schema": {"anyOf": [rows, row]}, "example": list(examples)},
        "application/x-ndjson": {"schema": {"type": "string"}, "example": lines},
    }
    return {"requestBody": {"required": True, "content": content}}


def complete_openapi(app: FastAPI) -> None:
    """Add the models that no signature names, and examples, to the application's document."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make()
            _, definitions = models_json_schema(
                [(model, "validation") for model in UNNAMED], ref_template="#/components/schemas/{model}"
            )
            components = document.setdefault("components", {})
            components["securitySchemes"] = SECURITY_SCHEMES
            schemas = components.setdefault("schemas", {})
            for name, schema in definitions["$defs"].items():
                schemas.setdefault(name, schema)
            complete_answers([call for calls in document["paths"].values() for call in calls.values()])
            add_examples(document)
        return make()

    app.openapi = openapi  # type: ignore[method-assign] # the way that FastAPI's documentation gives
