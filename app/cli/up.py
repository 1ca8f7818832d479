"""``coursegraph up``: API, worker and MongoDB on this machine under one parent."""

import asyncio
import contextlib
import importlib.util
import logging
import socket
import threading
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

import click

from app.cli import EXTRAS
from app.cli.serve import address_of, api_children, listen, require_keys, url_of
from app.cli.supervisor import Child, Launch, Supervisor, this_program
from app.errors import MissingExtraError
from app.settings import Settings, environment_name, load_settings
from app.store.embedded import EmbeddedMongod, PortInUseError
from app.telemetry.logging import configure_logging

log = logging.getLogger(__name__)

LOG_CHECK_SECONDS = 60.0  # between two looks at the size of mongod's log
READY_POLL_SECONDS = 0.05
READY_ANSWER_SECONDS = 5.0


@click.command("up")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the API.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option(
    "--data-dir",
    default=Path(".coursegraph"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the embedded MongoDB and fetched models are kept.",
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="API processes.")
def up_command(host: str, port: int, data_dir: Path, workers: int) -> None:
    """Run API, worker and, unless MONGODB_URI is set, an embedded MongoDB until SIGTERM or SIGINT."""
    run_up(host, port, data_dir, workers)


def run_up(host: str, port: int, data_dir: Path, workers: int, then: Callable[[str], bool] = lambda _: True) -> None:
    """Start everything, print the URL when it answers, and keep it running.

    then: called with the URL in a thread of its own once all is ready; whether to keep running after it.
    Raises ListenError, EmbeddedDatabaseError, ChildFailedError, MissingExtraError, SettingError, and what ``then``
    raises; everything is stopped before.
    """
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    for module, extra in EXTRAS.items():  # else the worker would say so at each of its starts
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(module, extra)
    with listen(host, port) as listener:
        require_keys(settings, listener, host, data_dir)
        asyncio.run(_run(settings, listener, data_dir.absolute(), workers, then))


async def _run(
    settings: Settings, listener: socket.socket, data_dir: Path, workers: int, then: Callable[[str], bool]
) -> None:
    database = None if settings.mongodb_uri else _Database(data_dir)

    def environment() -> Mapping[str, str]:
        given = {environment_name("drain_seconds"): "0"}  # nobody stands before it who could send callers elsewhere
        if database is not None:
            given["MONGODB_URI"] = database.mongod.uri
        if "cache_dir" not in settings.model_fields_set:
            given[environment_name("cache_dir")] = str(data_dir / "models")
        return given

    async def answers(_: Process) -> None:
        while not await _is_ready(listener):  # noqa: ASYNC110 - another process sets no event of ours
            await asyncio.sleep(READY_POLL_SECONDS)

    worker = Child("worker", lambda: Launch(this_program("work"), environment()))
    stages = [api_children(listener, workers, environment=environment, ready=answers), [worker]]
    if database is not None:
        stages.insert(0, [database.child()])
    supervisor = Supervisor(stages, on_stop=listener.close)

    async def when_ready() -> None:
        url = url_of(listener)
        click.echo(f"CourseGraph is ready: {url} (docs: {url}/docs)")
        if not await _in_thread(then, url):
            supervisor.stop()
        while database is not None:
            await asyncio.sleep(LOG_CHECK_SECONDS)
            database.mongod.bound_log()

    await supervisor.run(when_ready)


class _Database:
    """The embedded mongod as a child."""

    def __init__(self, data_dir: Path) -> None:
        self.mongod = EmbeddedMongod(data_dir)
        self._any_port = False
        self._has_run = False

    def child(self) -> Child:
        return Child("mongod", self._launch, self._ready, self._explain)

    def _launch(self) -> Launch:
        command = self.mongod.command(any_port=self._any_port)
        return Launch(command, output=self.mongod.open_log())

    async def _ready(self, process: Process) -> None:
        try:
            await asyncio.to_thread(self.mongod.wait_until_primary, lambda: process.returncode)
        except PortInUseError:
            self._port_is_taken()
            raise
        self._has_run, self._any_port = True, False

    def _explain(self, returncode: int) -> str:
        error = self.mongod.explain(returncode)
        if isinstance(error, PortInUseError):
            self._port_is_taken()
        return str(error)

    def _port_is_taken(self) -> None:
        """Take another if it is that of an earlier `up`; that of this one is known to clients and waited for."""
        if not self._has_run and not self._any_port:
            self._any_port = True
            # It asks whoever is there whether that is itself, and waits 30 s for one who never answers.
            log.warning("the port that mongod had is taken; moving to another may take half a minute")


async def _in_thread(call: Callable[[str], bool], url: str) -> bool:
    """The call in a thread that nobody waits for when this process ends."""
    result: Future[bool] = Future()
    result.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result.set_result(call(url))
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(result)


async def _is_ready(listener: socket.socket) -> bool:
    """Whether the API behind the socket says that it can work."""
    host, port = address_of(listener)
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(READY_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return (await reader.readline()).split(b" ")[1:2] == [b"200"]
            finally:
                writer.close()
    return False
