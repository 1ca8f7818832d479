"""How good the lists of users are whom the model has never seen, beside a retrain that includes them.

FOLDER holds interactions_train.csv.gz and interactions_test.csv.gz.  So many users are drawn among those with training
and test rows and left out of training, all their rows with them.  Then their training rows come in as the change
stream tells them, and the lists that serving makes of that (app.serving: fold-in) are compared with the lists of the
same users from a model that was trained on everybody.  Both are trained by the defaults, and the second takes the
recipe that the first chose.  Recall@20 is the share of a user's test rows in a list of 20, the mean over these users.

At last all users with test rows are asked for by the second model: as trained, and by a process that holds none of its
users and folds them in from what they have taken.
"""

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np

from app.artifact.load import load_artifact
from app.artifact.manifest import Description
from app.artifact.write import write_artifact
from app.cli.dataset import TYPE, Dataset, read_dataset
from app.domain.changes import ChangeBatch, InteractionChanged
from app.domain.contents import ArtifactContents
from app.domain.courses import CourseFacts
from app.domain.interactions import Snapshot
from app.domain.vocabulary import Vocabulary
from app.serving.catalogue import Catalogue
from app.serving.index import ServingIndex
from app.serving.live import LiveModel
from app.serving.options import Options
from app.training.config import TrainingConfig
from app.training.remembered import to_remember
from app.training.result import TrainedModel
from app.training.run import train

N = 20
READ_AT_ONCE = 1_000
COLUMNS = ("user_rows", "item_rows", "type_codes", "timestamps")


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--users", default=500, help="Left out of training.")
@click.option("--seed", default=0, help="Of who is.")
@click.option("--budget", default=120.0, help="Seconds for searching a recipe.")
def main(folder: Path, users: int, seed: int, budget: float) -> None:
    """Measure on the data set in FOLDER."""
    dataset = read_dataset(folder, ordered=False, seed=seed)
    snapshot, wanted = dataset.snapshot, test_items(dataset)
    rows = np.random.default_rng(seed).permutation([snapshot.users.rows([id_])[0] for id_ in wanted])[:users]
    left_out = np.zeros(len(snapshot.users), np.bool_)
    left_out[rows] = True
    config = TrainingConfig(time_budget_seconds=budget)
    load = os.getloadavg()[0]
    print(f"{folder.name}: {left_out.sum()} of {len(left_out):,} users left out; load {load:.1f}", flush=True)
    without = snapshot_without(snapshot, left_out)
    first = timed(without, config)
    second = timed(snapshot, config, remembered=to_remember(first.recipe))
    chosen = first.recipe
    print(f"{chosen.parameters} have parameters, filter {chosen.item_filter} x {chosen.filter_weight:g}", flush=True)
    ids = [snapshot.users.ids[row] for row in rows]
    folded, known = live_model(without, first), live_model(snapshot, second)
    tell(folded, snapshot, left_out)
    results = {"folded in": recall(folded, ids, wanted, "fold_in"), "retrained": recall(known, ids, wanted, "model")}
    for name, value in results.items():
        print(f"{name:<16} recall@{N} {value:.4f}")
    print(f"folded in / retrained {results['folded in'] / results['retrained']:.3f}; load {os.getloadavg()[0]:.1f}")
    everybody = [*wanted]
    trained, not_held = recall(known, everybody, wanted, "model"), recall_not_held(snapshot, second, everybody, wanted)
    print(f"{len(wanted):,} users, held {trained:.4f}, not held {not_held:.4f}, {not_held / trained:.3f} of that")


def test_items(dataset: Dataset) -> dict[str, set[str]]:
    """Test items of each user who has training rows."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for row in dataset.test:
        if row.user_id in dataset.snapshot.users:
            wanted[row.user_id].add(row.item_id)
    return dict(wanted)


def snapshot_without(snapshot: Snapshot, left_out: np.ndarray) -> Snapshot:
    """As if these users had never been there."""
    kept = ~left_out[snapshot.user_rows]
    users = Vocabulary([id_ for id_, out in zip(snapshot.users.ids, left_out, strict=True) if not out])
    rows = (np.cumsum(~left_out) - 1)[snapshot.user_rows[kept]].astype(np.int32)
    columns = {name: getattr(snapshot, name)[kept] for name in COLUMNS}
    return replace(snapshot, users=users, **columns | {"user_rows": rows})


def timed(snapshot: Snapshot, config: TrainingConfig, remembered: Mapping[str, Any] | None = None) -> TrainedModel:
    """A model of the snapshot."""
    began = time.perf_counter()
    model = train(snapshot, {TYPE: 1.0}, config, remembered=remembered)
    print(f"  trained on {len(snapshot.user_rows):,} interactions in {time.perf_counter() - began:.1f} s", flush=True)
    return model


def live_model(snapshot: Snapshot, model: TrainedModel, *, held: bool = True) -> LiveModel:
    """The model as it is served, by a process that holds its users or none of them."""
    contents = ArtifactContents.from_snapshot(snapshot, {TYPE: 1.0}, model.embeddings, model.item_filter)
    contents = replace(contents, content=model.content)
    if not held:
        described = Description("m-000001", datetime.now(UTC), "0", {}, 0, "cpu", {}, (), 0)
        with tempfile.TemporaryDirectory() as name:
            write_artifact(Path(name) / "model", contents, described)
            contents = load_artifact(Path(name) / "model", 0).contents
    courses = [(id_, CourseFacts()) for id_ in snapshot.items.ids]
    return LiveModel(ServingIndex("m-000001", contents), Catalogue(courses, 0))


def recall_not_held(snapshot: Snapshot, model: TrainedModel, ids: list[str], wanted: Mapping[str, set[str]]) -> float:
    """Of users whose training rows are read when they are asked for, some at a time."""
    live, items, shares = live_model(snapshot, model, held=False), snapshot.items.ids, []
    order = np.argsort(snapshot.user_rows, kind="stable")
    starts = np.searchsorted(snapshot.user_rows[order], np.arange(len(snapshot.users) + 1))
    for start in range(0, len(ids), READ_AT_ONCE):
        some = ids[start : start + READ_AT_ONCE]
        rows = {id_: snapshot.users.rows([id_])[0] for id_ in some}
        found = {
            id_: [(items[item], TYPE) for item in snapshot.item_rows[order[starts[row] : starts[row + 1]]].tolist()]
            for id_, row in rows.items()
        }
        with live.guests.reading(some) as reading:
            live.guests.meet(reading, found)
        shares.append((len(some), recall(live, some, wanted, "fold_in")))
    return sum(n * share for n, share in shares) / len(ids)


def tell(live: LiveModel, snapshot: Snapshot, users: np.ndarray) -> None:
    """The training rows of these users, as the change stream would."""
    told = np.flatnonzero(users[snapshot.user_rows])
    pairs = zip(snapshot.user_rows[told].tolist(), snapshot.item_rows[told].tolist(), strict=True)
    ids, items = snapshot.users.ids, snapshot.items.ids
    changes = [InteractionChanged(1, ids[u], items[i], TYPE, removed=False) for u, i in pairs]
    live.apply(ChangeBatch(tuple(changes), 1))


def recall(live: LiveModel, ids: list[str], wanted: Mapping[str, set[str]], source: str) -> float:
    """Mean over the users; all lists come from ``source``."""
    shares = []
    for id_ in ids:
        answer = live.recommend(id_, Options(n=N))
        assert answer.source == source, f"{id_} is answered from {answer.source}"
        shares.append(len({item.course_id for item in answer.items} & wanted[id_]) / len(wanted[id_]))
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
