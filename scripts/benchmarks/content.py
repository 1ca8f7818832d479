"""What content is worth: courses whose interactions are hidden, found from a random start and from what they say.

FOLDER holds interactions.csv.gz or interactions_train.csv.gz and interactions_test.csv.gz, and items.csv.gz.  All
interactions of a tenth of the courses are hidden; the rest is trained on twice, with and without the courses' words.
Printed are, for users who took hidden courses: how often one of them is among the first 5 of 50 hidden ones, and the
share of theirs among the 20 best of all courses they have not taken; and, for the courses that were not hidden, the
same on held-out interactions, which must not suffer.
"""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.domain.courses import CourseFacts
from app.domain.interactions import Features, Snapshot
from app.domain.vocabulary import Vocabulary
from app.domain.words import TEXT_CHARACTERS, words_of_courses
from app.training.config import FilterWish, Loss, TrainingConfig
from app.training.evaluate import Scores
from app.training.run import scores_of, train

HIDDEN_SHARE, HELD_OUT_SHARE = 0.1, 0.2
USERS = 3_000  # asked
CANDIDATES, FIRST, TOP = 50, 5, 20

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trial:
    """What is learned from, and what is asked for afterwards: pairs of a user and a course."""

    snapshot: Snapshot
    hidden: NDArray[np.bool_]  # (I,)
    of_hidden: tuple[Rows, Rows]
    of_others: tuple[Rows, Rows]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seed", default=0, help="Of the hidden courses.")
@click.option("--loss", type=click.Choice(["softmax", "bpr"]), default="softmax")
@click.option("--filter", "wish", type=click.Choice(["auto", "none", "ease", "gf_cf"]), default="auto")
def main(folder: Path, seed: int, loss: Loss, wish: FilterWish) -> None:
    """Measure on the data set in FOLDER."""
    trial = prepare(folder, seed)
    config = TrainingConfig(loss=loss, filter=wish)
    print(f"{folder.name}: {trial.hidden.sum()} of {len(trial.hidden)} courses hidden")
    heads = f"first {FIRST} of {CANDIDATES}", f"recall@{TOP}", f"others @{TOP}", "share of lists"
    print(f"{'':24}" + "{:>16}{:>12}{:>12}{:>16}".format(*heads))
    for name, snapshot in (("random start", replace(trial.snapshot, item_words=None)), ("content", trial.snapshot)):
        print(f"{name:24}" + "{:16.4f}{:12.4f}{:12.4f}{:16.4f}".format(*measure(trial, fit(snapshot, config))))


def prepare(folder: Path, seed: int) -> Trial:
    """Hide courses and hold out interactions."""
    courses = list(_rows(folder / "items.csv.gz"))
    whole = folder / "interactions.csv.gz"
    files = [whole] if whole.exists() else [folder / f"interactions_{part}.csv.gz" for part in ("train", "test")]
    pairs = [(row["user_id"], row["item_id"], number) for number, file in enumerate(files) for row in _rows(file)]
    items = Vocabulary([course["item_id"] for course in courses])
    users = Vocabulary(sorted({user for user, _, _ in pairs}))
    user_rows, item_rows = users.rows(user for user, _, _ in pairs), items.rows(item for _, item, _ in pairs)
    rng = np.random.default_rng(seed)
    hidden = np.zeros(len(items), np.bool_)
    hidden[rng.choice(len(items), int(HIDDEN_SHARE * len(items)), replace=False)] = True
    held = np.array([part for _, _, part in pairs]) == 1 if len(files) > 1 else rng.random(len(pairs)) < HELD_OUT_SHARE
    is_hidden = hidden[item_rows]
    kept = np.flatnonzero(~is_hidden & ~held)
    kept = kept[np.lexsort((item_rows[kept], user_rows[kept]))]
    labels = [
        [label for column in ("genres", "fields") for label in (course.get(column) or "").split("|") if label]
        for course in courses
    ]
    facts = [
        CourseFacts(title=course.get("title"), categories=tuple(own))
        for course, own in zip(courses, labels, strict=True)
    ]
    snapshot = Snapshot(
        cluster_time=0,
        users=users,
        items=items,
        user_rows=user_rows[kept],
        item_rows=item_rows[kept],
        type_codes=np.zeros(len(kept), np.uint8),
        timestamps=np.zeros(len(kept), np.int64),
        types=("enroll",),
        user_features=Features.none(),
        item_features=Features.none(),
        item_words=words_of_courses(facts, [(course.get("about") or "")[:TEXT_CHARACTERS] for course in courses]),
    )
    others = held & ~is_hidden
    return Trial(
        snapshot,
        hidden,
        (user_rows[is_hidden].astype(np.int64), item_rows[is_hidden].astype(np.int64)),
        (user_rows[others].astype(np.int64), item_rows[others].astype(np.int64)),
    )


def fit(snapshot: Snapshot, config: TrainingConfig) -> Scores:
    """The scores that a run would publish."""
    return scores_of(train(snapshot, {"enroll": 1.0}, config))


def measure(trial: Trial, score: Scores) -> tuple[float, float, float, float]:
    """Hits among hidden courses; recall of hidden and of other courses; share of hidden ones in lists."""
    rng = np.random.default_rng(1)
    pool = np.flatnonzero(trial.hidden)
    hits = []
    for user, item in zip(*_sample(trial.of_hidden, rng), strict=True):
        taken = trial.of_hidden[1][trial.of_hidden[0] == user]
        free = np.setdiff1d(pool, taken)
        candidates = np.concatenate([[item], rng.choice(free, min(CANDIDATES - 1, len(free)), replace=False)])
        scores = score(np.array([user]))[0, candidates]
        hits.append((scores[1:] >= scores[0]).sum() < FIRST)
    recall_hidden, lists = _recall(trial, score, trial.of_hidden, rng)
    recall_others, _ = _recall(trial, score, trial.of_others, rng)
    return float(np.mean(hits)), recall_hidden, recall_others, float(trial.hidden[lists].mean())


def _sample(pairs: tuple[Rows, Rows], rng: np.random.Generator) -> tuple[Rows, Rows]:
    chosen = rng.choice(len(pairs[0]), min(USERS, len(pairs[0])), replace=False)
    return pairs[0][chosen], pairs[1][chosen]


def _recall(
    trial: Trial, score: Scores, pairs: tuple[Rows, Rows], rng: np.random.Generator
) -> tuple[float, NDArray[np.int64]]:
    """Mean share of a user's wanted courses in the list, at most TOP counted; and the lists, (users, TOP)."""
    snapshot = trial.snapshot
    n_users, n_items = len(snapshot.users), len(snapshot.items)
    users = np.unique(pairs[0])
    users = users if len(users) <= USERS else np.sort(rng.choice(users, USERS, replace=False))
    scores = score(users)
    ones = np.ones(len(snapshot.user_rows), np.bool_)
    seen = csr_array((ones, (snapshot.user_rows, snapshot.item_rows)), shape=(n_users, n_items))[users]
    scores[np.repeat(np.arange(len(users)), np.diff(seen.indptr)), seen.indices] = -np.inf
    lists = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    keys = pairs[0] * n_items + pairs[1]
    found = np.isin(users[:, None] * n_items + lists, keys).sum(axis=1)
    wanted = np.bincount(pairs[0], minlength=n_users)[users]
    return float(np.mean(found / np.minimum(wanted, TOP))), lists


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


if __name__ == "__main__":
    main()
