"""What the OpenAPI document says of Gorse's calls."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from app.api.gorse.answers import TAG
from app.schemas.gorse.answers import (
    GorseFeedbackPage,
    GorseHealth,
    GorseItemPage,
    GorseScore,
    GorseSuccess,
    GorseUserPage,
)
from app.schemas.gorse.feedback import FEEDBACK_EXAMPLE, GorseFeedback, GorseSessionFeedback
from app.schemas.gorse.items import ITEM_EXAMPLE, GorseItem, GorseItemFields
from app.schemas.gorse.users import USER_EXAMPLE, GorseUser, GorseUserFields
from app.schemas.problems import MEDIA_TYPE as PROBLEM

GORSE_TAG = {
    "name": TAG,
    "description": "Gorse's REST API, so that its clients work against this service unchanged. Users are users, items "
    "are courses, feedback is interactions. Success is 200, errors are plain text; a slash may end every path.",
}
GORSE_MODELS: tuple[type[BaseModel], ...] = (
    *(GorseUser, GorseUserFields, GorseItem, GorseItemFields, GorseFeedback, GorseSessionFeedback),
    *(GorseSuccess, GorseScore, GorseUserPage, GorseItemPage, GorseFeedbackPage, GorseHealth),
)

Responses = dict[int | str, dict[str, Any]]

EXAMPLES: dict[type[BaseModel], Any] = {
    GorseUser: USER_EXAMPLE,
    GorseUserFields: {"Labels": ["statistics", "logic"], "Subscribe": None, "Comment": None},
    GorseItem: ITEM_EXAMPLE,
    GorseItemFields: {"IsHidden": True},
    GorseFeedback: FEEDBACK_EXAMPLE,
    GorseSessionFeedback: {"FeedbackType": "like", "ItemId": "python"},
    GorseSuccess: {"RowAffected": 1},
    GorseScore: {"Id": "python", "Score": 1.0312},
    GorseUserPage: {"Cursor": "YWRh", "Users": [USER_EXAMPLE]},
    GorseItemPage: {"Cursor": "", "Items": [ITEM_EXAMPLE]},
    GorseFeedbackPage: {"Cursor": "", "Feedback": [FEEDBACK_EXAMPLE]},
    GorseHealth: {
        **{"Ready": True, "DataStoreError": None, "CacheStoreError": None},
        **{"DataStoreConnected": True, "CacheStoreConnected": True},
    },
}
ERRORS = {
    401: ("The key is missing or not valid", "the key in X-API-Key is not known, was revoked, or has expired"),
    403: ("The key may do less than the call", "key 'k-000001' has scope read; this call takes scope write or more"),
    400: ("Something in the request is not what was wanted", "row 3: FeedbackType is missing"),
    404: ("There is no such record", "ada: user not found"),
    409: ("There are as many records as are allowed", "there are 1,000 users already, as many as are allowed"),
    413: ("Too large", "the body has more than 33554432 bytes; send less at once, or lines of NDJSON"),
    429: (
        "More requests a second than the key may make",
        "more than 50 requests a second with this key; wait as long as Retry-After says",
    ),
    503: ("The database is away for now", "the database does not answer; nothing accepted before is lost"),
}
TEXT = "text/plain"
STRINGS = {"type": "array", "items": {"type": "string"}}


def answers(description: str, schema: dict[str, Any], example: Any, *errors: int) -> Responses:
    """OpenAPI entries of 200 with JSON and of the errors; those of keys, 400 and 503 are always among them."""
    content = {"application/json": {"schema": schema, "example": example}}
    return {
        200: {"description": description, "content": content},
        422: {"description": "Taken out by complete_answers; without it the framework names its own"},
        **{status: _error(status) for status in sorted({*errors, 400, 401, 403, 429, 503})},
    }


def probe(model: type[BaseModel], description: str) -> Responses:
    """The same, of a call that takes no key."""
    return {status: answer for status, answer in one(model, description).items() if status not in {401, 403, 429}}


def one(model: type[BaseModel], description: str, *errors: int) -> Responses:
    """The same, of one object."""
    return answers(description, _ref(model), EXAMPLES[model], *errors)


def one_or_none(model: type[BaseModel], description: str) -> Responses:
    """The same, of one object or `{}`."""
    nothing = {"type": "object", "maxProperties": 0}
    return answers(description, {"anyOf": [_ref(model), nothing]}, EXAMPLES[model])


def many(model: type[BaseModel], description: str, *errors: int) -> Responses:
    """The same, of an array of them."""
    return answers(description, {"type": "array", "items": _ref(model)}, [EXAMPLES[model]], *errors)


def body(model: type[BaseModel], *, rows: bool = False) -> dict[str, Any]:
    """The request body of a call that takes one object, or an array of them, for an empty one of which null stands."""
    schema, example = _ref(model), EXAMPLES[model]
    content = {
        "schema": {"anyOf": [{"type": "array", "items": schema}, {"type": "null"}]} if rows else schema,
        "example": [example] if rows else example,
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def complete_answers(calls: Sequence[dict[str, Any]]) -> None:
    """What routes add to the answers of every call is 400 or plain text in Gorse's."""
    for call in calls:
        if TAG not in call["tags"]:
            continue
        for status in ("422", "431"):  # what the server says before any call is no matter of Gorse's clients
            call["responses"].pop(status, None)
        for answer in call["responses"].values():
            if PROBLEM in answer.get("content", {}):
                answer["content"] = {TEXT: {"schema": {"type": "string"}, "example": answer["description"]}}


def _ref(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _error(status: int) -> dict[str, Any]:
    description, example = ERRORS[status]
    return {
        "description": description,
        "content": {TEXT: {"schema": {"type": "string"}, "example": example}},
    }
