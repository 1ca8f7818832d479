"""Input that is meant to break something: each is a clear 4xx, never a 500, and nothing is half written."""

import asyncio
import gzip
import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.store.client import Database
from app.store.users import UserStore

NDJSON = "application/x-ndjson"
HOSTILE_IDS = [
    "$where",
    "a.b",
    "__proto__",
    "{}",
    "[$ne]",
    "' or 1=1",
    "<b>",
    "é",
    "e\u0301",
    "ش",
    "a b",
    "null",
    "0",
    "😀",
]
NOT_IDS = [
    "",
    "a/b",
    "a\x00",
    "\x1f",
    "\u202eabc",
    "\u200b",
    "a\n",
    "\ud800",
    "x" * 129,
    ".",
    "..",
    None,
    1,
    {"$ne": ""},
    ["a"],
]


@pytest.mark.parametrize("id_", HOSTILE_IDS)
async def test_an_id_is_only_an_id(client: httpx.AsyncClient, id_: str) -> None:
    await client.put("/users/other", json={"interests": ["maths"]})
    attributes = {"$where": "sleep(9)", "a.b": {"$gt": ""}, id_: {"$set": [1]}}
    assert (await client.post("/users", json={"user_id": id_, "attributes": attributes})).json()["created"] == 1
    path = f"/users/{httpx.URL('', path='/' + id_).raw_path.decode()[1:]}"
    stored = await client.get(path)
    assert (stored.json()["user_id"], stored.json()["attributes"]) == (id_, attributes)
    assert (await client.post("/interactions", json={"user_id": id_, "course_id": id_})).json()["created"] == 1
    listed = await client.get("/interactions", params={"user_id": id_})
    assert [row["course_id"] for row in listed.json()["items"]] == [id_]
    assert (await client.get("/search", params={"q": id_})).status_code == 200
    assert (await client.delete(path)).json()["interactions"] == 1
    assert (await client.get("/users/other")).json()["interests"] == {"maths": 1.0}


@pytest.mark.parametrize("id_", NOT_IDS)
async def test_what_is_no_id_is_named(client: httpx.AsyncClient, id_: Any) -> None:
    body = json.dumps([{"user_id": id_}, {"user_id": "good"}])
    answer = await client.post("/users", content=body, headers={"Content-Type": "application/json"})
    if answer.status_code == 400:  # half of a surrogate pair is no JSON
        assert "\\ud800" in body
        return
    report = answer.json()
    assert (answer.status_code, report["accepted"], [row["index"] for row in report["rejected"]]) == (200, 1, [0])


VALUES: list[Any] = [
    {"user_id": "u", "attributes": {"n": 2**63}},
    {"user_id": "u", "attributes": {"n": 10**20}},
    {"user_id": "u", "attributes": {"n": -(2**63) - 1}},
    {"user_id": "u", "attributes": {"n": 1e300}},
    {"user_id": "u", "attributes": {"a": "\x00"}},
    {"user_id": "u", "attributes": {"\x00": 1}},
    {"user_id": "u", "attributes": json.loads("[" * 30 + "]" * 30)},
    {"user_id": "u", "attributes": {"deep": json.loads("[" * 30 + "]" * 30)}},
    {"user_id": "u", "features": [True]},
    {"user_id": "u", "features": ["1"]},
    {"user_id": "u", "features": [1.0] * 4097},
    {"user_id": "u", "features": []},
    {"user_id": "u", "interests": {"a": "heavy"}},
    {"user_id": "u", "interests": {str(number): 1 for number in range(1001)}},
    {"user_id": "u", "$set": {"a": 1}},
    {"user_id": "u", "_id": "other"},
]


@pytest.mark.parametrize("row", VALUES)
async def test_values_that_cannot_be_kept_are_refused(client: httpx.AsyncClient, row: Any) -> None:
    answer = await client.post("/users", json=row)
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid_value")
    assert (await client.get("/users")).json()["items"] == []


async def test_whole_numbers_are_kept_to_the_digit_or_their_key_is_named(client: httpx.AsyncClient) -> None:
    kept = {"least": -(2**63), "most": 2**63 - 1, "inside": {"list": [2**53 + 1]}}
    await client.put("/users/u", json={"attributes": kept})
    assert (await client.get("/users/u")).json()["attributes"] == kept
    for path, body in (
        ("/users/u", {"attributes": {"inside": [{"serial": 12345678901234567890123}]}}),
        ("/courses/c", {"attributes": {"serial": 2**64}}),
    ):
        answer = await client.put(path, json=body)
        assert (answer.status_code, answer.json()["type"]) == (422, "invalid_value")
        assert "'serial'" in answer.json()["detail"]
    answer = await client.patch("/users/u", json={"attributes": {"serial": 10**30}})
    assert (answer.status_code, "'serial'" in answer.json()["detail"]) == (422, True)
    answer = await client.post("/api/user", json={"UserId": "g", "Labels": {"serial": 10**30}})
    assert (answer.status_code, "'serial'" in answer.text) == (400, True)
    assert (await client.get("/users/u")).json()["attributes"] == kept


@pytest.mark.parametrize("dots", [".", ".."])
async def test_steps_of_a_path_are_no_new_ids_and_old_ones_can_be_read_and_erased(
    client: httpx.AsyncClient, database: Database, dots: str
) -> None:
    encoded = dots.replace(".", "%2E")
    for kind in ("users", "courses"):
        answer = await client.put(f"/{kind}/{encoded}", json={})
        assert (answer.status_code, "'.' or '..'" in answer.json()["detail"]) == (422, True)
    for row in ({"user_id": dots, "course_id": "c"}, {"user_id": "u", "course_id": dots}):
        assert "'.' or '..'" in (await client.post("/interactions", json=row)).json()["detail"]
    assert (await client.post("/api/user", json={"UserId": dots})).status_code == 400
    feedback = {"FeedbackType": "like", "UserId": dots, "ItemId": "c"}
    assert (await client.post("/api/feedback", json=[feedback])).status_code == 400
    assert (await client.get("/users")).json()["items"] == (await client.get("/courses")).json()["items"] == []

    await UserStore(database).create_bare([dots])  # by an earlier release
    assert (await client.get(f"/users/{encoded}")).json()["user_id"] == dots
    assert (await client.get(f"/recommendations/{encoded}")).status_code == 200
    answer = await client.get(f"/api/recommend/{encoded}", params={"write-back-type": "read"})
    assert answer.status_code in {200, 400}
    assert (await client.delete(f"/users/{encoded}")).json()["users"] == 1


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/users/a%ff", "path"),
        ("/recommendations/a%FFb", "path"),
        ("/api/item/%c3", "path"),
        ("/interactions?user_id=%ff", "query"),
        ("/recommendations/a?category=%ed%a0%80", "query"),
        ("/api/recommend/a?category=%80", "query"),
        ("/%ff", "path"),
    ],
)
async def test_an_address_that_is_no_text_is_400(client: httpx.AsyncClient, path: str, part: str) -> None:
    for method in ("GET", "HEAD", "DELETE"):
        answer = await client.request(method, httpx.URL(str(client.base_url), raw_path=path.encode()))
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        if method != "HEAD":
            assert answer.json()["type"] == "malformed_address"
            assert f"the {part} of the address holds %" in answer.json()["detail"]


async def test_a_replacement_character_that_somebody_sent_is_one(client: httpx.AsyncClient) -> None:
    assert (await client.put("/users/a%EF%BF%BD", json={})).status_code == 201
    assert (await client.get("/users/a%EF%BF%BD")).json()["user_id"] == "a\ufffd"


@pytest.mark.parametrize(
    "time",
    ["1969-12-31T23:59:59Z", "2100-01-01T00:00:00Z", -1, 4102444800, 1764000000000, 1e300, True, "soon", "", {}, [1]],
)
async def test_times_out_of_range_are_refused(client: httpx.AsyncClient, time: Any) -> None:
    answer = await client.post("/interactions", json={"user_id": "u", "course_id": "c", "timestamp": time})
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid_value")
    assert (await client.get("/interactions")).json()["items"] == []


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "1e999", "{" * 100_000, "[" * 100_000, "\xff", "{'a': 1}"]
)
async def test_what_is_no_json_is_400(client: httpx.AsyncClient, text: str) -> None:
    body = f'{{"user_id": "u", "features": [{text}]}}'.encode("latin-1")
    answer = await client.post("/users", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.get("/users")).json()["items"] == []


async def test_a_gzip_bomb_is_not_unpacked(client: httpx.AsyncClient) -> None:
    bomb = gzip.compress(b" " * 2**26)  # 64 MiB in 64 KB
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await client.post("/users", content=bomb, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (413, "too_large")


async def test_one_line_without_end_is_cut_and_named(client: httpx.AsyncClient) -> None:
    line = gzip.compress(b'{"user_id": "' + b"x" * 2**26)
    headers = {"Content-Type": NDJSON, "Content-Encoding": "gzip"}
    report = (
        await client.post("/users", content=line + gzip.compress(b'"}\n{"user_id": "b"}\n'), headers=headers)
    ).json()
    assert (report["accepted"], [row["type"] for row in report["rejected"]]) == (1, ["malformed_row"])


async def test_a_bomb_of_blank_lines_holds_nobody_up(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": NDJSON, "Content-Encoding": "gzip"}
    bomb = gzip.compress(b"\n" * 2**26 + b" " * 2**26 + b'{"user_id": "a"}')
    posting = asyncio.create_task(client.post("/users", content=bomb, headers=headers))
    n_answers = 0
    while not posting.done():
        assert (await client.get("/health/live")).status_code == 200
        n_answers += 1
    assert n_answers > 10
    assert (await posting).json()["accepted"] == 1


@pytest.mark.parametrize(("path", "key"), [("/recommendations", "n"), ("/users", "user_id"), ("/courses/a", "title")])
async def test_what_is_nested_deeply_is_named_in_short(client: httpx.AsyncClient, path: str, key: str) -> None:
    deep = '{"a":' * 1000 + "1" + "}" * 1000
    method = "PUT" if path == "/courses/a" else "POST"
    answer = await client.request(
        method, path, content=f'{{"{key}": {deep}}}', headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid_value")
    assert len(answer.json()["detail"]) < 500
    report = await client.post(
        "/users", content=f'[{{"user_id": {deep}}}]', headers={"Content-Type": "application/json"}
    )
    assert len(report.json()["rejected"]) == 1


async def test_lines_that_are_cut_or_mixed_are_named_and_the_others_are_written(client: httpx.AsyncClient) -> None:
    mixed = b'{"user_id": "a"}\n{"user_id": "b"\n{"user_id": "c"}{"user_id": "d"}\n\n[1]\n'
    lines = mixed + b'{"user_id": "e"}\r\n{"user_id": "f'
    report = (await client.post("/users", content=lines, headers={"Content-Type": NDJSON})).json()
    assert report["accepted"] == 2
    assert [row["index"] for row in report["rejected"]] == [1, 2, 3, 5]
    assert [user["user_id"] for user in (await client.get("/users")).json()["items"]] == ["a", "e"]


async def test_a_body_that_breaks_off_leaves_what_its_report_would_have_said(client: httpx.AsyncClient) -> None:
    """Packed lines that end in the middle are 400; whole chunks before it may be written, and sending again is safe."""
    packed = gzip.compress(b"".join(b'{"user_id": "u%d"}\n' % number for number in range(10)))[:-9]
    headers = {"Content-Type": NDJSON, "Content-Encoding": "gzip"}
    answer = await client.post("/users?on_error=abort", content=packed, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (400, "malformed_body")
    assert (await client.get("/users")).json()["items"] == []
    many = b"".join(b'{"user_id": "u%d"}\n' % number for number in range(2_001))
    answer = await client.post("/users", content=gzip.compress(many) + b"no gzip", headers=headers)
    assert "of the rows before that 2000 are written and 0 were rejected" in answer.json()["detail"]
    assert len((await client.get("/users?limit=1000")).json()["items"]) == 1000


@pytest.mark.parametrize(
    "type_", ["text/plain", "application/xml", "multipart/form-data", "application/x-www-form-urlencoded"]
)
@pytest.mark.parametrize("path", ["/users", "/interactions", "/recommendations"])
async def test_other_content_types_are_415(client: httpx.AsyncClient, path: str, type_: str) -> None:
    answer = await client.post(path, content=b'{"user_id": "u", "course_id": "c"}', headers={"Content-Type": type_})
    assert (answer.status_code, answer.json()["type"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body", ['{"n": "5"}', '{"n": true}', '{"strict": "true"}', '{"category": 1}', "null", "[]", "3"]
)
async def test_options_in_a_body_are_of_the_types_that_the_document_says(client: httpx.AsyncClient, body: str) -> None:
    answer = await client.post("/recommendations/ada", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid_value")
    whole = await client.post(
        "/recommendations/ada", content='{"n": 5.0}', headers={"Content-Type": "application/json"}
    )
    assert whole.status_code == 200


async def test_every_answer_forbids_sniffing(client: httpx.AsyncClient) -> None:
    await client.put("/courses/c", json={"title": "<script>alert(1)</script>"})
    for path in ("/courses/c", "/", "/docs", "/page/style.css", "/nothing", "/popular", "/export/courses", "/metrics"):
        answer = await client.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-type"].startswith("text/html") == (path in {"/", "/docs"})
        if path in {"/", "/docs"}:
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


# --- properties

ids = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1, max_size=128).filter(
    lambda id_: id_ not in {".", ".."}
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
rows = st.fixed_dictionaries({"user_id": ids | anything}, optional={"attributes": anything, "interests": anything})
bounded = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()  # with NaN, Infinity and lone surrogates, as a careless program would


@bounded
@given(batch=st.lists(rows | anything, max_size=8))
async def test_each_row_of_a_batch_is_written_or_named(client: httpx.AsyncClient, batch: list[Any]) -> None:
    body = b"\n".join(map(encode, batch))
    answer = await client.post("/users", content=body, headers={"Content-Type": NDJSON})
    report = answer.json()
    assert answer.status_code == 200
    assert report["accepted"] + len(report["rejected"]) == len(batch)
    assert report["created"] + report["updated"] + report["unchanged"] == report["accepted"]
    bad = {row["index"] for row in report["rejected"]}
    for user_id in {row["user_id"] for place, row in enumerate(batch) if place not in bad}:
        url = httpx.URL("/users/x").copy_with(raw_path=b"/users/" + _quoted(user_id))
        assert (await client.get(url)).json()["user_id"] == user_id


def _quoted(text: str) -> bytes:
    return "".join(f"%{byte:02X}" for byte in text.encode()).encode()


@bounded
@given(first=anything, changes=anything)
async def test_a_merge_does_what_rfc_7396_says_or_nothing(client: httpx.AsyncClient, first: Any, changes: Any) -> None:
    headers = {"Content-Type": "application/json"}
    put = await client.put("/users/merged", content=encode({"attributes": first}), headers=headers)
    if put.status_code >= 400:
        assert put.status_code in {400, 422}
        return
    before = (await client.get("/users/merged")).json()["attributes"]
    patched = await client.patch("/users/merged", content=encode({"attributes": changes}), headers=headers)
    after = (await client.get("/users/merged")).json()["attributes"]
    if patched.status_code >= 400:
        assert patched.status_code in {400, 422}
        assert after == before
    elif isinstance(changes, dict):
        assert after == _merged(before, changes)
    else:
        assert (changes, after) == (None, {})


def _merged(target: Any, patch: Any) -> Any:
    """The pseudo-code of the RFC."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result


@bounded
@given(names=st.sets(ids, max_size=12), limit=st.integers(1, 5), late=ids)
async def test_pages_hold_each_record_once_in_order(
    client: httpx.AsyncClient, names: set[str], limit: int, late: str
) -> None:
    for user in (await client.get("/users", params={"limit": 1000})).json()["items"]:
        await client.delete(httpx.URL("/users/x").copy_with(raw_path=b"/users/" + _quoted(user["user_id"])))
    await client.post("/users", json=[{"user_id": name} for name in names])
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/users", params=query)).json()
        seen += [user["user_id"] for user in page["items"]]
        await client.post("/users", json={"user_id": late})  # between two pages
        if (cursor := page["next_cursor"]) is None:
            break
    assert set(seen) - {late} == names - {late}
    assert seen == sorted(set(seen), key=lambda name: name.encode())
