import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.operations import UpdateOne

from app.errors import UnknownCourseError, UnknownUserError
from app.schemas.fields import MAX_ID_LENGTH
from app.schemas.interactions import Interaction, StoredInteraction
from app.store import ingest
from app.store.bulk import update_each
from app.store.client import Collection, Database, Session, cluster_time
from app.store.courses import CourseStore
from app.store.deletions import LOGGED, deletion_count, gone_since
from app.store.ingest import InteractionsWritten
from app.store.interactions import InteractionStore
from app.store.keys import interaction_key, split_key
from app.store.users import UserStore

DAY_0 = datetime(2024, 1, 1, tzinfo=UTC)

ids = st.text(
    st.characters(exclude_categories=["C", "Z"], include_characters=" ", exclude_characters="/"),
    min_size=1,
    max_size=MAX_ID_LENGTH,
).filter(lambda id_: id_ not in {".", ".."})


def row(user: str, course: str, type_: str = "enroll", *, day: float = 0, value: float | None = None) -> Interaction:
    time = DAY_0 + timedelta(days=day)
    return Interaction(user_id=user, course_id=course, type=type_, value=value, timestamp=time)


def counts(written: InteractionsWritten) -> tuple[int, int, int]:
    return written.created, written.updated, written.unchanged


def keys(rows: Sequence[StoredInteraction]) -> list[tuple[str, str, str]]:
    return [(row.user_id, row.course_id, row.type) for row in rows]


async def test_what_is_written_can_be_read(database: Database) -> None:
    store = InteractionStore(database)
    before = await cluster_time(database)
    written = await store.write_many([row("u", "c", "view", day=1.5, value=3.5)], auto_create=True)
    assert counts(written) == (1, 0, 0)
    assert before < written.cluster_time <= await cluster_time(database)

    page = await store.page(10)
    assert page.after is None
    assert keys(page.items) == [("u", "c", "view")]
    assert (page.items[0].value, page.items[0].timestamp) == (3.5, DAY_0 + timedelta(days=1.5))
    assert abs(page.items[0].updated_at - datetime.now(UTC)) < timedelta(seconds=10)


async def test_sending_again_is_an_update_and_older_never_overwrites_newer(database: Database) -> None:
    store = InteractionStore(database)
    for day, value, expected in [(1, 1, (1, 0, 0)), (1, 2, (0, 1, 0)), (0, 3, (0, 0, 1)), (2, None, (0, 1, 0))]:
        written = await store.write_many([row("u", "c", day=day, value=value)], auto_create=True)
        assert counts(written) == expected
    (stored,) = (await store.page(10)).items
    assert (stored.timestamp, stored.value) == (DAY_0 + timedelta(days=2), None)


async def test_overwriting_takes_no_account_of_time(database: Database) -> None:
    store = InteractionStore(database)
    await store.write_many([row("u", "c", day=5, value=5)], auto_create=True)
    batch = [row("u", "c", day=4, value=4), row("u", "c", day=3, value=3), row("u", "d", day=2, value=2)]
    assert counts(await store.write_many(batch, auto_create=True, overwrite=True)) == (1, 1, 1)
    page = await store.page(10)
    assert [(one.course_id, one.value) for one in page.items] == [("c", 3), ("d", 2)]
    assert counts(await store.write_many([row("u", "c", day=2)], auto_create=True)) == (0, 0, 1)


async def test_a_comment_stays_until_there_is_another(database: Database) -> None:
    store = InteractionStore(database)
    for day, comment, wanted in [(1, None, None), (2, "a", "a"), (3, None, "a"), (4, "b", "b")]:
        given_ = row("u", "c", day=day).model_copy(update={"comment": comment})
        await store.write_many([given_], auto_create=True)
        assert [one.comment for one in (await store.page(10)).items] == [wanted]


async def test_takers_of_all_types_but_some(database: Database) -> None:
    store = InteractionStore(database)
    rows = [row("u", "c"), row("u", "c", "star"), row("v", "c", "star"), row("v", "d", "drop"), row("w", "d", "read")]
    await store.write_many(rows, auto_create=True)
    assert await store.takers(()) == {"c": 2, "d": 2}
    assert await store.takers(["drop"]) == {"c": 2, "d": 1}
    assert await store.takers(["drop", "read", "star"]) == {"c": 1}


async def test_takers_of_long_ago_count_less(database: Database) -> None:
    store, now = InteractionStore(database), datetime.now(UTC)
    ages = {("u", "c", "enroll"): 10, ("u", "c", "view"): 20, ("v", "c", "enroll"): 0, ("v", "d", "enroll"): 30}
    rows = [
        Interaction(user_id=u, course_id=c, type=t, timestamp=now - timedelta(days=age))
        for (u, c, t), age in ages.items()
    ]
    later = Interaction(user_id="w", course_id="e", type="enroll", timestamp=now + timedelta(days=5))
    await store.write_many([*rows, later], auto_create=True)
    counts = await store.takers(["drop"], 10.0)
    assert counts == pytest.approx({"c": 1.5, "d": 0.125, "e": 1.0}, rel=1e-3)


async def test_duplicates_in_a_batch_are_one_interaction(database: Database) -> None:
    store = InteractionStore(database)
    batch = [row("u", "c", day=1, value=1), row("u", "c", day=3, value=3), row("u", "c", day=3, value=4), row("u", "c")]
    assert counts(await store.write_many(batch, auto_create=True)) == (1, 0, 3)
    assert [(r.value, r.timestamp) for r in (await store.page(9)).items] == [(4, DAY_0 + timedelta(days=3))]
    assert counts(await store.write_many(batch, auto_create=True)) == (0, 1, 3)
    assert counts(await store.write_many(batch[:1], auto_create=True)) == (0, 0, 1)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("cd"), st.integers(0, 3)), max_size=6), max_size=4
    )
)
async def test_the_newest_stays_however_rows_are_batched(
    database: Database, batches: list[list[tuple[str, str, int]]]
) -> None:
    store = InteractionStore(database)
    await database["interactions"].delete_many({})
    newest: dict[tuple[str, str], tuple[int, int]] = {}
    number = 0
    for batch in batches:
        rows = []
        for user, course, day in batch:
            number += 1
            rows.append(row(user, course, day=day, value=number))
            newest[user, course] = max(newest.get((user, course), (0, 0)), (day, number))
        written = await store.write_many(rows, auto_create=True)
        assert sum(counts(written)) == len(rows)
    stored = {(r.user_id, r.course_id): ((r.timestamp - DAY_0).days, r.value) async for r in store.stream()}
    assert stored == newest


async def test_auto_create_makes_bare_records(database: Database) -> None:
    users, courses, store = UserStore(database), CourseStore(database), InteractionStore(database)
    await users.create_bare(["known"])
    created_at = (await users.get("known")).created_at
    await store.write_many([row("known", "c1"), row("new", "c2")], auto_create=True)
    assert await users.existing(["known", "new"]) == {"known", "new"}
    assert await courses.existing(["c1", "c2"]) == {"c1", "c2"}
    assert (await users.get("known")).created_at == created_at


async def test_without_auto_create_unknown_rows_are_given_back(database: Database) -> None:
    store = InteractionStore(database)
    await UserStore(database).create_bare(["u"])
    await CourseStore(database).create_bare(["c"])
    batch = [row("x", "c"), row("u", "c"), row("u", "y"), row("u", "c", day=1), row("x", "y")]
    assert [position for position, _ in await store.unknown(batch)] == [0, 2, 4]

    written = await store.write_many(batch, auto_create=False)
    assert counts(written) == (1, 0, 1)
    assert [(position, type(error)) for position, error in written.unknown] == [
        (0, UnknownUserError),
        (2, UnknownCourseError),
        (4, UnknownUserError),
    ]
    assert keys((await store.page(10)).items) == [("u", "c", "enroll")]
    assert await UserStore(database).existing(["x"]) == set()


async def test_an_empty_batch_writes_nothing(database: Database) -> None:
    assert counts(await InteractionStore(database).write_many([], auto_create=True)) == (0, 0, 0)


# --- keys


@given(user=ids, course=ids, type_=ids)
def test_a_key_gives_its_parts_back(user: str, course: str, type_: str) -> None:
    assert split_key(interaction_key(user, course, type_)) == (user, course, type_)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.sampled_from(["a", "a ", "a!", "ab", "$a", "a.b", ".*", "ä"]) | ids, min_size=2, unique=True))
async def test_ranges_hold_one_user_each(database: Database, names: list[str]) -> None:
    names = names[:6]
    store = InteractionStore(database)
    await database["interactions"].delete_many({})
    await store.write_many([row(user, course) for user in names for course in names], auto_create=True)
    for name in names:
        assert keys((await store.page(100, user_id=name)).items) == [(name, c, "enroll") for c in sorted(names)]
        assert keys((await store.page(100, course_id=name)).items) == [(u, name, "enroll") for u in sorted(names)]
        assert set(await store.seen_by(name)) == set(names)
    removed = await store.delete(names[0], names[1])
    assert removed.keys == [(names[0], names[1], "enroll")]
    assert len((await store.page(100)).items) == len(names) ** 2 - 1


# --- reading


async def test_filters_and_pages(database: Database) -> None:
    store = InteractionStore(database)
    written = [(f"u{u}", f"c{c}", type_) for u in range(4) for c in range(3) for type_ in ("enroll", "view")]
    await store.write_many([row(*key) for key in reversed(written)], auto_create=True)
    pages = [await store.page(7)]
    while pages[-1].after is not None:
        pages.append(await store.page(7, pages[-1].after))
    assert [len(page.items) for page in pages] == [7, 7, 7, 3]
    assert [key for page in pages for key in keys(page.items)] == written

    def expected(user: str | None, course: str | None, type_: str | None) -> list[tuple[str, str, str]]:
        wanted = (user, course, type_)
        return [key for key in written if all(w in (None, part) for w, part in zip(wanted, key, strict=True))]

    for user in (None, "u1"):
        for course in (None, "c2"):
            for type_ in (None, "view"):
                page = await store.page(3, user_id=user, course_id=course, type_=type_)
                rest = await store.page(100, page.after, user_id=user, course_id=course, type_=type_)
                found = keys(page.items) + (keys(rest.items) if page.after else [])
                assert found == expected(user, course, type_)
    assert (await store.page(5, "zzz", user_id="u1")).items == []


async def test_of_one_user_newest_first(database: Database) -> None:
    store = InteractionStore(database)
    days = [3, 1, 2, 2, 2, 0]
    await store.write_many([row("u", f"c{i}", day=day) for i, day in enumerate(days)], auto_create=True)
    await store.write_many([row("u2", "c0", day=9)], auto_create=True)
    first = await store.of_user("u", 3)
    assert [r.course_id for r in first.items] == ["c0", "c2", "c3"]
    await store.write_many([row("u", "new", day=10)], auto_create=True)
    second = await store.of_user("u", 3, first.after)
    assert [r.course_id for r in second.items] == ["c4", "c1", "c5"]
    assert second.after is None
    with pytest.raises(ValueError, match="invalid literal"):
        await store.of_user("u", 3, "nonsense")


async def test_seen_and_popularity(database: Database) -> None:
    store = InteractionStore(database)
    assert await store.popularity() == []
    pairs = [("u1", "c1", "view"), ("u1", "c1", "enroll"), ("u2", "c1", "enroll"), ("u2", "c2", "drop")]
    await store.write_many([row(*pair) for pair in [*pairs, ("u3", "c0", "enroll")]], auto_create=True)
    assert await store.seen_by("u1") == {"c1": {"view", "enroll"}}
    assert await store.seen_by("nobody") == {}
    assert await store.popularity() == [("c1", 3), ("c0", 1), ("c2", 1)]
    assert await store.popularity(["enroll"]) == [("c1", 2), ("c0", 1)]
    assert await store.count() == 5


async def test_the_queries_use_an_index(database: Database) -> None:
    """What a call reads must not grow with what it does not ask for."""
    store = InteractionStore(database)
    await store.write_many([row(f"u{i % 100}", f"c{i // 100}") for i in range(3_000)], auto_create=True)
    for condition in ({"_id": {"$gt": "u5\x1f", "$lt": "u5 "}}, {"course_id": "c5"}):
        plan = await database["interactions"].find(condition).explain()
        assert plan["executionStats"]["totalDocsExamined"] == plan["executionStats"]["nReturned"]


# --- deletion


async def test_deleting_one_type_or_all(database: Database) -> None:
    store = InteractionStore(database)
    batch = [row("u", "c", "view"), row("u", "c", "enroll"), row("u", "c2"), row("u", "c", "drop")]
    await store.write_many(batch, auto_create=True)
    assert (await store.delete("u", "c", "view")).keys == [("u", "c", "view")]
    assert (await store.delete("u", "c", "view")).keys == []
    removed = await store.delete("u", "c")
    assert removed.keys == [("u", "c", "drop"), ("u", "c", "enroll")]
    assert removed.cluster_time <= await cluster_time(database)
    assert keys((await store.page(10)).items) == [("u", "c2", "enroll")]


# --- at the same time


async def test_many_writers_of_the_same_rows(database: Database) -> None:
    """Each key exists once, holds the newest row, and was created by one writer only."""
    stores = [InteractionStore(database) for _ in range(6)]
    batches = [
        [row(f"u{i % 20}", f"c{i % 7}", day=random.Random(i * 7 + w).randrange(50)) for i in range(140)]
        for w in range(len(stores))
    ]
    written = await asyncio.gather(
        *(store.write_many(batch, auto_create=True) for store, batch in zip(stores, batches, strict=True))
    )
    newest: dict[tuple[str, str], datetime] = {}
    for r in (r for batch in batches for r in batch):
        newest[r.user_id, r.course_id] = max(newest.get((r.user_id, r.course_id), DAY_0), r.timestamp)
    assert {(r.user_id, r.course_id): r.timestamp async for r in stores[0].stream()} == newest
    assert sum(w.created for w in written) == len(newest)
    assert all(sum(counts(w)) == len(batch) for w, batch in zip(written, batches, strict=True))


@pytest.mark.parametrize("auto_create", [True, False])
async def test_a_user_deleted_in_the_middle_of_a_batch(database: Database, auto_create: bool) -> None:
    """What was written before the deletion goes with the user, so all of it is written again, or all given back."""
    users, store, n_rows = UserStore(database), InteractionStore(database), 20_000
    batch = [row("u", "c", f"type {number}") for number in range(n_rows)]
    for _ in range(10):  # until the deletion comes in the middle
        await asyncio.gather(users.create_bare(["u"]), CourseStore(database).create_bare(["c"]))
        writing = asyncio.create_task(store.write_many(batch, auto_create=auto_create))
        while not writing.done() and await database["interactions"].find_one() is None:
            pass
        erased = await users.delete("u")
        written = await writing
        stored = await database["interactions"].count_documents({})
        if 0 < erased.deleted.interactions < n_rows:
            break
        assert stored in (0, n_rows)
        await database["interactions"].delete_many({})

    assert 0 < erased.deleted.interactions < n_rows
    if auto_create:
        assert (sum(counts(written)), stored) == (n_rows, n_rows)
        assert await users.existing(["u"]) == {"u"}
    else:
        assert (sum(counts(written)), len(written.unknown), stored) == (0, n_rows, 0)


async def test_a_row_that_goes_between_looking_and_updating_is_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion that goes on takes older rows that the writer has found and is about to update."""
    store = InteractionStore(database)
    batch = [row("u", "c", f"type {number}") for number in range(3)]
    await store.write_many(batch, auto_create=True)
    await store.write_many([row("u", "c", "type 2", day=1)], auto_create=True)
    deleted: list[int] = []

    async def late(collection: Collection, updates: Sequence[UpdateOne], session: Session) -> tuple[int, int]:
        if not deleted:
            gone = await collection.delete_one({"_id": interaction_key("u", "c", "type 0")})
            deleted.append(gone.deleted_count)
        return await update_each(collection, updates, session)

    monkeypatch.setattr(ingest, "update_each", late)
    written = await store.write_many(batch, auto_create=True)
    assert deleted == [1]
    assert counts(written) == (1, 1, 1)
    assert await database["interactions"].count_documents({}) == 3


@pytest.mark.parametrize("auto_create", [True, False])
async def test_deletions_beside_writers(database: Database, auto_create: bool) -> None:
    """A user and a course are deleted again and again while others write: no orphans, and nothing is lost."""
    users, courses, store = UserStore(database), CourseStore(database), InteractionStore(database)
    begun = ended = 0
    stop = asyncio.Event()
    n_checked = 0

    async def write(worker: int) -> None:
        nonlocal n_checked
        number = 0
        while not stop.is_set():
            number += 1
            course = f"c{worker}.{number}"
            if not auto_create:
                await asyncio.gather(users.create_bare(["u", f"u{worker}"]), courses.create_bare(["c", course]))
            ended_before = ended
            written = await store.write_many([row("u", course), row(f"u{worker}", "c")], auto_create=auto_create)
            assert sum(counts(written)) + len(written.unknown) == 2
            there = await store.page(1, user_id="u", course_id=course)
            if begun == ended_before and not written.unknown:  # no deletion beside it
                n_checked += 1
                assert there.items, "what is acknowledged is there"

    async def delete() -> None:
        nonlocal begun, ended
        for number in range(30):
            begun += 1
            with suppress(UnknownUserError, UnknownCourseError):
                await (courses.delete("c") if number % 2 else users.delete("u"))
            ended += 1
            await asyncio.sleep(0.02)
        stop.set()

    await asyncio.gather(delete(), *(write(worker) for worker in range(3)))

    assert n_checked > 0
    stored = [r async for r in store.stream()]
    user_ids, course_ids = {r.user_id for r in stored}, {r.course_id for r in stored}
    assert await users.existing(user_ids) == user_ids, "no orphans"
    assert await courses.existing(course_ids) == course_ids, "no orphans"
    if auto_create:  # then a record is there only because of a row, which came after it
        assert await users.existing(["u"]) == user_ids & {"u"}
        assert await courses.existing(["c"]) == course_ids & {"c"}


async def test_a_row_written_between_the_two_halves_of_a_deletion_stays(database: Database) -> None:
    users, store = UserStore(database), InteractionStore(database)
    await store.write_many([row("u", "old"), row("u", "both")], auto_create=True)
    n_users, gone_at = await users._remove_record("u")
    assert counts(await store.write_many([row("u", "new"), row("u", "both")], auto_create=True)) == (1, 1, 0)
    n_interactions, _ = await users._remove_interactions("u", gone_at)
    assert (n_users, n_interactions) == (1, 1)
    assert keys((await store.page(10)).items) == [("u", "both", "enroll"), ("u", "new", "enroll")]


async def test_deletions_are_known_since_a_count(database: Database) -> None:
    users, courses = UserStore(database), CourseStore(database)
    await asyncio.gather(users.create_bare(["a", "b"]), courses.create_bare(["a"]))
    async with await database.client.start_session() as session:
        assert await deletion_count(database, session) == 0
        await users.delete("a")
        count = await deletion_count(database, session)
        assert not await gone_since(database, count, session)
        await asyncio.gather(users.delete("b"), courses.delete("a"))
        gone = await gone_since(database, count, session)
        assert [record in gone for record in (("users", "b"), ("courses", "a"), ("users", "a"))] == [True, True, False]
        assert gone

        log = {"count": count + LOGGED + 1, "digests": [b"\0"] * LOGGED}
        await database["settings"].update_one({"_id": "deletions"}, {"$set": log})
        assert ("users", "never") in await gone_since(database, count, session), "too many to tell"


async def test_what_users_took_is_read_at_once(database: Database) -> None:
    store = InteractionStore(database)
    keys = [("u", "a", "view"), ("u", "a", "enroll"), ("u", "b", "view"), ("u1", "c", "view"), ("v", "a", "view")]
    written = await store.write_many([row(*key) for key in keys], auto_create=True)
    found = await store.taken_by(["u", "v", "w"], written.cluster_time)
    assert {user_id: sorted(taken) for user_id, taken in found.items()} == {
        "u": [("a", "enroll"), ("a", "view"), ("b", "view")],
        "v": [("a", "view")],
    }
    assert await store.taken_by(["u1"], written.cluster_time) == {"u1": [("c", "view")]}
    assert await store.taken_by([], written.cluster_time) == {}
