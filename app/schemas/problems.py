"""Problem documents, RFC 9457: what every error is answered with."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """Why a request was not done."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Stable slug of the problem, to branch on", examples=["unknown_user"])
    title: str = Field(description="The same for people; equal for all problems of the type")
    status: int = Field(description="HTTP status", ge=400, le=599)
    detail: str = Field(description="What is wrong this time: the key, the value and what was wanted")
    instance: str = Field(description="Path of the request")
    request_id: str = Field(description="As in X-Request-ID and in the log")


class Invalid(BaseModel):
    """One value that was not accepted."""

    loc: list[str | int] = Field(description="Where it is: `body`, `query` or `path`, then keys and positions")
    msg: str
    type: str


class ValidationProblem(Problem):
    """A well-formed request with values that are not accepted."""

    errors: list[Invalid] = []


def problem(  # the members of RFC 9457, and ours
    *, type_: str, title: str, status: int, detail: str, instance: str, request_id: str, **members: Any
) -> dict[str, Any]:
    """A problem document as it is written."""
    return {
        "type": type_,
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
        "request_id": request_id,
        **members,
    }


DESCRIPTIONS = {
    400: "The request, or its body, could not be read",
    401: "The key is missing or not valid",
    403: "The key has not the scope that the call takes",
    404: "Not found",
    409: "Does not fit the present state",
    413: "Too large",
    415: "Unsupported content type",
    422: "A value is not what was wanted",
    429: "More requests a second than the key may make; try again after `Retry-After` seconds",
    431: "The head of the request is too long; send options in a body",
    503: "The database is away for now; try again after `Retry-After` seconds",
}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of the problems that a call may answer; 422 and 503 are always among them."""
    return problems_of(*statuses, 422, 503)


def problems_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of these problems."""
    return {
        status: {
            "description": DESCRIPTIONS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{_schema(status)}"}}},
        }
        for status in sorted({*statuses})
    }


def _schema(status: int) -> str:
    return ValidationProblem.__name__ if status == 422 else Problem.__name__
