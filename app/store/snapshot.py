"""Reading everything at once, for one retrain.

A synchronous client of its own: a million interactions take it 2 s, Motor 5, an aggregation 6.  Rows are turned into
numpy as they come, so that only one batch of documents is in memory; times come as Python datetimes without a zone,
which cost half of what zoned ones do.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, pairwise
from operator import itemgetter

import numpy as np
import orjson
from numpy.typing import NDArray
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.cursor import CursorType
from pymongo.database import Database as PyMongoDatabase
from pymongo.read_concern import ReadConcern

from app.domain.contents import MAX_TYPES
from app.domain.courses import CourseFacts
from app.domain.interactions import Features, Snapshot
from app.domain.vocabulary import Vocabulary
from app.domain.words import TEXT_CHARACTERS, Words, words_of_courses, words_of_users
from app.errors import CancelledError, InvalidFeaturesError
from app.store.client import Document, client_options, from_timestamp
from app.store.courses import FACTS, course_facts
from app.store.keys import SEPARATOR

BATCH = 20_000  # interactions; larger is not faster
LARGEST_FEATURE = 1e15  # inner products of larger ones overflow 32 bits
TIMEOUT_SECONDS = 30.0  # for a server to be there; an election takes about 12

EPOCH = datetime(1970, 1, 1)  # the driver is told to give UTC times without a zone
MILLISECOND = timedelta(milliseconds=1)

SAMPLES = 1_000  # interactions for each boundary between ranges: those then differ by a few percent

Columns = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class UserRange:
    """Users by id: from ``low`` on and before ``high``; None: no end.

    The key of an interaction begins with its user and a character that no id holds and that is less than any of those
    that one does: so the range of keys is that of the users.
    """

    low: str | None = None
    high: str | None = None

    def query(self) -> Document:
        """Of the documents of ``users`` and ``interactions`` that are of these users."""
        ends = {"$gte": self.low, "$lt": self.high}
        bounds = {operator: id_ for operator, id_ in ends.items() if id_ is not None}
        return {"_id": bounds} if bounds else {}


@dataclass(frozen=True, slots=True)
class UserColumns:
    """Users in id order, with their interactions.

    edge_counts: (U,) int64, interactions of each.  item_rows, type_codes, timestamps: (E,), see ``Snapshot``.
    """

    ids: Sequence[str]
    features: Features
    edge_counts: NDArray[np.int64]
    item_rows: NDArray[np.int32]
    type_codes: NDArray[np.uint8]
    timestamps: NDArray[np.int64]
    types: tuple[str, ...]


ReadUsers = Callable[[UserRange], UserColumns]
Gather = Callable[[Sequence[UserRange], Sequence[str], ReadUsers], UserColumns]
"""Ranges, ids of all courses, and what reads one range -> columns of all, read by whoever helps."""


def read_snapshot(
    uri: str,
    database_name: str,
    types: Sequence[str],
    *,
    half_life_days: float | None = None,
    n_ranges: int = 1,
    gather: Gather | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Snapshot:
    """All users, courses and interactions, as they are now or later than ``cluster_time``.

    types: interaction types whose codes come first, in this order; others that are stored follow.
    n_ranges, gather: into how many ranges users are cut, with about equally many interactions each, and who reads
    them; what comes out is the same.
    Users and courses stand in id order.  An interaction whose user or course has no record is left out: it was just
    deleted, or came after its record was looked for, and then the change stream tells of it.
    Of courses the labels and titles are read, and the first TEXT_CHARACTERS of each description unless all have
    features; interests of users when one has no interaction.
    should_stop: looked at after each batch.
    Raises InvalidFeaturesError, CancelledError, or one of ``client.UNAVAILABLE_ERRORS``.  Blocks for seconds: not for
    an event loop.
    """
    with _opened(uri, database_name) as db:
        cluster_time = _cluster_time(db)
        items, item_features = _read_records(db["courses"], "course")
        if gather is None:
            columns = _read_columns(db, UserRange(), items, types, should_stop)
        else:
            ranges = user_ranges(db, n_ranges)
            columns = gather(ranges, items.ids, lambda users: _read_columns(db, users, items, types, should_stop))
        users = Vocabulary(columns.ids)
        item_words = _read_course_words(db["courses"], items, with_texts=len(item_features.rows) < len(items))
        user_words = None if columns.edge_counts.all() else _read_interests(db["users"], users)
    return Snapshot(
        cluster_time=cluster_time,
        users=users,
        items=items,
        user_rows=np.repeat(np.arange(len(users), dtype=np.int32), columns.edge_counts),
        item_rows=columns.item_rows,
        type_codes=columns.type_codes,
        timestamps=columns.timestamps,
        types=columns.types,
        user_features=columns.features,
        item_features=item_features,
        user_words=user_words,
        item_words=item_words,
        half_life_days=half_life_days,
    )


def read_users(
    uri: str,
    database_name: str,
    types: Sequence[str],
    users: UserRange,
    items: Sequence[str],
) -> UserColumns:
    """Users of a range and their interactions with courses of these ids, whose rows are those of the list.

    Raises as ``read_snapshot`` does.
    """
    with _opened(uri, database_name) as db:
        return _read_columns(db, users, Vocabulary(items), types)


def user_ranges(db: PyMongoDatabase[Document], n: int) -> list[UserRange]:
    """All users in n ranges with about equally many interactions, as a sample has it; some may be empty."""
    sample = [{"$sample": {"size": n * SAMPLES}}, {"$project": {"_id": 1}}]
    found = sorted(document["_id"].partition(SEPARATOR)[0] for document in db["interactions"].aggregate(sample))
    inner = [found[place * len(found) // n] for place in range(1, n)] if found else []
    bounds = [None, *inner, None]
    ranges = [UserRange(low, high) for low, high in pairwise(bounds)]
    return ranges + [UserRange("", "")] * (n - len(ranges))


@contextmanager
def _opened(uri: str, database_name: str) -> Iterator[PyMongoDatabase[Document]]:
    options = {**client_options(TIMEOUT_SECONDS, "coursegraph-snapshot"), "tz_aware": False, "tzinfo": None}
    with MongoClient[Document](uri, **options) as client:
        yield client[database_name]


def _read_columns(
    db: PyMongoDatabase[Document],
    users: UserRange,
    items: Vocabulary,
    types: Sequence[str],
    should_stop: Callable[[], bool] = lambda: False,
) -> UserColumns:
    known, features = _read_records(db["users"], "user", users.query())
    reader = _InteractionReader(known, items, types)
    # Exhaust: the server sends batch after batch without being asked; a router of a sharded cluster cannot.
    kind = CursorType.NON_TAILABLE if db.client.is_mongos else CursorType.EXHAUST
    fields = {"_id": 1, "timestamp": 1}
    cursor = db["interactions"].find(users.query(), fields, cursor_type=kind, batch_size=BATCH)
    while documents := list(islice(cursor, BATCH)):
        if should_stop():
            raise CancelledError("the run was cancelled")
        reader.add(documents)
    user_rows, item_rows, type_codes, timestamps = reader.sorted()
    counts = np.bincount(user_rows, minlength=len(known))
    return UserColumns(known.ids, features, counts, item_rows, type_codes, timestamps, reader.types)


class _InteractionReader:
    """Turns batches of documents into columns."""

    def __init__(self, users: Vocabulary, items: Vocabulary, types: Sequence[str]) -> None:
        self._users, self._items = users, items
        self._codes = {name: code for code, name in enumerate(types)}
        self._names = list(types)
        self._batches: list[Columns] = []

    @property
    def types(self) -> tuple[str, ...]:
        """Names of the type codes."""
        return tuple(self._names)

    def add(self, documents: Sequence[Document]) -> None:
        """Take a batch in."""
        # One join and one split of a whole batch cost a third of a split for each key.
        parts = SEPARATOR.join([document["_id"] for document in documents]).split(SEPARATOR)
        users, items = self._users.rows_or_absent(parts[0::3]), self._items.rows_or_absent(parts[1::3])
        times = [(document["timestamp"] - EPOCH) // MILLISECOND for document in documents]
        codes, timestamps = self._type_codes(parts[2::3]), np.array(times, np.int64)
        whole = (users >= 0) & (items >= 0)
        self._batches.append((users[whole], items[whole], codes[whole], timestamps[whole]))

    def sorted(self) -> Columns:
        """User rows, item rows, type codes and timestamps of all, sorted by (user, item, type)."""
        if not self._batches:
            return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.uint8), np.empty(0, np.int64)
        users, items, codes, times = (np.concatenate(column) for column in zip(*self._batches, strict=True))
        self._batches.clear()
        order = np.lexsort((codes, items, users))
        return users[order], items[order], codes[order], times[order]

    def _type_codes(self, names: Sequence[str]) -> NDArray[np.uint8]:
        for name in sorted(set(names).difference(self._codes)):
            # The setting does not name it, but it was accepted: from Gorse's clients every type is.  All such weigh
            # alike, so when there are too many the last one stands for the rest.
            self._codes[name] = min(len(self._names), MAX_TYPES - 1)
            if len(self._names) < MAX_TYPES:
                self._names.append(name)
        return np.fromiter(map(self._codes.__getitem__, names), np.uint8, len(names))


def _read_records(
    records: Collection[Document], kind: str, query: Document | None = None
) -> tuple[Vocabulary, Features]:
    """Ids in order, and the features of those that have some."""
    ids: list[str] = []
    vectors: list[tuple[str, NDArray[np.float32]]] = []
    for document in records.find(query or {}, {"_id": 1, "features": 1}):
        ids.append(document["_id"])
        features = document.get("features")
        if features is not None:
            with np.errstate(over="ignore"):  # becomes infinite, which is found below
                vectors.append((document["_id"], np.array(features, np.float32)))
    vocabulary = Vocabulary(sorted(ids))
    return vocabulary, _stack(sorted(vectors, key=itemgetter(0)), vocabulary, kind)


def _stack(vectors: Sequence[tuple[str, NDArray[np.float32]]], vocabulary: Vocabulary, kind: str) -> Features:
    if not vectors:
        return Features.none()
    first_id, first = vectors[0]
    for record_id, vector in vectors:
        if len(vector) != len(first):
            raise InvalidFeaturesError(
                kind, record_id, f"are {len(vector)} numbers, those of {first_id!r} {len(first)}"
            )
        if not np.abs(vector).max() <= LARGEST_FEATURE:  # also when it is NaN
            raise InvalidFeaturesError(
                kind, record_id, f"hold a number that is not finite or above {LARGEST_FEATURE:g}"
            )
    return Features(vocabulary.rows(record_id for record_id, _ in vectors), np.stack([vector for _, vector in vectors]))


def _read_course_words(courses: Collection[Document], items: Vocabulary, *, with_texts: bool) -> Words | None:
    """Words of each row; None when no course has any."""
    fields: Document = dict.fromkeys(FACTS, 1)
    if with_texts:
        start = {"$substrCP": [{"$ifNull": ["$description", ""]}, 0, TEXT_CHARACTERS]}
        fields["description"] = start
    facts: list[CourseFacts | None] = [None] * len(items)
    texts = [""] * len(items)
    for document in courses.find({}, fields, batch_size=BATCH):
        row = items.row(document["_id"])
        if row is not None:
            facts[row] = course_facts(document)
            texts[row] = document.get("description") or ""
    words = words_of_courses(facts, texts if with_texts else None)
    return words if any(words.labels) or any(map(str.strip, words.texts)) else None


def _read_interests(records: Collection[Document], users: Vocabulary) -> Words | None:
    """Words of each row; None when nobody has interests."""
    interests: list[dict[str, float]] = [{}] * len(users)
    some = {"interests": {"$exists": True, "$ne": "{}"}}
    for document in records.find(some, {"interests": 1}, batch_size=BATCH):
        row = users.row(document["_id"])
        if row is not None:
            interests[row] = orjson.loads(document["interests"])
    words = words_of_users(interests)
    return words if any(words.labels) else None


def _cluster_time(db: PyMongoDatabase[Document]) -> int:
    """As ``client.cluster_time``, with the synchronous driver."""
    with db.client.start_session() as session:
        db.get_collection("settings", read_concern=ReadConcern("majority")).find_one({}, {"_id": 1}, session=session)
        assert session.operation_time is not None
        return from_timestamp(session.operation_time)
