"""A public data set as a folder of gzipped CSV files: what to train on, and what to be tested by."""

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.domain.interactions import Features, Snapshot
from app.domain.vocabulary import Vocabulary
from app.errors import DatasetError
from app.graph.bipartite import BipartiteGraph
from app.training.evaluate import Scores, evaluate
from app.training.split import TELLING_MS, Split

TRAIN, TEST, ALL, ITEMS = (
    f"{name}.csv.gz" for name in ("interactions_train", "interactions_test", "interactions", "items")
)
TYPE = "enroll"  # what every row says
TEST_SHARE = 0.2  # of a user's rows, where the folder has one file for all


@dataclass(frozen=True, slots=True)
class Row:
    """A person took an item.  milliseconds: since 1970, None where the file has no times."""

    user_id: str
    item_id: str
    milliseconds: int | None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Training rows as a snapshot, which knows nothing of the test rows: not even the ids that only they have."""

    snapshot: Snapshot
    test: tuple[Row, ...]


def read_dataset(folder: Path, *, ordered: bool, seed: int) -> Dataset:
    """interactions_train and interactions_test, or interactions alone, the last fifth of each user being the test.

    ordered: the rows of a user stand in time order though they carry no times.  Without times and order the fifth is
    random.  Raises DatasetError.
    """
    if (folder / TRAIN).exists() and (folder / TEST).exists():
        train, test = (list(read_rows(folder / name)) for name in (TRAIN, TEST))
    elif (folder / ALL).exists():
        train, test = _divide(list(read_rows(folder / ALL)), ordered=ordered, seed=seed)
    else:
        raise DatasetError(folder, f"has neither {TRAIN} with {TEST} nor {ALL}")
    if not train or not test:
        raise DatasetError(folder, "has no training rows" if not train else "has no test rows")
    items = [row["item_id"] for row in _read(folder / ITEMS, ("item_id",))] if (folder / ITEMS).exists() else []
    return Dataset(_snapshot(train, items, ordered=ordered), tuple(test))


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a file with user_id, item_id and maybe timestamp in seconds since 1970.  Raises DatasetError."""
    for number, row in enumerate(_read(path, ("user_id", "item_id")), 2):
        text = row.get("timestamp") or ""
        try:
            milliseconds = round(float(text) * 1000) if text else None
        except ValueError:
            raise DatasetError(path, f"line {number}: timestamp is {text!r}; wanted seconds since 1970") from None
        yield Row(row["user_id"], row["item_id"], milliseconds)


def test_metrics(dataset: Dataset, scores: Scores, graph: BipartiteGraph) -> dict[str, float]:
    """``evaluate`` on the test rows.  scores, graph: of the snapshot's users and items.

    Items that only the test has are never listed, but count as not found; users that only it has are given the most
    popular.
    """
    users, items = dataset.snapshot.users, dataset.snapshot.items
    wider_users = _with_new(users, [row.user_id for row in dataset.test])
    wider_items = _with_new(items, [row.item_id for row in dataset.test])
    pairs = {(wider_users.row(row.user_id), wider_items.row(row.item_id)) for row in dataset.test}
    held = np.array(sorted(pairs), np.int32)
    train = BipartiteGraph.from_pairs(
        graph.edge_users(), graph.user_items.indices, n_users=len(wider_users), n_items=len(wider_items)
    )
    popularity = np.bincount(graph.user_items.indices, minlength=len(items)).astype(np.float32)

    def wider(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        result = np.full((len(rows), len(wider_items)), -np.inf, np.float32)
        known = rows < len(users)
        result[known, : len(items)] = scores(rows[known])
        result[~known, : len(items)] = popularity
        return result

    return evaluate(wider, Split(train, held[:, 0], held[:, 1], "random"))


def _with_new(vocabulary: Vocabulary, ids: Sequence[str]) -> Vocabulary:
    return Vocabulary([*vocabulary.ids, *dict.fromkeys(id_ for id_ in ids if id_ not in vocabulary)])


def _divide(rows: list[Row], *, ordered: bool, seed: int) -> tuple[list[Row], list[Row]]:
    by_user: dict[str, list[Row]] = {}
    for row in rows:
        by_user.setdefault(row.user_id, []).append(row)
    timed = all(row.milliseconds is not None for row in rows)
    rng = np.random.default_rng(seed)
    train, test = [], []
    for own in by_user.values():
        if timed and not ordered:
            own.sort(key=lambda row: row.milliseconds or 0)  # stable: equal times stay in order
        elif not ordered:
            rng.shuffle(own)
        kept = len(own) - round(len(own) * TEST_SHARE)
        train += own[:kept]
        test += own[kept:]
    return train, test


def _snapshot(rows: list[Row], items: list[str], *, ordered: bool) -> Snapshot:
    users = Vocabulary(list(dict.fromkeys(row.user_id for row in rows)))
    courses = Vocabulary(list(dict.fromkeys([*(row.item_id for row in rows), *items])))
    user_rows = np.array([users.row(row.user_id) for row in rows], np.int32)
    item_rows = np.array([courses.row(row.item_id) for row in rows], np.int32)
    if ordered:  # far enough apart to tell
        times = np.arange(len(rows), dtype=np.int64) * 2 * TELLING_MS
    else:
        times = np.array([row.milliseconds or 0 for row in rows], np.int64)
    keys = user_rows.astype(np.int64) * len(courses) + item_rows
    order = np.lexsort((times, keys))
    order = order[np.append(np.diff(keys[order]) > 0, True)]  # of a pair given several times, the last
    return Snapshot(
        cluster_time=0,
        users=users,
        items=courses,
        user_rows=user_rows[order],
        item_rows=item_rows[order],
        type_codes=np.zeros(len(order), np.uint8),
        timestamps=times[order],
        types=(TYPE,),
        user_features=Features.none(),
        item_features=Features.none(),
    )


def _read(path: Path, wanted: tuple[str, ...]) -> Iterator[dict[str, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            missing = set(wanted) - set(rows.fieldnames or ())
            if missing:
                raise DatasetError(path, f"has columns {rows.fieldnames}; wanted {' and '.join(sorted(wanted))} too")
            yield from rows
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(path, f"cannot be read as gzipped CSV ({error})") from error
