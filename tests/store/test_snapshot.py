import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pymongo.errors import AutoReconnect

from app.domain.contents import MAX_TYPES, ArtifactContents
from app.domain.interactions import Features
from app.domain.words import TEXT_CHARACTERS
from app.errors import InvalidFeaturesError
from app.schemas.courses import Course
from app.schemas.interactions import Interaction
from app.schemas.users import User
from app.store.client import Database, cluster_time
from app.store.courses import CourseStore
from app.store.interactions import InteractionStore
from app.store.snapshot import BATCH, ReadUsers, UserColumns, UserRange, read_snapshot, read_users
from app.store.user_columns import columns_of, parcel_of, parcel_of_failure, raise_failure
from app.store.users import UserStore
from tests.support.models import random_embeddings

DAY_0 = datetime(2024, 1, 1, tzinfo=UTC)
TYPES = ("view", "enroll")


async def test_an_empty_database(database: Database, mongodb_uri: str) -> None:
    snapshot = read_snapshot(mongodb_uri, database.name, TYPES)
    assert (len(snapshot.users), len(snapshot.items), snapshot.types) == (0, 0, TYPES)
    columns = snapshot.user_rows, snapshot.item_rows, snapshot.type_codes, snapshot.timestamps
    assert [(len(column), str(column.dtype)) for column in columns] == [
        (0, "int32"),
        (0, "int32"),
        (0, "uint8"),
        (0, "int64"),
    ]
    assert snapshot.user_features.values.shape == snapshot.item_features.values.shape == (0, 0)


async def test_rows_are_sorted_and_say_what_is_stored(database: Database, mongodb_uri: str) -> None:
    """More than one batch, in random order, against the rows themselves."""
    rng = np.random.default_rng(0)
    triples = [(f"u{u}", f"c{c}", t) for u in range(300) for c in range(45) for t in ("enroll", "view")]
    assert len(triples) > BATCH
    order = rng.permutation(len(triples))
    rows = [
        Interaction(user_id=u, course_id=c, type=t, timestamp=DAY_0 + timedelta(milliseconds=int(i) * 1_234_567))
        for i, (u, c, t) in ((i, triples[i]) for i in order)
    ]
    await InteractionStore(database).write_many(rows, auto_create=True)
    before = await cluster_time(database)

    snapshot = read_snapshot(mongodb_uri, database.name, TYPES)
    assert snapshot.cluster_time >= before
    assert list(snapshot.users.ids) == sorted({u for u, _, _ in triples})
    assert list(snapshot.items.ids) == sorted({c for _, c, _ in triples})
    names = [
        (snapshot.users.ids[u], snapshot.items.ids[i], snapshot.types[t])
        for u, i, t in zip(snapshot.user_rows, snapshot.item_rows, snapshot.type_codes, strict=True)
    ]
    expected = sorted(triples, key=lambda triple: (triple[0], triple[1], TYPES.index(triple[2])))
    assert names == expected
    times = {(row.user_id, row.course_id, row.type): row.timestamp for row in rows}
    milliseconds = [(times[name] - DAY_0) // timedelta(milliseconds=1) for name in names]
    np.testing.assert_array_equal(snapshot.timestamps - int(DAY_0.timestamp() * 1000), milliseconds)


async def test_the_half_life_is_handed_on(database: Database, mongodb_uri: str) -> None:
    assert read_snapshot(mongodb_uri, database.name, TYPES).half_life_days is None
    assert read_snapshot(mongodb_uri, database.name, TYPES, half_life_days=3.0).half_life_days == 3.0


async def test_types_that_are_no_longer_configured_follow(database: Database, mongodb_uri: str) -> None:
    rows = [Interaction(user_id="u", course_id=c, type=t) for c, t in (("a", "old"), ("b", "enroll"), ("c", "ancient"))]
    await InteractionStore(database).write_many(rows, auto_create=True)
    snapshot = read_snapshot(mongodb_uri, database.name, TYPES)
    assert snapshot.types == (*TYPES, "ancient", "old")
    assert [snapshot.types[code] for code in snapshot.type_codes] == ["old", "enroll", "ancient"]


async def test_more_types_than_a_model_holds_share_the_last(database: Database, mongodb_uri: str) -> None:
    names = [f"t{number:03}" for number in range(2 * MAX_TYPES)]
    rows = [Interaction(user_id="u", course_id=name, type=name) for name in names]
    await InteractionStore(database).write_many([*rows, Interaction(user_id="u", course_id="z")], auto_create=True)
    snapshot = read_snapshot(mongodb_uri, database.name, TYPES)
    assert snapshot.types == (*TYPES, *names[: MAX_TYPES - len(TYPES)])
    ids = [snapshot.items.ids[item] for item in snapshot.item_rows]
    shown = {id_: snapshot.types[code] for id_, code in zip(ids, snapshot.type_codes, strict=True)}
    assert shown.pop("z") == "enroll"
    last = snapshot.types[-1]
    assert shown == {name: name if name in snapshot.types else last for name in names}
    embeddings = random_embeddings(1, len(snapshot.items), 2)
    assert ArtifactContents.from_snapshot(snapshot, {}, embeddings).types == snapshot.types


async def test_interactions_without_a_record_are_left_out(database: Database, mongodb_uri: str) -> None:
    rows = [Interaction(user_id=u, course_id=c) for u in ("u1", "u2") for c in ("c1", "c2")]
    await InteractionStore(database).write_many(rows, auto_create=True)
    await database["users"].delete_one({"_id": "u1"})  # as a reader sees it who comes between the halves of a deletion
    await database["courses"].delete_one({"_id": "c2"})
    snapshot = read_snapshot(mongodb_uri, database.name, TYPES)
    assert (list(snapshot.users.ids), list(snapshot.items.ids)) == (["u2"], ["c1"])
    assert (snapshot.user_rows.tolist(), snapshot.item_rows.tolist()) == ([0], [0])


async def test_records_without_interactions_have_rows(database: Database, mongodb_uri: str) -> None:
    await UserStore(database).create_bare(["b", "a", "é", "Z"])
    await CourseStore(database).create_bare(["x"])
    snapshot = read_snapshot(mongodb_uri, database.name, TYPES)
    assert list(snapshot.users.ids) == ["Z", "a", "b", "é"], "the order of MongoDB"
    assert snapshot.users.row("b") == 2


async def test_features_stand_at_their_rows(database: Database, mongodb_uri: str) -> None:
    users = [User(user_id="b", features=[1, 2]), User(user_id="a"), User(user_id="c", features=[0.1, -4])]
    await UserStore(database).put_many(users)
    await CourseStore(database).put(Course(course_id="x", features=[5, 6, 7]))
    snapshot = read_snapshot(mongodb_uri, database.name, TYPES)
    assert snapshot.user_features.rows.tolist() == [1, 2]
    np.testing.assert_array_equal(snapshot.user_features.values, np.array([[1, 2], [0.1, -4]], np.float32))
    assert snapshot.user_features.rows.dtype == np.int32
    np.testing.assert_array_equal(snapshot.item_features.values, np.array([[5, 6, 7]], np.float32))


@pytest.mark.parametrize(
    ("features", "problem"),
    [
        ([[1, 2], [3]], "the features of course 'c1' are 1 numbers, those of 'c0' 2"),
        ([[1, 2], [1e300, 0]], "the features of course 'c1' hold a number that is not finite or above 1e[+]15"),
        ([[1, 2], [0, -1e20]], "the features of course 'c1' hold a number that is not finite or above 1e[+]15"),
    ],
)
async def test_features_that_cannot_be_used_name_the_record(
    database: Database, mongodb_uri: str, features: list[list[float]], problem: str
) -> None:
    courses = [Course(course_id=f"c{i}", features=vector) for i, vector in enumerate(features)]
    await CourseStore(database).put_many(courses)
    with pytest.raises(InvalidFeaturesError, match=problem):
        read_snapshot(mongodb_uri, database.name, TYPES)


async def test_a_stored_infinity_names_the_record(database: Database, mongodb_uri: str) -> None:
    """Checked when it is written, but somebody may have written past this program."""
    await database["users"].insert_one({"_id": "u", "features": [float("nan")]})
    with pytest.raises(InvalidFeaturesError, match="user 'u'"):
        read_snapshot(mongodb_uri, database.name, TYPES)


async def test_words_of_courses(database: Database, mongodb_uri: str) -> None:
    """Labels and title of all, and so much of a description as counts; a bare course has none."""
    long = "机器学习" * TEXT_CHARACTERS
    await CourseStore(database).put_many(
        [
            Course(course_id="b", title="Algebra", description=long, tags=["maths"], level="easy", language="zh"),
            Course(course_id="c", description="short"),
        ]
    )
    await CourseStore(database).create_bare(["a"])
    words = read_snapshot(mongodb_uri, database.name, TYPES).item_words
    assert words is not None
    assert list(words.labels) == [[], ["topic:maths", "level:easy", "language:zh"], []]
    assert list(words.texts) == ["\n", f"Algebra\n{long[:TEXT_CHARACTERS]}", "\nshort"]


async def test_descriptions_are_not_read_when_all_courses_have_features(database: Database, mongodb_uri: str) -> None:
    await CourseStore(database).put(Course(course_id="a", title="Algebra", description="long", features=[1.0]))
    words = read_snapshot(mongodb_uri, database.name, TYPES).item_words
    assert words is not None
    assert list(words.texts) == ["Algebra"]


async def test_without_words_there_are_none(database: Database, mongodb_uri: str) -> None:
    await CourseStore(database).create_bare(["a"])
    await UserStore(database).create_bare(["u"])
    snapshot = read_snapshot(mongodb_uri, database.name, TYPES)
    assert snapshot.item_words is snapshot.user_words is None


async def test_interests_are_read_when_somebody_has_no_interaction(database: Database, mongodb_uri: str) -> None:
    await UserStore(database).put_many([User(user_id="a"), User(user_id="b", interests={"law": 2.0, "art": 0.0})])
    await InteractionStore(database).write_many([Interaction(user_id="b", course_id="c")], auto_create=True)
    words = read_snapshot(mongodb_uri, database.name, TYPES).user_words
    assert words is not None
    assert (list(words.labels), list(words.texts)) == ([[], ["topic:law"]], ["", "law"])
    await UserStore(database).delete("a")
    assert read_snapshot(mongodb_uri, database.name, TYPES).user_words is None


async def test_ranges_of_users_give_what_one_reading_gives(database: Database, mongodb_uri: str) -> None:
    """Ids that begin with one another, users and courses without interactions, types and features of some ranges."""
    ids = [*(f"u{number}" for number in range(300)), "u", "u1 ", "u1-", "ué", "v\U0001f600", "w"]
    await UserStore(database).put_many(
        [User(user_id=id_, features=[float(place), 1.0] if place % 3 == 0 else None) for place, id_ in enumerate(ids)]
    )
    rng = np.random.default_rng(1)
    rows = [
        Interaction(
            user_id=id_, course_id=f"c{course}", type="old" if id_ < "u15" else "view" if course % 2 else "rare"
        )
        for id_ in ids[:-1]
        for course in rng.choice(30, 5, replace=False)
    ]
    await InteractionStore(database).write_many(rows, auto_create=True)
    whole = read_snapshot(mongodb_uri, database.name, TYPES, half_life_days=2.0)
    seen: list[UserRange] = []

    def gather(ranges: Sequence[UserRange], items: Sequence[str], read: ReadUsers) -> UserColumns:
        seen.extend(ranges)
        found = [read(ranges[0]), *(read_users(mongodb_uri, database.name, TYPES, each, items) for each in ranges[1:])]
        parcels = [parcel_of(columns) for columns in found]
        arrays = {name: np.concatenate([parcel.arrays[name] for parcel in parcels]) for name in parcels[0].arrays}
        assert max(len(columns.item_rows) for columns in found) < 0.6 * len(rows)
        return columns_of(arrays, [json.loads(json.dumps(parcel.values)) for parcel in parcels])

    parts = read_snapshot(mongodb_uri, database.name, TYPES, half_life_days=2.0, n_ranges=4, gather=gather)
    assert len(seen) == 4
    assert list(parts.users.ids) == list(whole.users.ids)
    assert parts.items == whole.items
    for name in ("user_rows", "item_rows", "timestamps"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name), err_msg=name)
        assert getattr(parts, name).dtype == getattr(whole, name).dtype
    assert set(parts.types) == set(whole.types)
    names = [[each.types[code] for code in each.type_codes] for each in (parts, whole)]
    assert names[0] == names[1]
    np.testing.assert_array_equal(parts.user_features.rows, whole.user_features.rows)
    np.testing.assert_array_equal(parts.user_features.values, whole.user_features.values)
    assert parts.user_words == whole.user_words


async def test_an_empty_database_in_ranges(database: Database, mongodb_uri: str) -> None:
    def gather(ranges: Sequence[UserRange], items: Sequence[str], read: ReadUsers) -> UserColumns:
        parcels = [parcel_of(read(each)) for each in ranges]
        arrays = {name: np.concatenate([parcel.arrays[name] for parcel in parcels]) for name in parcels[0].arrays}
        return columns_of(arrays, [parcel.values for parcel in parcels])

    snapshot = read_snapshot(mongodb_uri, database.name, TYPES, n_ranges=3, gather=gather)
    assert (len(snapshot.users), len(snapshot.items), snapshot.types) == (0, 0, TYPES)


def test_features_of_two_ranges_must_fit() -> None:
    parts = [
        parcel_of(
            UserColumns(
                [user],
                Features(np.zeros(1, np.int32), np.ones((1, width), np.float32)),
                np.zeros(1, np.int64),
                np.empty(0, np.int32),
                np.empty(0, np.uint8),
                np.empty(0, np.int64),
                TYPES,
            )
        )
        for user, width in (("a", 2), ("b", 3))
    ]
    arrays = {name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays}
    with pytest.raises(InvalidFeaturesError, match="user 'b' are 3 numbers, those of others 2"):
        columns_of(arrays, [part.values for part in parts])


@pytest.mark.parametrize("error", [AutoReconnect("gone"), InvalidFeaturesError("user", "a", "are wrong")])
def test_what_went_wrong_elsewhere_is_raised_here(error: Exception) -> None:
    failed = json.loads(json.dumps(parcel_of_failure(error).values["failed"]))
    with pytest.raises(type(error), match=re.escape(str(error))):
        raise_failure(failed)
    with pytest.raises(RuntimeError, match="a rank could not read its users: KeyError"):
        raise_failure("KeyError: 3")
    with pytest.raises(ValueError, match="unexpected"):
        parcel_of_failure(ValueError("unexpected"))
