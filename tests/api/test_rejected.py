"""The last rejected rows, whoever sent them."""

from typing import Any

import httpx

from app.store.rejected import KEPT, NOTED


async def rejected(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get("/rejected", params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_rejected_rows_are_remembered_with_their_batch(client: httpx.AsyncClient) -> None:
    assert await rejected(client) == []
    await client.post("/users", json=[{"user_id": "ada"}, {"user_id": "a/b"}])
    report = (await client.post("/interactions", json=[{"user_id": "ada", "course_id": "c", "type": "flew"}])).json()
    (newest, oldest) = await rejected(client)
    assert {key: newest[key] for key in ("index", "id", "type", "detail")} == report["rejected"][0]
    assert (newest["kind"], newest["id"]) == ("interactions", "ada/c/flew")
    assert (oldest["kind"], oldest["index"]) == ("users", 1)
    assert newest["at"] >= oldest["at"]
    assert await rejected(client, kind="users") == [oldest]
    assert await rejected(client, limit=1) == [newest]


async def test_what_was_only_checked_is_not_remembered_and_what_was_abandoned_is(client: httpx.AsyncClient) -> None:
    rows = [{"course_id": "c"}, {"course_id": "d", "titel": "D"}]
    await client.post("/courses?dry_run=true", json=rows)
    await client.post("/courses?dry_run=true&on_error=abort", json=rows)
    assert await rejected(client) == []
    assert (await client.post("/courses?on_error=abort", json=rows)).status_code == 422
    assert [row["id"] for row in await rejected(client)] == ["d"]


async def test_a_bad_batch_cannot_fill_the_database(client: httpx.AsyncClient) -> None:
    for batch in range(KEPT // NOTED + 2):
        await client.post("/users", json=[{"user_id": f"{batch}/{row}"} for row in range(NOTED + 50)])
    kept = await rejected(client, limit=1000)
    assert len(kept) == KEPT
    assert [row["index"] for row in kept[:NOTED]] == [*range(NOTED)]
    assert kept[0]["id"].startswith(f"{KEPT // NOTED + 1}/")
    assert not any(row["id"].startswith(("0/", "1/")) for row in kept)


async def test_an_erased_user_is_erased_there_too(client: httpx.AsyncClient) -> None:
    rows = [
        {"user_id": "ada", "course_id": "c", "type": "flew"},
        {"user_id": "ada", "course_id": ""},
        {"user_id": "ada2", "course_id": "c", "type": "flew"},
        {"user_id": "adam", "course_id": "ada", "type": "flew"},
    ]
    await client.post("/interactions", json=rows)
    await client.put("/users/ada", json={})
    answer = (await client.delete("/users/ada")).json()
    assert answer["rejected_rows"] == 2
    assert [row["id"] for row in await rejected(client)] == ["ada2/c/flew", "adam/ada/flew"]
