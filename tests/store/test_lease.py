import asyncio
import random
from datetime import timedelta
from pathlib import Path

import pytest

from app.errors import LeaseLostError
from app.store.client import Database, Session, open_database
from app.store.embedded import EmbeddedMongod
from app.store.lease import Lease, touch_lease
from app.store.transactions import in_transaction

SHORT = 0.3  # seconds; a lease that is meant to lapse
LONG = 60.0


async def touch(database: Database, fence: int) -> None:
    async def work(session: Session) -> None:
        await touch_lease(database, fence, session)

    await in_transaction(database, work)


async def test_only_one_holds_it(database: Database) -> None:
    first, second = Lease(database, "first", LONG), Lease(database, "second", LONG)
    assert await first.acquire() == 1
    assert await second.acquire() is None
    await first.renew()
    assert await second.acquire() is None
    await first.release()
    assert await second.acquire() == 2
    assert await first.acquire() is None


async def test_of_many_at_once_one_gets_it(database: Database) -> None:
    for fence in range(1, 6):
        contenders = [Lease(database, f"w{number}", LONG) for number in range(10)]
        fences = await asyncio.gather(*(lease.acquire() for lease in contenders))
        assert [got for got in fences if got is not None] == [fence]
        await next(lease for lease in contenders if lease.fence is not None).release()


async def test_a_lapsed_lease_is_taken_over_and_the_late_holder_is_told(database: Database) -> None:
    late, next_ = Lease(database, "late", SHORT), Lease(database, "next", LONG)
    assert await late.acquire() == 1
    assert await next_.acquire() is None
    await asyncio.sleep(SHORT + 0.1)
    assert await next_.acquire() == 2
    with pytest.raises(LeaseLostError):
        await late.renew()
    await late.release()  # takes nothing from the other
    await next_.renew()
    with pytest.raises(LeaseLostError):
        await touch(database, 1)
    await touch(database, 2)


async def test_a_lease_that_lapsed_and_was_not_taken_can_be_renewed(database: Database) -> None:
    lease = Lease(database, "slow", SHORT)
    await lease.acquire()
    await asyncio.sleep(SHORT + 0.1)
    await lease.renew()
    assert await Lease(database, "other", LONG).acquire() is None


async def test_its_end_is_by_the_clock_of_the_server(database: Database) -> None:
    await Lease(database, "w", LONG).acquire()
    lease = await database["settings"].find_one({"_id": "lease"})
    assert lease is not None
    server_time = (await database.client.admin.command("hello"))["localTime"]
    assert timedelta(seconds=LONG - 5) < lease["expires_at"].replace(tzinfo=None) - server_time.replace(tzinfo=None)
    assert lease["expires_at"].replace(tzinfo=None) - server_time.replace(tzinfo=None) <= timedelta(seconds=LONG)


async def test_kept_longer_than_its_length(database: Database) -> None:
    lease, other = Lease(database, "keeper", SHORT), Lease(database, "other", SHORT)
    await lease.acquire()
    keeping = asyncio.create_task(lease.keep())
    for _ in range(8):
        await asyncio.sleep(SHORT / 2)
        assert await other.acquire() is None
    keeping.cancel()
    await asyncio.wait([keeping])
    await asyncio.sleep(SHORT + 0.1)
    assert await other.acquire() == 2


async def test_keeping_ends_when_another_took_it(database: Database) -> None:
    lease = Lease(database, "keeper", 3 * SHORT)
    await lease.acquire()
    keeping = asyncio.create_task(lease.keep())
    await database["settings"].update_one({"_id": "lease"}, {"$set": {"holder": "other"}, "$inc": {"fence": 1}})
    async with asyncio.timeout(10):
        with pytest.raises(LeaseLostError, match="fence 1 "):
            await keeping


async def test_an_outage_is_waited_out(tmp_path: Path) -> None:
    mongod = EmbeddedMongod(tmp_path)
    uri = mongod.start()
    try:
        async with open_database(uri, "lease", timeout_seconds=0.5, app_name="test") as database:
            lease = Lease(database, "keeper", 1.0)
            await lease.acquire()
            keeping = asyncio.create_task(lease.keep())
            mongod.stop()
            await asyncio.sleep(1.5)  # lapsed, and nobody could take it
            mongod.start()
            await asyncio.sleep(1.5)
            assert not keeping.done()
            assert await Lease(database, "other", 1.0).acquire() is None
            keeping.cancel()
            await asyncio.wait([keeping])
    finally:
        mongod.stop()


async def test_a_takeover_waits_for_what_is_being_done_under_the_lease(database: Database) -> None:
    lease = Lease(database, "late", SHORT)
    fence = await lease.acquire()
    assert fence is not None
    for _ in range(2):  # not only the first touch changes the document
        await touch(database, fence)
    await asyncio.sleep(SHORT + 0.1)
    async with await database.client.start_session() as session, session.start_transaction():
        await touch_lease(database, fence, session)
        taking = asyncio.create_task(Lease(database, "next", LONG).acquire())
        await asyncio.sleep(SHORT)
        assert not taking.done()
    assert await taking == fence + 1


async def test_what_is_done_under_the_lease_is_in_the_order_of_fences(database: Database) -> None:
    """Six contenders that are often too slow: nothing of an older fence ever follows something of a newer one."""
    order, refused = database["order"], 0

    async def act(lease: Lease, rng: random.Random) -> None:
        nonlocal refused
        fence = lease.fence
        assert fence is not None

        async def work(session: Session) -> None:
            await touch_lease(database, fence, session)
            count = await order.find_one_and_update({"_id": 0}, {"$inc": {"n": 1}}, upsert=True, session=session)
            await order.insert_one({"_id": 1 + (count or {"n": 0})["n"], "fence": fence}, session=session)

        try:
            while rng.random() < 0.8:
                await asyncio.sleep(rng.choice([0.0, 0.01, 0.08]))
                await in_transaction(database, work)
        except LeaseLostError:
            refused += 1

    async def contend(number: int) -> None:
        rng, lease = random.Random(number), Lease(database, f"w{number}", 0.05)
        for _ in range(60):
            if await lease.acquire() is not None:
                await act(lease, rng)
            await asyncio.sleep(rng.uniform(0, 0.02))

    async with asyncio.timeout(60):
        await asyncio.gather(*map(contend, range(6)))
    done = [document["fence"] async for document in order.find({"_id": {"$gt": 0}}).sort("_id", 1)]
    assert len(done) > 10
    assert refused > 0
    assert done == sorted(done)


async def test_names_that_look_like_expressions_are_names(database: Database) -> None:
    lease = Lease(database, "$fence", LONG)
    await lease.acquire()
    await lease.renew()


async def test_a_lost_document_gives_no_fence_twice(database: Database) -> None:
    await database["settings"].insert_one({"_id": "current_model", "number": 3, "fence": 41})
    assert await Lease(database, "w", LONG).acquire() == 42


async def test_a_lease_that_a_clock_set_back_makes_endless_is_taken_when_it_is_not_renewed(database: Database) -> None:
    gone, next_ = Lease(database, "gone", SHORT), Lease(database, "next", LONG)
    assert await gone.acquire() == 1

    async def set_back() -> None:
        await database["settings"].update_one(
            {"_id": "lease"}, [{"$set": {"expires_at": {"$add": ["$$NOW", 3_600_000]}}}]
        )

    await set_back()
    assert await next_.acquire() is None
    await asyncio.sleep(SHORT + 0.1)
    await gone.renew()  # it is still there
    await set_back()
    assert await next_.acquire() is None
    await asyncio.sleep(SHORT + 0.1)
    assert await next_.acquire() == 2
    with pytest.raises(LeaseLostError):
        await gone.renew()
