"""An example of every answer, for the OpenAPI document."""

from typing import Any

from app.api.gorse.openapi import EXAMPLES

Example = dict[str, Any]

TIMES = {"created_at": "2026-11-20T08:00:00Z", "updated_at": "2026-11-24T09:30:00Z"}
USER = {
    "user_id": "ada",
    "features": None,
    "interests": {"statistics": 1.0, "python": 0.5},
    "attributes": {"faculty": "science"},
    **TIMES,
}
COURSE: Example = {
    "course_id": "python",
    "title": "Python Programming",
    "description": "Variables, loops, functions; no previous knowledge is needed.",
    "categories": ["Programming"],
    "tags": ["python"],
    "level": "beginner",
    "language": "en",
    "url": "https://courses.example.org/python",
    "prerequisites": [],
    "available": True,
    "features": None,
    "attributes": {},
    "published_at": "2026-01-15T00:00:00Z",
    **TIMES,
}
INTERACTION = {
    "user_id": "ada",
    "course_id": "python",
    "type": "complete",
    "value": None,
    "timestamp": "2026-11-24T09:30:00Z",
    "recommendation_id": None,
    "comment": None,
    "updated_at": "2026-11-24T09:30:01Z",
}
METRICS = {
    "model": {"recall@20": 0.412, "ndcg@20": 0.281},
    "popular": {"recall@20": 0.233, "ndcg@20": 0.148},
    "item_cosine": {"recall@20": 0.387, "ndcg@20": 0.259},
}
COUNTS = {"users": 2000, "courses": 300, "interactions": 30000}
CONFIG = {"embedding_size": 64, "n_layers": 3, "combination": "sum", "loss": "softmax", "seed": 0}
RUN = {
    "run_id": "r-000014",
    "status": "running",
    "requested_at": "2026-11-24T09:59:00Z",
    "started_at": "2026-11-24T09:59:01Z",
    "ended_at": None,
    "trigger": "request",
    "cancel_requested": False,
    "progress": {"epoch": 3, "epochs": 200, "loss": 3.52, "seconds_left": 21.5},
    "losses": [4.21, 3.87, 3.52],
    "metrics": None,
    "counts": COUNTS,
    "device": "cpu",
    "seed": 0,
    "config": CONFIG,
    "plan": {"kind": "search", "reason": "no model is served yet"},
    "trials": [
        {
            "recipe": {"embedding_size": 64, "n_layers": 3, "parameters": "all", "l2_weight": 0.8},
            "epochs": 60,
            "steps": 60,
            "seconds": 1.9,
            "filter": "ease",
            "filter_l2": 200.0,
            "filter_power": 0.0,
            "filter_weight": 0.4,
            "ndcg": 0.2812,
            "ndcg_alone": 0.2684,
            "chosen": True,
        }
    ],
    "verdict": "NDCG@20 is 0.2812 on held-out interactions, most-popular has 0.1480",
    "model_id": None,
    "error": None,
}
MODEL = {
    "model_id": "m-000012",
    "current": True,
    "created_at": "2026-11-24T09:40:00Z",
    "activated_at": "2026-11-24T09:40:02Z",
    "run_id": "r-000013",
    "counts": COUNTS,
    "embedding_size": 64,
    "config": CONFIG,
    "seed": 0,
    "device": "cpu",
    "metrics": METRICS,
    "data_fingerprint": "3f1c9a0d5b7e2468ace013579bdf02468ace13579bdf02468ace13579bdf0246",
    "code_version": "0.1.0",
}
REJECTED = {
    "index": 7,
    "id": "python",
    "type": "string_too_long",
    "detail": "title: String should have at most 1000 characters",
}


LIST = {
    "user_id": "ada",
    "model_id": "m-000012",
    "source": "model",
    "generated_at": "2026-11-24T10:00:00Z",
    "recommendation_id": "r-000012-7f2b5c0d9e1a4b3c",
    "percent_over": "recommended",
    "items": [
        {
            **{"course_id": "python", "rank": 1, "score": 1.0312, "percent": 100.0},
            "because": [
                {"course_id": "statistics", "contribution": 0.61, "percent": 59.2},
                {"course_id": None, "contribution": 0.4212, "percent": 40.8},
            ],
        }
    ],
}
NEAR = {"model_id": "m-000012"}


def _page(item: Example) -> Example:
    return {"items": [item], "next_cursor": None}


ANSWERS: dict[str, Example] = {  # by the name of the schema
    "StoredUser": USER,
    "StoredCourse": COURSE,
    "StoredInteraction": INTERACTION,
    "Run": RUN,
    "ModelSummary": MODEL,
    "PageOf_StoredUser_": _page(USER),
    "PageOf_StoredCourse_": _page(COURSE),
    "PageOf_StoredInteraction_": _page(INTERACTION),
    "PageOf_Run_": _page(RUN),
    "PageOf_ModelSummary_": _page(MODEL),
    "RecommendationList": LIST,
    "SimilarCourses": {
        "course_id": "python",
        "source": "model",
        **NEAR,
        "items": [{"course_id": "statistics", "rank": 1, "score": 0.83, "shared_users": 57}],
    },
    "InterestedUsers": {"course_id": "python", **NEAR, "items": [{"user_id": "ada", "rank": 1, "score": 1.0312}]},
    "SimilarUsers": {"user_id": "ada", **NEAR, "items": [{"user_id": "alan", "rank": 1, "score": 0.91}]},
    "BatchReport": {"accepted": 9, "created": 8, "updated": 1, "unchanged": 0, "rejected": [REJECTED]},
    "Statistics": {
        **COUNTS,
        "model_id": "m-000012",
        "last_change_at": "2026-11-24T09:59:58Z",
        "change_stream_lag_seconds": 0.2,
        "interaction_types": ["view", "like", "enroll", "complete", "dislike", "drop"],
        "labels": {
            "categories": [{"label": "Programming", "courses": 41}],
            "tags": [{"label": "python", "courses": 12}],
            "levels": [{"label": "beginner", "courses": 120}],
            "languages": [{"label": "en", "courses": 270}],
        },
        "limits": {
            "json_rows": 10000,
            "json_bytes": 33554432,
            "spool_bytes": 1073741824,
            "users": None,
            "courses": None,
            "interactions": 1_000_000,
        },
    },
    "Found": {
        "users": [],
        "courses": [{"course_id": "python", "title": "Python Programming", "categories": ["Programming"]}],
    },
    "Deleted": {"users": 1, "courses": 0, "interactions": 42, "vectors": 1, "rejected_rows": 0},
    "PageOf_NotedRow_": {
        "items": [
            {
                "index": 7,
                "id": "ada/python/flew",
                "type": "invalid_value",
                "detail": "type has value 'flew'; wanted one of view, like, enroll, complete, dislike, drop",
                "at": "2026-11-24T09:30:00Z",
                "kind": "interactions",
            }
        ],
        "next_cursor": None,
    },
    "RemovedCount": {"deleted": 1},
    "Health": {"status": "ok", "checks": {"database": "ok", "change_stream": "ok", "model": "ok"}},
    **{model.__name__: example for model, example in EXAMPLES.items()},
}

PROBLEMS: dict[str, Example] = {  # by status
    "431": {
        "type": "request_header_fields_too_large",
        "title": "Request Header Fields Too Large",
        "detail": "the head has more than 131072 bytes",
    },
    "429": {
        "type": "too_many_requests",
        "title": "Too many requests",
        "detail": "more than 50 requests a second with this key; wait as long as Retry-After says",
    },
    "400": {
        "type": "malformed_body",
        "title": "The body could not be read",
        "detail": "the body is not JSON: unexpected end of data at line 1, column 14",
    },
    "401": {
        "type": "key_missing",
        "title": "A key is needed",
        "detail": "X-API-Key is missing; this call takes a key with scope read or more",
    },
    "403": {
        "type": "key_scope",
        "title": "The key may not do this",
        "detail": "key '3f9a1c20' has scope read; this call takes scope write or more",
    },
    "404": {
        "type": "not_found",
        "title": "Not found",
        "detail": "user_id 'ada' is not known; create it with PUT /users/{user_id}",
    },
    "409": {
        "type": "run_in_progress",
        "title": "A training run is in progress",
        "detail": "training run 'r-000014' is already waiting or running; wait for its end or cancel it",
    },
    "413": {
        "type": "too_large",
        "title": "Too large",
        "detail": "the body has more than 33554432 bytes; send less at once, or lines of NDJSON",
    },
    "415": {
        "type": "unsupported_media_type",
        "title": "Unsupported media type",
        "detail": "Content-Type 'text/plain' is not taken here; wanted application/json",
    },
    "422": {
        "type": "invalid_value",
        "title": "Invalid value",
        "detail": "query.limit has value '0': Input should be greater than or equal to 1",
        "errors": [
            {
                "loc": ["query", "limit"],
                "msg": "Input should be greater than or equal to 1",
                "type": "greater_than_equal",
            }
        ],
    },
    "503": {
        "type": "unavailable",
        "title": "Unavailable for now",
        "detail": "the database does not answer; nothing accepted before is lost",
    },
}

EXPORT = '{"user_id":"ada","course_id":"python","type":"complete","value":null,"timestamp":"2026-11-24T09:30:00Z"}\n'
METRICS_TEXT = "# TYPE coursegraph_change_stream_lag_seconds gauge\ncoursegraph_change_stream_lag_seconds 0.2\n"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 380"></svg>'
TEXTS = {"application/x-ndjson": EXPORT, "text/plain": METRICS_TEXT, "image/svg+xml": SVG}


def add_examples(document: dict[str, Any]) -> None:
    """Put an example into every answer that has none, and anew where the framework has dropped what is null."""
    for path, calls in document["paths"].items():
        for call in calls.values():
            for status, answer in call["responses"].items():
                for media_type, content in answer.get("content", {}).items():
                    example = _example(path, status, media_type, content.get("schema", {}))
                    if example is not None and ("example" not in content or _name(content) in ANSWERS):
                        content["example"] = example


def _example(path: str, status: str, media_type: str, schema: dict[str, Any]) -> Any:
    if media_type == "application/problem+json":
        known = PROBLEMS.get(status)
        return known and {
            **{name: known[name] for name in ("type", "title")},
            "status": int(status),
            "detail": known["detail"],
            "instance": path,
            "request_id": "7f2b5c0d9e1a4b3c",
            **{name: value for name, value in known.items() if name not in {"type", "title", "detail"}},
        }
    if media_type in TEXTS and schema.get("type") == "string":
        return TEXTS[media_type]
    return ANSWERS.get(_name({"schema": schema}))


def _name(content: dict[str, Any]) -> str:
    name: str = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    return name
