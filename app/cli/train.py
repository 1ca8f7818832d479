"""``coursegraph train``: one training run now, with a progress bar."""

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path

import click

from app.cli.database import database_uri, open_database_uri
from app.errors import RunEndedError, RunInProgressError
from app.schemas.training import Run
from app.settings import Settings, load_settings
from app.store.client import UNAVAILABLE_ERRORS, open_database, prepare_database
from app.store.lease import Lease
from app.store.runs import RunStore
from app.telemetry.logging import configure_logging
from app.training.distributed.launch import follow, torchrun_ranks, under_torchrun
from app.training.ranks import Ranks
from app.worker.cycle import Cycle
from app.worker.errands import errands
from app.worker.loop import first_of, holder_name, recipe_from

POLL_SECONDS = 0.25  # between two moves of the bar


@click.command("train")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data directory of `coursegraph up`; used when MONGODB_URI is not set.",
)
@click.option("--ranks", type=click.IntRange(1, 1024), help="Processes that train together; else COURSEGRAPH_RANKS.")
def train_command(data_dir: Path | None, ranks: int | None) -> None:
    """Train one model on all that is stored and serve it, if it is good enough.

    Trains in this process or, where a worker holds the lease, has that worker train and shows its progress.  Started by
    torchrun, on one or several machines, its processes train together, and the first reads and publishes.
    Ends with exit code 1 unless the run succeeds.
    """
    settings = load_settings(**({} if ranks is None else {"ranks": ranks}))
    configure_logging("warning", settings.log_format)
    if under_torchrun(os.environ):
        with torchrun_ranks(os.environ, settings.rank_timeout_seconds) as group:
            if group.rank:
                follow(group, errands(lambda: open_database_uri(settings, data_dir)))
                return
            run = _run(settings, data_dir, group)
    else:
        run = _run(settings, data_dir, None)
    click.echo(f"Run {run.run_id} {run.status}." + (f" {run.error.detail}" if run.error else ""))
    for name, values in (run.metrics or {}).items():
        click.echo(f"  {name:<12} " + "  ".join(f"{metric} {value:.4f}" for metric, value in sorted(values.items())))
    if run.model_id:
        click.echo(f"Model {run.model_id} is served.")
    sys.exit(0 if run.status == "succeeded" else 1)


def _run(settings: Settings, data_dir: Path | None, group: Ranks | None) -> Run:
    with database_uri(settings, data_dir) as uri:
        return asyncio.run(_train(settings.model_copy(update={"mongodb_uri": uri}), group))


async def _train(settings: Settings, group: Ranks | None) -> Run:
    recipe = recipe_from(settings)
    async with open_database(
        recipe.mongodb_uri,
        recipe.mongodb_database,
        timeout_seconds=settings.database_timeout_seconds,
        app_name="coursegraph-train",
    ) as db:
        await prepare_database(db)
        runs, lease = RunStore(db), Lease(db, holder_name(), settings.lease_seconds)
        fence = await lease.acquire()
        patience = time.monotonic() + 2 * settings.lease_seconds
        while fence is None and group is not None and time.monotonic() < patience:
            await asyncio.sleep(POLL_SECONDS)  # torchrun starts anew what it has killed, whose lease has to lapse
            fence = await lease.acquire()
        if fence is not None:
            await runs.take_over_orphans(fence, "the worker that ran it died or lost its lease")
        asked = True
        try:
            run = await runs.request("command", recipe.config.as_dict())
        except RunInProgressError as error:
            asked, run = False, await runs.get(error.run_id)
            click.echo(f"Run {run.run_id} is in progress already.")
        try:
            if fence is None:
                click.echo("A worker holds the lease: it trains.")
            else:
                await first_of(
                    Cycle(db, recipe, fence, group).run(run), lease.keep(), _show(runs, run.run_id, forever=True)
                )
            return await _show(runs, run.run_id)
        except asyncio.CancelledError:  # Ctrl+C
            if asked and fence is not None:  # else somebody else wants it, or a worker is at it
                with contextlib.suppress(RunEndedError, *UNAVAILABLE_ERRORS):
                    await runs.request_cancel(run.run_id)
            raise
        finally:
            await lease.release()


async def _show(runs: RunStore, run_id: str, *, forever: bool = False) -> Run:
    """The ended run; a progress bar on the way.  ``forever``: until cancelled."""
    with click.progressbar(length=1, label=run_id, item_show_func=_loss) as bar:
        while True:
            run = await runs.get(run_id)
            if run.progress is not None:
                bar.length = run.progress.epochs
                bar.update(run.progress.epoch - bar.pos, run.progress.loss)
            if run.ended_at is not None and not forever:
                return run
            await asyncio.sleep(POLL_SECONDS)


def _loss(loss: float | None) -> str | None:
    return None if loss is None else f"loss {loss:.4f}"
