"""Batches over HTTP: what is written, what is named."""

import gzip
import json
from typing import Any

import httpx

NDJSON = {"Content-Type": "application/x-ndjson"}


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def counts(report: dict[str, Any]) -> tuple[int, int, int, int]:
    return report["accepted"], report["created"], report["updated"], len(report["rejected"])


async def test_bad_rows_are_named_and_good_ones_written(client: httpx.AsyncClient) -> None:
    rows = [
        {"course_id": "a"},
        {"course_id": "b/c"},
        7,
        {"course_id": "d", "features": "no"},
        {"course_id": "e", "titel": "x"},
        {},
    ]
    answer = (await client.post("/courses", json=rows)).json()
    assert answer["accepted"] == 1
    assert [row["index"] for row in answer["rejected"]] == [1, 2, 3, 4, 5]
    assert "titel" in answer["rejected"][3]["detail"]
    assert [c["course_id"] for c in (await client.get("/courses")).json()["items"]] == ["a"]


async def test_a_number_too_large_for_a_double_is_malformed(
    client: httpx.AsyncClient,
) -> None:
    body = b'[{"course_id": "a"}, {"course_id": "b", "features": [1e400]}]'
    answer = await client.post("/courses", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (400, "malformed_body")
    assert (await client.get("/courses")).json()["items"] == []


async def test_ndjson_of_any_length_with_a_broken_line(client: httpx.AsyncClient) -> None:
    body = lines(*({"user_id": f"u{i}"} for i in range(2500))) + b"{broken\n" + lines({"user_id": "last"})
    report = (await client.post("/users", content=body, headers=NDJSON)).json()
    assert counts(report) == (2501, 2501, 0, 1)
    assert (report["rejected"][0]["index"], report["rejected"][0]["type"]) == (2500, "malformed_row")


async def test_abort_writes_nothing(client: httpx.AsyncClient) -> None:
    for content, headers in (
        (json.dumps([{"user_id": "a"}, {"user_id": ""}]).encode(), {"Content-Type": "application/json"}),
        (lines({"user_id": "a"}, {"user_id": ""}), NDJSON),
    ):
        answer = await client.post("/users?on_error=abort", content=content, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (422, "batch_aborted")
        assert answer.json()["rejected"][0]["index"] == 1
    assert (await client.get("/users")).json()["items"] == []
    good = await client.post("/users?on_error=abort", content=lines({"user_id": "a"}, {"user_id": "b"}), headers=NDJSON)
    assert counts(good.json()) == (2, 2, 0, 0)


async def test_dry_run_writes_nothing(client: httpx.AsyncClient) -> None:
    report = (await client.post("/users?dry_run=true", json=[{"user_id": "a"}, {}])).json()
    assert counts(report) == (1, 0, 0, 1)
    assert (await client.get("/users")).json()["items"] == []


async def test_an_array_has_a_limit(client: httpx.AsyncClient) -> None:
    answer = await client.post("/users", json=[{"user_id": str(i)} for i in range(10_001)])
    assert (answer.status_code, answer.json()["type"]) == (413, "too_large")


async def test_gzip_is_taken(client: httpx.AsyncClient) -> None:
    body = gzip.compress(lines({"user_id": "a"}))
    report = await client.post("/users", content=body, headers={**NDJSON, "Content-Encoding": "gzip"})
    assert counts(report.json()) == (1, 1, 0, 0)


async def test_sending_again_is_an_update_and_older_never_overwrites(client: httpx.AsyncClient) -> None:
    row = {"user_id": "u", "course_id": "c", "value": 1, "timestamp": "2026-01-02T00:00:00Z"}
    assert counts((await client.post("/interactions", json=row)).json()) == (1, 1, 0, 0)
    assert counts((await client.post("/interactions", json=row)).json()) == (1, 0, 1, 0)
    older = {**row, "value": 2, "timestamp": "2026-01-01T00:00:00+02:00"}
    assert (await client.post("/interactions", json=older)).json()["unchanged"] == 1
    (stored,) = (await client.get("/users/u/interactions")).json()["items"]
    assert (stored["value"], stored["timestamp"]) == (1.0, "2026-01-02T00:00:00Z")


async def test_unknown_records_are_created_or_named(client: httpx.AsyncClient) -> None:
    row = {"user_id": "u", "course_id": "c"}
    report = (await client.post("/interactions?auto_create=false", json=[row])).json()
    assert (report["accepted"], report["rejected"][0]["type"]) == (0, "unknown_user")
    assert counts((await client.post("/interactions", json=[row])).json()) == (1, 1, 0, 0)
    assert (await client.get("/users/u")).status_code == 200
    assert (await client.get("/courses/c")).json()["available"] is True
    bad = (await client.post("/interactions", json=[{**row, "type": "buy"}])).json()
    assert "enroll" in bad["rejected"][0]["detail"]


async def test_an_export_can_be_sent_back(client: httpx.AsyncClient) -> None:
    await client.post(
        "/courses", json=[{"course_id": "c", "title": "T", "published_at": 0, "attributes": {"a.b": [1]}}]
    )
    await client.post("/interactions", json=[{"user_id": "u", "course_id": "c", "value": 0.5}])
    for kind in ("users", "courses", "interactions"):
        rows = (await client.get(f"/export/{kind}")).content
        report = (await client.post(f"/{kind}", content=rows, headers=NDJSON)).json()
        assert (report["rejected"], report["updated"]) == ([], 1)
        assert report["accepted"] == 1
