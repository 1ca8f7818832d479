"""What Schemathesis must be told to send what the document says: our formats, NDJSON, and what a batch report promises.

Loaded by scripts/schemathesis.
"""

import base64
import json
import os
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import schemathesis
from hypothesis import strategies as st
from schemathesis import CheckContext, GenerationMode, Response
from schemathesis.core.parameters import ParameterLocation

from app.cli.client import Client

BATCHES = {"/users", "/courses", "/interactions"}
NDJSON = "application/x-ndjson"
FITS = 2**63
STEPS = {".", ".."}  # of a path, which are no ids and which whoever sends a request takes out of its address
IDS_IN_PATHS = {"user_id", "course_id", "item_id", "feedback_type"}  # whose format is `id`
ANY_TEXT_IN_PATHS = {"name"}

text = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1, max_size=128).filter(
    lambda id_: id_ not in STEPS
)
known = st.sampled_from(["ada", "bob", "python", "ml", "statistics"])
ids = known | text
schemathesis.openapi.format("id", ids)
schemathesis.openapi.format("cursor", ids.map(lambda id_: base64.urlsafe_b64encode(id_.encode()).decode().rstrip("=")))
times = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2099, 12, 30))
schemathesis.openapi.format("date-time", times.map(lambda time: time.isoformat() + "Z"))


@schemathesis.serializer(NDJSON)
def lines(ctx: Any, value: Any) -> bytes:
    """Rows as lines; the document gives the body as text, since OpenAPI has no words for lines."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    rows = value if isinstance(value, list) else [value]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@schemathesis.deserializer(NDJSON)
def unlines(ctx: Any, response: Response) -> Any:
    """The first line stands for all, as each has the schema."""
    rows = [json.loads(line) for line in response.content.splitlines()]
    return rows[0] if rows else None


@schemathesis.hook
def before_call(ctx: Any, case: Any, kwargs: Any) -> None:
    """See that an export has a line, though calls before may have deleted everything."""
    if case.operation.path == "/export/{kind}":
        with Client(case.operation.base_url, key=os.environ["COURSEGRAPH_ADMIN_KEY"]) as client:
            client.post("/interactions", [{"user_id": "ada", "course_id": "python"}])


@schemathesis.hook
def filter_case(ctx: Any, case: Any) -> bool:
    """Leave out attributes that the document cannot forbid: NUL characters and numbers beyond 64 bits (tests/api).

    And lists for nobody, whose answer has no line to look at, and ids in the path that are said to be wrong and are
    not: of a format that is not in JSON Schema any text is taken to break it.
    """
    path, values = case.meta and case.meta.components.get(ParameterLocation.PATH), case.path_parameters or {}
    ids = {name: value for name, value in values.items() if name not in ANY_TEXT_IN_PATHS}
    if path and path.mode is GenerationMode.NEGATIVE and set(ids) <= IDS_IN_PATHS and all(map(_is_id, ids.values())):
        return False
    body = case.body
    if isinstance(body, dict) and body.get("user_ids") == []:
        return False
    return not isinstance(body, dict | list) or not _unsayable(body)


def _is_id(value: Any) -> bool:
    """As it stands in an address, where a character may be twelve."""
    id_ = unquote(value) if isinstance(value, str) else ""
    return 0 < len(id_) <= 128 and id_.isprintable() and "/" not in id_ and id_ not in STEPS


def _unsayable(value: Any) -> bool:
    if isinstance(value, dict):
        return any("\x00" in key or _unsayable(member) for key, member in value.items())
    if isinstance(value, list):
        return any(map(_unsayable, value))
    if isinstance(value, str):
        return "\x00" in value
    return isinstance(value, int | float) and not -FITS < value < FITS


@schemathesis.check
def report_adds_up(ctx: CheckContext, response: Response, case: Any) -> None:
    """Of the rows of a batch each is either written and counted, or named; this is why a bad row is no 4xx."""
    if response.status_code != 200 or case.method != "POST" or case.operation.path not in BATCHES:
        return
    report = response.json()
    n_rows = len(case.body) if isinstance(case.body, list) else None
    assert report["created"] + report["updated"] + report["unchanged"] <= report["accepted"]
    if n_rows is not None:
        assert report["accepted"] + len(report["rejected"]) == n_rows, report
