"""Batches, interactions and pages over HTTP, beyond the first look."""

import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.support.service import api

NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}


def lines(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def pages(client: httpx.AsyncClient, path: str, **query: Any) -> list[Any]:
    """All items of a list, page by page."""
    items: list[Any] = []
    while True:
        page = (await client.get(path, params=query)).json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        assert len(page["items"]) == query["limit"]
        query["cursor"] = page["next_cursor"]


# --- batches


async def test_the_longest_array_is_taken_and_one_row_more_is_not(client: httpx.AsyncClient) -> None:
    rows = [{"user_id": f"u{i:05}"} for i in range(10_001)]
    for path in ("/users", "/courses", "/interactions"):
        answer = await client.post(path, json=rows)
        assert (answer.status_code, answer.json()["type"]) == (413, "too_large")
        assert "10001" in answer.json()["detail"]
    report = (await client.post("/users", json=rows[:-1])).json()
    assert report == {"accepted": 10_000, "created": 10_000, "updated": 0, "unchanged": 0, "rejected": []}
    assert (await client.post("/users", json=[])).json()["accepted"] == 0


async def test_each_kind_of_bad_row_is_named(client: httpx.AsyncClient) -> None:
    rows: list[Any] = [
        {"user_id": "u", "course_id": "c"},
        {"user_id": "u"},
        {"user_id": "u", "course_id": "c", "type": "bought"},
        {"user_id": "u", "course_id": "c", "timestamp": "soon"},
        {"user_id": "u", "course_id": "c", "value": "much"},
        {"user_id": "u/v", "course_id": "c"},
        {"user_id": "", "course_id": "c"},
        {"user_id": "u", "course_id": "x" * 129},
        {"user_id": 7, "course_id": "c"},
        {"user_id": "u", "course_id": "c", "typ": "view"},
        "text",
        None,
        [],
        {"user_id": "u", "course_id": "c", "timestamp": 1e18},
        {"user_id": "u", "course_id": "d", "timestamp": "2026-11-24T10:00:00+02:00"},
    ]
    for body, headers in ((json.dumps(rows).encode(), JSON), (lines(rows), NDJSON)):
        report = (await client.post("/interactions", content=body, headers=headers)).json()
        assert report["accepted"] == 2
        assert [row["index"] for row in report["rejected"]] == list(range(1, 14))
        assert {row["type"] for row in report["rejected"]} == {"invalid_value"}
        by_index = {row["index"]: row for row in report["rejected"]}
        assert "bought" in by_index[2]["detail"]
        assert "view, like, enroll, complete, dislike, drop" in by_index[2]["detail"]
        assert by_index[2]["id"] == "u/c/bought"
        assert "course_id is missing" in by_index[1]["detail"]
    items = (await client.get("/interactions?user_id=u")).json()["items"]
    assert [(item["course_id"], item["type"]) for item in items] == [("c", "enroll"), ("d", "enroll")]
    assert items[1]["timestamp"] == "2026-11-24T08:00:00Z"


async def test_broken_lines_are_named_among_good_ones(client: httpx.AsyncClient) -> None:
    body = (
        b'{"user_id": "a"}\n\n{"user_id": \n \xff\r\n{"user_id": "b"}\r\n"'
        + b"x" * (4 * 2**20 + 9)
        + b'"\n{"user_id": "c"}'
    )
    report = (await client.post("/users", content=body, headers=NDJSON)).json()
    assert report["accepted"] == 3
    assert [(row["index"], row["type"]) for row in report["rejected"]] == [(i, "malformed_row") for i in (1, 2, 4)]
    assert "bytes" in report["rejected"][2]["detail"]


async def test_lines_are_read_as_they_come_in_bounded_memory(client: httpx.AsyncClient) -> None:
    rows = 60_000
    padding = "x" * 1_000

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, rows, 100):
            yield lines([{"user_id": f"u{i % 10:05}", "attributes": {"a": padding}} for i in range(start, start + 100)])

    tracemalloc.start()
    report = (await client.post("/users", content=body(), headers=NDJSON)).json()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (report["accepted"], report["created"]) == (rows, 10)
    assert peak < 40 * 2**20  # of 64 MB of rows


async def test_a_report_of_very_many_bad_rows_is_whole(client: httpx.AsyncClient) -> None:
    count = 40_000
    body = b'{"user_id": ""}\n' * count
    for query, status in (("", 200), ("?on_error=abort", 422), ("?dry_run=true", 200)):
        answer = await client.post(f"/users{query}", content=body, headers=NDJSON)
        report = answer.json()
        assert (answer.status_code, report["accepted"], len(report["rejected"])) == (status, 0, count)
        assert report["rejected"][-1]["index"] == count - 1


async def test_abort_writes_nothing_or_all(settings: Settings) -> None:
    rows: list[Any] = [{"user_id": f"u{i}", "course_id": "c"} for i in range(5_000)]
    small = settings.model_copy(update={"spool_limit_bytes": len(lines(rows)) + 100})
    async with api(small) as client:
        for body, headers in (
            (json.dumps([*rows, {"user_id": "u"}]).encode(), JSON),
            (lines([*rows, {"user_id": "u"}]), NDJSON),
        ):
            answer = await client.post("/interactions?on_error=abort", content=body, headers=headers)
            problem = answer.json()
            assert (answer.status_code, problem["type"], problem["accepted"]) == (422, "batch_aborted", 0)
            assert [row["index"] for row in problem["rejected"]] == [5_000]
            assert answer.headers["content-type"] == "application/problem+json"
            dry = await client.post("/interactions?on_error=abort&dry_run=true", content=body, headers=headers)
            assert (dry.status_code, dry.json()["rejected"]) == (422, problem["rejected"])
        answer = await client.post("/interactions?on_error=abort", content=lines([*rows, *rows[:9]]), headers=NDJSON)
        assert (answer.status_code, answer.json()["type"]) == (413, "too_large")
        assert (await client.get("/users?limit=1")).json()["items"] == []
        report = (await client.post("/interactions?on_error=abort", content=lines(rows), headers=NDJSON)).json()
        assert (report["accepted"], report["created"]) == (5_000, 5_000)


async def test_abort_looks_for_unknown_records_first(client: httpx.AsyncClient) -> None:
    await client.put("/courses/c", json={})
    await client.put("/users/u", json={})
    rows = [{"user_id": "u", "course_id": "c"}, {"user_id": "nobody", "course_id": "c"}]
    query = "auto_create=false"
    for extra in ("&on_error=abort", "&dry_run=true"):
        report = (await client.post(f"/interactions?{query}{extra}", json=rows)).json()
        assert [(row["index"], row["type"], row["id"]) for row in report["rejected"]] == [
            (1, "unknown_user", "nobody/c/enroll")
        ]
    assert (await client.get("/interactions")).json()["items"] == []
    report = (await client.post(f"/interactions?{query}", json=rows)).json()
    assert (report["accepted"], report["created"], len(report["rejected"])) == (1, 1, 1)


async def test_a_single_row_is_answered_as_a_request(client: httpx.AsyncClient) -> None:
    row = {"user_id": "u", "course_id": "c"}
    assert (await client.post("/interactions?dry_run=true", json=row)).json()["created"] == 0
    assert (await client.get("/users/u")).status_code == 404
    assert (await client.post("/interactions", json=row)).json()["created"] == 1
    assert (await client.post("/users", json={"user_id": "v"})).json()["created"] == 1
    assert (await client.post("/courses", json={"course_id": "v"})).json()["created"] == 1
    for bad, status, slug in (
        ({"user_id": "u"}, 422, "invalid_value"),
        ({**row, "type": "bought"}, 422, "invalid_value"),
        (7, 422, "invalid_value"),
        ({"user_id": "nobody", "course_id": "c"}, 404, "unknown_user"),
        ({"user_id": "u", "course_id": "none"}, 404, "unknown_course"),
    ):
        for dry in ("true", "false"):
            answer = await client.post(f"/interactions?auto_create=false&dry_run={dry}", json=bad)
            assert (answer.status_code, answer.json()["type"]) == (status, slug)
    assert "bought" in (await client.post("/interactions", json={**row, "type": "bought"})).json()["detail"]


async def test_of_two_rows_with_one_id_the_last_counts(client: httpx.AsyncClient) -> None:
    rows = [{"course_id": "c", "title": "old"}, {"course_id": "c", "title": "new"}]
    report = (await client.post("/courses", json=rows)).json()
    assert (report["accepted"], report["created"] + report["updated"] + report["unchanged"]) == (2, 2)
    assert (await client.get("/courses/c")).json()["title"] == "new"


# --- interactions


async def test_times_and_retries(client: httpx.AsyncClient) -> None:
    key = {"user_id": "u", "course_id": "c", "type": "view"}
    for time, value, kept in (
        ("2026-01-02T00:00:00Z", 1.0, 1.0),
        ("2026-01-02T00:00:00Z", 2.0, 2.0),  # a retry is an update
        ("2026-01-01T00:00:00Z", 3.0, 2.0),  # an older one changes nothing
        (1767400000, 4.0, 4.0),  # epoch seconds, later
        ("2026-01-03T00:26:41", 5.0, 5.0),  # no zone: UTC
    ):
        answer = await client.post("/interactions", json={**key, "timestamp": time, "value": value})
        assert answer.json()["accepted"] == 1
        items = (await client.get("/interactions?user_id=u")).json()["items"]
        assert [item["value"] for item in items] == [kept]
    assert items[0]["timestamp"] == "2026-01-03T00:26:41Z"


async def test_lists_of_interactions_are_filtered_and_tiled(client: httpx.AsyncClient) -> None:
    rows = [
        {"user_id": u, "course_id": c, "type": t, "timestamp": 1_700_000_000 + number}
        for number, (u, c, t) in enumerate((u, c, t) for u in "abc" for c in "xyz" for t in ("view", "like"))
    ]
    await client.post("/interactions", json=rows)
    assert len(await pages(client, "/interactions", limit=4)) == len(rows)
    for query in ({"user_id": "b"}, {"course_id": "y"}, {"type": "like"}, {"user_id": "b", "course_id": "z"}):
        wanted = [row for row in rows if all(row[key] == value for key, value in query.items())]
        assert len(await pages(client, "/interactions", limit=2, **query)) == len(wanted)
    newest_first = await pages(client, "/users/b/interactions", limit=4)
    times = [item["timestamp"] for item in newest_first]
    assert (len(times), times) == (6, sorted(times, reverse=True))
    assert (await client.get("/users/nobody/interactions")).json()["type"] == "unknown_user"
    removed = await client.delete("/interactions?user_id=a&course_id=x&type=view")
    assert removed.json() == {"deleted": 1}
    assert (await client.delete("/interactions?user_id=a&course_id=x")).json() == {"deleted": 1}
    assert (await client.delete("/interactions?user_id=a&course_id=x")).json() == {"deleted": 0}
    assert (await client.delete("/interactions?user_id=a")).status_code == 422
    counts = (await client.delete("/courses/y")).json()
    assert counts == {"users": 0, "courses": 1, "interactions": 6, "vectors": 0, "rejected_rows": 0}
    assert (await client.get("/interactions?course_id=y")).json()["items"] == []


@pytest.mark.parametrize("kind", ["users", "courses", "interactions"])
async def test_an_export_is_taken_back_unchanged(client: httpx.AsyncClient, kind: str) -> None:
    rows = {
        "users": [{"user_id": "u", "interests": ["a"], "features": [0.1, 2], "attributes": {"n": None}}],
        "courses": [{"course_id": "c", "title": "C", "published_at": "2026-01-01", "prerequisites": ["b"]}],
        "interactions": [{"user_id": "u", "course_id": "c", "type": "complete", "value": 0.5}],
    }[kind]
    await client.post(f"/{kind}", json=rows)
    exported = await client.get(f"/export/{kind}")
    assert exported.headers["content-type"].startswith("application/x-ndjson")
    before = (await client.get(f"/{kind}")).json()["items"]
    report = (await client.post(f"/{kind}", content=exported.content, headers=NDJSON)).json()
    assert (report["accepted"], report["updated"], report["rejected"]) == (len(before), len(before), [])
    after = (await client.get(f"/{kind}")).json()["items"]
    assert [{**row, "updated_at": None} for row in after] == [{**row, "updated_at": None} for row in before]
    assert (await client.get("/export/pictures")).status_code == 422
