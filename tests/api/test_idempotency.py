"""Batches with an Idempotency-Key: done once, whoever asks again, and wherever."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from app.store.client import Database, prepare_database
from app.store.given_answers import CLAIM_SECONDS, Claim, GivenAnswerStore, Refusal
from tests.api.test_processes import process
from tests.support.service import api

ROWS = [{"user_id": "ada", "course_id": f"c{number}"} for number in range(3)]
KEY = {"Idempotency-Key": "key-1"}
KINDS = {"/users": {"user_id": "ada"}, "/courses": {"course_id": "c"}, "/interactions": ROWS[0]}
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def refused(client: httpx.AsyncClient, status: int, slug: str, **request: object) -> httpx.Response:
    answer = await client.post("/interactions", **request)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["type"]) == (status, slug), answer.text
    return answer


@pytest.mark.parametrize("path", KINDS)
async def test_a_batch_that_is_sent_again_gets_its_first_answer(client: httpx.AsyncClient, path: str) -> None:
    first = await client.post(path, json=[KINDS[path], {}], headers=KEY)
    assert first.json()["created"] == 1
    assert len(first.json()["rejected"]) == 1
    again = await client.post(path, json=[KINDS[path], {}], headers=KEY)
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert (await client.post(path, json=[KINDS[path], {}])).json()["created"] == 0


async def test_what_was_overwritten_since_stays(client: httpx.AsyncClient) -> None:
    rows = [{"course_id": "c", "title": "old"}]
    await client.post("/courses", json=rows, headers=KEY)
    await client.put("/courses/c", json={"title": "new"})
    assert (await client.post("/courses", json=rows, headers=KEY)).status_code == 200
    assert (await client.get("/courses/c")).json()["title"] == "new"


async def test_lines_and_a_batch_that_wrote_nothing_are_told_again(client: httpx.AsyncClient) -> None:
    headers = KEY | {"Content-Type": "application/x-ndjson"}
    body = b'{"user_id":"ada"}\n{"user_id":""}\n'
    first = await client.post("/users?on_error=abort", content=body, headers=headers)
    assert first.status_code == 422
    again = await client.post("/users?on_error=abort", content=body, headers=headers)
    assert (again.status_code, again.content) == (422, first.content)
    assert again.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("other", [{"json": ROWS[:2]}, {"json": ROWS, "params": {"dry_run": True}}])
async def test_a_key_stands_for_one_batch(client: httpx.AsyncClient, other: dict[str, object]) -> None:
    await client.post("/interactions", json=ROWS, headers=KEY)
    answer = await refused(client, 422, "idempotency_key_reused", headers=KEY, **other)
    assert "'key-1'" in answer.json()["detail"]


async def test_a_key_in_progress_is_told_to_come_again_and_lapses_with_its_process(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    await client.post("/interactions", json=ROWS, headers=KEY)
    # As it is while the first is still being done: claimed, and without an answer.
    unfinished = {"$unset": {"status": 1, "body": 1}, "$currentDate": {"held_until": True}}
    await database["given_answers"].update_one({}, unfinished)
    await database["given_answers"].update_one({}, [{"$set": {"held_until": {"$add": ["$$NOW", 60_000]}}}])
    answer = await refused(client, 409, "idempotency_key_in_use", json=ROWS, headers=KEY)
    assert answer.headers["retry-after"] == "1"
    await database["given_answers"].update_one({}, {"$set": {"held_until": LONG_AGO}})
    done = await client.post("/interactions", json=ROWS, headers=KEY)
    assert (done.json()["accepted"], done.json()["created"]) == (3, 0)


async def test_errors_are_not_kept(client: httpx.AsyncClient, database: Database) -> None:
    await refused(client, 400, "malformed_body", content=b"[", headers=KEY | {"Content-Type": "application/json"})
    assert await database["given_answers"].count_documents({}) == 0
    assert (await client.post("/interactions", json=ROWS, headers=KEY)).json()["created"] == 3


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\u00e9"])
async def test_a_key_that_is_none_is_refused(client: httpx.AsyncClient, key: str) -> None:
    await refused(client, 422, "invalid_value", json=ROWS, headers={"Idempotency-Key": key.encode()})


async def test_an_answer_is_kept_for_its_time_only(settings: Settings, database: Database) -> None:
    async with api(settings.model_copy(update={"idempotency_seconds": 0.05})) as client:
        await client.post("/interactions", json=ROWS, headers=KEY)
        expired = {"$expr": {"$lte": ["$expires_at", "$$NOW"]}}
        while not await database["given_answers"].count_documents(expired):  # noqa: ASYNC110 - the server's clock
            await asyncio.sleep(0.01)
        again = await client.post("/interactions", json=ROWS, headers=KEY)
        assert "idempotency-replayed" not in again.headers
    indexes = await database["given_answers"].index_information()
    assert indexes["expiry"]["expireAfterSeconds"] == 0


async def test_erasing_a_user_erases_answers_that_name_the_user(client: httpx.AsyncClient, database: Database) -> None:
    await client.put("/users/ada", json={})
    for number, user in enumerate(("ada", "bob")):
        rows = [{"user_id": user, "course_id": "c", "type": "unheard-of"}]
        await client.post("/interactions", json=rows, headers={"Idempotency-Key": str(number)})
    assert await database["given_answers"].count_documents({"users": "ada"}) == 1
    await client.delete("/users/ada")
    assert [answer["users"] async for answer in database["given_answers"].find()] == [["bob"]]


async def test_of_many_who_ask_at_once_one_may(database: Database) -> None:
    await prepare_database(database)
    store = GivenAnswerStore(database, 60.0)
    found = await asyncio.gather(*(store.claim("k", b"d") for _ in range(20)))
    assert sum(isinstance(one, Claim) for one in found) == 1


async def test_a_claim_from_before_the_clock_was_set_back_lapses_too(database: Database) -> None:
    store = GivenAnswerStore(database, 60.0)
    await store.claim("key", b"digest")
    await database["given_answers"].update_one({}, [{"$set": {"held_until": {"$add": ["$$NOW", 3_600_000]}}}])
    assert await store.claim("key", b"digest") is Refusal.in_progress
    soon = {"$expr": {"$lte": ["$held_until", {"$add": ["$$NOW", 1000 * CLAIM_SECONDS]}]}}
    assert await database["given_answers"].count_documents(soon) == 1


async def test_a_retry_after_a_lost_answer_reaches_another_process(
    mongodb_uri: str, database_name: str, database: Database, tmp_path: Path
) -> None:
    rows = [{"user_id": f"u{number}", "course_id": "c"} for number in range(4_000)]
    with (
        process(mongodb_uri, database_name, tmp_path / "0") as one,
        process(mongodb_uri, database_name, tmp_path / "1") as other,
    ):
        async with httpx.AsyncClient(timeout=30) as client:
            for url in (one, other):
                while (await client.get(f"{url}/health/ready")).status_code != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)

            async def send(url: str) -> httpx.Response:
                while True:
                    answer = await client.post(f"{url}/interactions", json=rows, headers=KEY)
                    if answer.status_code != 409:
                        return answer
                    assert answer.headers["retry-after"] == "1"
                    await asyncio.sleep(0.05)

            # The caller goes away as soon as the batch is in progress, and asks both processes at once.
            lost = asyncio.create_task(client.post(f"{one}/interactions", json=rows, headers=KEY))
            while not await database["given_answers"].count_documents({}):  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.001)
            lost.cancel()
            answers = await asyncio.gather(send(other), send(one))
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json()["created"] for answer in answers] == [4_000, 4_000]
    assert {answer.headers["idempotency-replayed"] for answer in answers} == {"true"}
    assert await database["interactions"].count_documents({}) == 4_000
