"""How near a short fit from the model that is served comes to a full retrain, and in what part of its time.

FOLDER holds interactions_train.csv.gz and interactions_test.csv.gz.  A model is trained on all training rows but a
share, drawn at random, by the defaults, search and all; it then is the model that is served, and the share comes in.
Three runs on all training rows are timed from data to model, closed forms and judging among it, and asked for the
test rows: going on from the model that is served; a full run with the remembered recipe; a full run with its search.
What is looked at is their last word on the test rows, which none of them has chosen anything by.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from app.cli.dataset import TYPE, Dataset, read_dataset, test_metrics
from app.domain.contents import ArtifactContents
from app.domain.interactions import Snapshot
from app.training.config import TrainingConfig
from app.training.current import Current
from app.training.remembered import to_remember
from app.training.result import TrainedModel
from app.training.run import scores_of, train

WEIGHTS = {TYPE: 1.0}
COLUMNS = ("user_rows", "item_rows", "type_codes", "timestamps")
MEASURES = ("recall@20", "ndcg@20")


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--share", default=0.01, help="Of the training rows, which come in later.")
@click.option("--seed", default=0, help="Of what is drawn.")
@click.option("--budget", default=120.0, help="Seconds for searching a recipe.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Where the numbers go, as JSON.")
def main(folder: Path, share: float, seed: int, budget: float, output: Path | None) -> None:
    """Measure on the data set in FOLDER."""
    dataset = read_dataset(folder, ordered=False, seed=seed)
    snapshot, config = dataset.snapshot, TrainingConfig(time_budget_seconds=budget)
    late = np.random.default_rng(seed).random(len(snapshot.user_rows)) < share
    before = replace(snapshot, **{name: getattr(snapshot, name)[~late] for name in COLUMNS})
    print(f"{folder.name}: {len(late):,} interactions, {late.sum():,} of them new; load {os.getloadavg()[0]:.1f}")
    first, seconds = timed(lambda: train(before, WEIGHTS, config))
    print(f"the model that is served was trained in {seconds:.1f} s, {first.steps} steps", flush=True)
    remembered, current = to_remember(first.recipe), served(before, first)
    runs: dict[str, Callable[[], TrainedModel]] = {
        "going on": lambda: train(snapshot, WEIGHTS, config, remembered=remembered, current=current),
        "full, remembered recipe": lambda: train(snapshot, WEIGHTS, config, remembered=remembered),
        "full, with its search": lambda: train(snapshot, WEIGHTS, config),
    }
    results = {"served, untouched": (measured(dataset, first, before), 0.0)}
    for name, run in runs.items():
        model, seconds = timed(run)
        assert model.went_on == (name == "going on"), model.why_not
        results[name] = measured(dataset, model, snapshot), seconds
        print(
            f"  {name}: {seconds:.1f} s, of which the last fit {model.fit_seconds:.1f}; {model.verdict.reason}",
            flush=True,
        )
    show(results)
    if output is not None:
        output.write_text(json.dumps(results, indent=1))


def timed(run: Callable[[], TrainedModel]) -> tuple[TrainedModel, float]:
    """A model and how many seconds it took."""
    began = time.perf_counter()
    model = run()
    return model, time.perf_counter() - began


def served(snapshot: Snapshot, model: TrainedModel) -> Current:
    """The model as the worker publishes it."""
    contents = ArtifactContents.from_snapshot(snapshot, WEIGHTS, model.embeddings, model.item_filter)
    return Current("the first", replace(contents, content=model.content), temperature=model.temperature, go_on=True)


def measured(dataset: Dataset, model: TrainedModel, snapshot: Snapshot) -> dict[str, float]:
    """On the test rows; nothing that all training rows hold is recommended."""
    metrics = test_metrics(dataset, scores_of(model), model.graph)
    return {name: metrics[name] for name in MEASURES}


def show(results: dict[str, tuple[dict[str, float], float]]) -> None:
    """Each beside the full runs."""
    print(f"{'':<26}{'seconds':>9}" + "".join(f"{name:>12}" for name in MEASURES))
    for name, (metrics, seconds) in results.items():
        print(f"{name:<26}{seconds:9.1f}" + "".join(f"{metrics[measure]:12.4f}" for measure in MEASURES))
    metrics, seconds = results["going on"]
    for what, (others, longer) in results.items():
        if what.startswith("full"):
            shares = " and ".join(f"{metrics[name] / others[name]:.1%} of its {name}" for name in MEASURES)
            print(f"going on beside {what}: {shares}, in {seconds / longer:.3f} of its time")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
