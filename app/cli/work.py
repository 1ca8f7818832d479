"""``coursegraph work``: the background worker that retrains."""

import asyncio
import signal

import click

from app.settings import Settings, load_settings
from app.telemetry.logging import configure_logging


@click.command("work")
def work_command() -> None:
    """Retrain when enough changed, when enough time passed, and when asked.  Needs MONGODB_URI.

    Any number of workers may run; one trains and the others wait to take over.
    """
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    asyncio.run(_work(settings))


async def _work(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):  # a second one ends the process at once
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)

    from app.worker.loop import run_worker  # noqa: PLC0415 - brings torch: seconds in which a signal may come

    await run_worker(settings, stop=stop)
