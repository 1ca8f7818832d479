"""``coursegraph evaluate``: how good the model would be on a public data set."""

import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from app.cli.dataset import TYPE, Dataset, read_dataset, test_metrics
from app.settings import Settings, load_settings
from app.telemetry.logging import configure_logging

BASELINES = ("popular", "item_cosine", "gf_cf", "ease")
SHOWN = ("recall@10", "ndcg@10", "recall@20", "ndcg@20", "hit_rate@20", "mrr@20", "coverage@20", "gini@20")


@click.command("evaluate")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else on standard output.")
@click.option("--ordered", is_flag=True, help="The rows of a user stand in time order though they carry no times.")
@click.option("--loss", type=click.Choice(["softmax", "hard_bpr", "bpr"]), help="Training loss.")
@click.option("--filter", type=click.Choice(["auto", "none", "ease", "gf_cf"]), help="Item filter beside it.")
@click.option(
    "--time-budget",
    "time_budget_seconds",
    type=float,
    metavar="SECONDS",
    help="For choosing and training; 0: no search.",
)
@click.option("--layers", "n_layers", type=int, help="Propagation layers.")
@click.option("--embedding-size", type=int, help="Numbers in a vector.")
@click.option("--epochs", type=int, help="Most passes over the interactions.")
@click.option("--batch-size", type=int, help="Interactions in a step.")
@click.option("--learning-rate", type=float, help="Step size of Adam.")
@click.option("--l2-weight", type=float, help="Weight of the squared length of layer-0 vectors.")
@click.option("--seed", type=int, help="Start of all randomness.")
@click.option("--device", help="auto, cpu, cuda or cuda:N.")
def evaluate_command(folder: Path, as_json: bool, ordered: bool, **given: Any) -> None:
    """Train on FOLDER, choose on a part of that, look at its test rows once, and print how good the lists are.

    FOLDER holds interactions_train.csv.gz and interactions_test.csv.gz (columns user_id, item_id and maybe timestamp),
    or interactions.csv.gz, of which the last fifth of each user becomes the test; and maybe items.csv.gz (item_id).
    What is not given here is as the settings say.
    """
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    configure_logging("warning", settings.log_format)
    report = evaluate_folder(folder, settings, ordered=ordered)
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        _show(report)


def evaluate_folder(folder: Path, settings: Settings, *, ordered: bool = False) -> dict[str, Any]:
    """Everything that is printed, as one object.  Raises DatasetError and what ``train`` raises."""
    from app.training.baselines import closed_forms  # noqa: PLC0415 - torch takes a second that --help need not wait for
    from app.training.blend import FilterKind  # noqa: PLC0415
    from app.training.config import TrainingConfig  # noqa: PLC0415
    from app.training.run import scores_of, train  # noqa: PLC0415

    config = TrainingConfig(**{name: getattr(settings, name) for name in TrainingConfig.__dataclass_fields__})
    dataset = read_dataset(folder, ordered=ordered, seed=config.seed)
    began, cpu_began = time.perf_counter(), time.process_time()
    with _Progress() as progress:
        model = train(dataset.snapshot, {TYPE: 1.0}, config, on_epoch=progress.on_epoch)
    wall_seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    others = closed_forms(
        model.graph,
        lambda scores: test_metrics(dataset, scores, model.graph),
        filters=(),
        eases=() if model.ease_l2 is None else (FilterKind("ease", model.ease_l2),),
        rng=np.random.default_rng(config.seed),
    ).metrics
    return {
        "data": {"folder": folder.name, **_counts(dataset)},
        "model": test_metrics(dataset, scores_of(model), model.graph),
        "baselines": {name: others.get(name) for name in BASELINES},
        "config": {**config.as_dict(), **model.recipe.as_dict(), "steps": model.steps},
        "validation": {"split": model.split, "held_out": model.n_held_out, **model.metrics},
        "trials": list(model.trials),
        "wall_seconds": round(wall_seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "fit_seconds": round(model.fit_seconds, 2),
        "peak_bytes": peak_bytes(),
    }


def peak_bytes() -> int:
    """Most memory that this process has had at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _counts(dataset: Dataset) -> dict[str, int]:
    snapshot = dataset.snapshot
    return {
        "users": len(snapshot.users),
        "items": len(snapshot.items),
        "train": len(snapshot.user_rows),
        "test": len(dataset.test),
    }


def _show(report: Mapping[str, Any]) -> None:
    data, config, validation = report["data"], report["config"], report["validation"]
    click.echo(
        f"{data['folder']}: {data['users']:,} users, {data['items']:,} items, {data['train']:,} interactions to train, "
        f"{data['test']:,} to test; {validation['held_out']:,} of the first held out to choose ({validation['split']})"
    )
    click.echo("\ntried, by NDCG@20 on what was held out:")
    for trial in report["trials"]:
        click.echo("  " + "  ".join(f"{name} {value}" for name, value in trial.items()))
    click.echo(f"\n{'on the test rows':<18}" + "".join(f"{name:>13}" for name in SHOWN))
    for name, values in {"model": report["model"], **report["baselines"]}.items():
        cells = "  left out: the catalogue or a user is too large" if values is None else ""
        cells = cells or "".join(f"{values[measure]:13.4f}" for measure in SHOWN)
        click.echo(f"{name:<18}{cells}")
    click.echo(
        f"\n{config['loss']}, size {config['embedding_size']}, {config['steps']} steps, L2 {config['l2_weight']:g}, "
        f"filter {config['item_filter']}; {report['wall_seconds']:.1f} s in all, {report['cpu_seconds']:.1f} CPU s, "
        f"last fit {report['fit_seconds']:.1f} s, peak {report['peak_bytes'] / 2**20:,.0f} MiB"
    )


class _Progress:
    """A bar on standard error, when somebody is there to see it."""

    def __init__(self) -> None:
        self._bar = click.progressbar(length=1, label="training", file=sys.stderr, item_show_func=self._loss)

    def __enter__(self) -> "_Progress":
        self._bar.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.__exit__(*exception)

    def on_epoch(self, epoch: int, epochs: int, loss: float, _seconds: float) -> None:
        """Move the bar."""
        self._bar.length = epochs
        self._bar.update(epoch - self._bar.pos, loss)

    @staticmethod
    def _loss(loss: Any) -> str | None:
        return None if loss is None else f"loss {loss:.4f}"
