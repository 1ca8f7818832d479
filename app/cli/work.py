"""``coursegraph work``: the background worker that retrains."""

import asyncio
import signal
from pathlib import Path

import click

from app.errors import ListenError
from app.memory import one_heap
from app.settings import Settings, load_settings
from app.telemetry.logging import configure_logging
from app.telemetry.metrics import WorkerMetrics
from app.telemetry.traces import Traces

ALIVE_SECONDS = 5.0  # between two touches of the file that a health check looks at
STILL_SECONDS = 60.0  # of an event loop that does nothing: four times a lease, so that nobody counts on the process


@click.command("work")
@click.option(
    "--alive-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Touch this file every {ALIVE_SECONDS:g} s for as long as the worker works, for health checks.",
)
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Answer Prometheus on this port.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address for --metrics-port.")
def work_command(alive_file: Path | None, metrics_port: int | None, metrics_host: str) -> None:
    """Retrain when enough changed, when enough time passed, and when asked.  Needs MONGODB_URI.

    Any number of workers may run; one trains and the others wait to take over.
    """
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    one_heap()
    metrics = WorkerMetrics()
    if metrics_port is not None:
        try:
            metrics.serve(metrics_host, metrics_port)
        except OSError as error:
            raise ListenError(metrics_host, metrics_port, error.strerror or str(error)) from None
    traces = Traces.begin("worker") if settings.traces else Traces()
    if settings.traces:
        from app.store.traced import trace_commands  # noqa: PLC0415 - the driver is of no use to `--help`

        trace_commands(traces)
    try:
        asyncio.run(_work(settings, alive_file, metrics, traces))
    finally:
        traces.end()


async def _work(settings: Settings, alive_file: Path | None, metrics: WorkerMetrics, traces: Traces) -> None:
    living = asyncio.create_task(_live(alive_file))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):  # a second one ends the process at once
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)

    from app.worker.loop import run_worker  # noqa: PLC0415 - brings torch: seconds in which a signal may come

    await run_worker(settings, stop=stop, metrics=metrics, traces=traces)
    living.cancel()
    signal.setitimer(signal.ITIMER_REAL, 0)


async def _live(file: Path | None) -> None:
    """The event loop itself does it: a worker that hangs, or waits for a thread in it, is not alive.

    Then the kernel ends it by SIGALRM, so that whoever started it starts it again and its run is taken over.  With too
    little memory the interpreter may wait for ever for a thread that died before it began; the alarm needs neither.
    """
    while True:
        signal.setitimer(signal.ITIMER_REAL, STILL_SECONDS)
        if file is not None:
            file.touch()  # noqa: ASYNC240 - microseconds, and meant to stand still when the disk does
        await asyncio.sleep(ALIVE_SECONDS)
