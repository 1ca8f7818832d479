"""``coursegraph serve``: the HTTP API, in this process or in several that share one listening socket."""

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import FrameType

import click

from app.cli.supervisor import Child, Launch, Supervisor, this_program
from app.errors import KeysNeededError, ListenError, SettingError, UnavailableError
from app.memory import keep_small
from app.settings import Settings, load_settings
from app.telemetry.logging import configure_logging
from app.telemetry.traces import Traces

BACKLOG = 2048  # connections that wait while all processes are busy or one is started again
GRACE_SECONDS = 2  # for requests in flight when asked to stop; `up` allows a stage 3

log = logging.getLogger(__name__)


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes that answer.")
@click.option("--fd", type=int, help="Listen on this inherited socket instead.")
def serve_command(host: str, port: int, workers: int, fd: int | None) -> None:
    """Run the HTTP API.  Needs MONGODB_URI."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    if settings.mongodb_uri is None:
        raise SettingError(
            "MONGODB_URI", None, "the address of a MongoDB replica set (`coursegraph up` brings its own)"
        )
    with listen(host, port) if fd is None else socket.socket(fileno=fd) as listener:
        if fd is None:
            require_keys(settings, listener, host)
            if settings.metrics_port is not None:
                with listen_apart(settings.metrics_host, settings.metrics_port) as apart:
                    require_keys(settings, apart, settings.metrics_host)
            log.info("listening on %s", url_of(listener))
        if workers == 1:
            serve(settings, listener)
        else:
            asyncio.run(_serve_by_children(listener, workers, settings.drain_seconds))


async def _serve_by_children(listener: socket.socket, workers: int, drain_seconds: float) -> None:
    children = api_children(listener, workers)
    await Supervisor([children], on_stop=listener.close, more_seconds=drain_seconds).run()


def serve(settings: Settings, listener: socket.socket) -> None:
    """Answer requests in this process until SIGTERM or SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    # One answer is too little work for several threads: they would only take the cores from the other processes.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is first imported, which is below
    keep_small()
    # Heavy, and not needed by a parent.
    import uvicorn  # noqa: PLC0415

    from app.api.application import create_application  # noqa: PLC0415
    from app.api.ports import Ports  # noqa: PLC0415
    from app.api.protocol import protocol_class  # noqa: PLC0415
    from app.api.server import Server  # noqa: PLC0415
    from app.store.traced import trace_commands  # noqa: PLC0415

    listeners = [listener]
    if settings.metrics_port is not None:
        listeners.append(listen_apart(settings.metrics_host, settings.metrics_port))
    traces = Traces.begin("api") if settings.traces else Traces()
    trace_commands(traces)
    ours = create_application(settings, local=all(map(is_local, listeners)))
    app = traces.around(ours)
    config = uvicorn.Config(
        app if settings.metrics_port is None else Ports(app, settings.metrics_port),
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=protocol_class(
            head_seconds=settings.head_timeout_seconds,
            body_seconds=settings.body_timeout_seconds,
            at_once=None if settings.traces else ours.state.at_once,
            not_on=settings.metrics_port,
        ),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    try:
        Server(config, drain_seconds=settings.drain_seconds).run(sockets=listeners)
    finally:
        traces.end()


def _exit(_: int, __: FrameType | None) -> None:
    """Uvicorn handles the signal, and raises it again at its end."""
    sys.exit(0)


def listen_apart(host: str, port: int) -> socket.socket:
    """The same, on a port that several processes share: each is asked now and then.  Raises ListenError."""
    return listen(host, port, shared=hasattr(socket, "SO_REUSEPORT"))


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that listens; children may inherit it.  Raises ListenError.

    shared: other processes may listen there too.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG, reuse_port=shared)
    except OSError as error:
        resolving = isinstance(error, socket.gaierror)
        reason = error.strerror if resolving or error.errno is None else os.strerror(error.errno)
        raise ListenError(host, port, str(reason)) from None
    listener.set_inheritable(True)
    return listener


def address_of(listener: socket.socket) -> tuple[str, int]:
    """Where this machine reaches it."""
    host, port = listener.getsockname()[:2]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104 - compared, not bound


def is_local(listener: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    if listener.family not in {socket.AF_INET, socket.AF_INET6}:
        return True  # a socket in the file system
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def require_keys(settings: Settings, listener: socket.socket, host: str, data_dir: Path | None = None) -> None:
    """Raises KeysNeededError when others than this machine reach the listener and nobody has a key.

    A database that does not answer is no reason: the API lets nobody in before it has read the keys.
    """
    if is_local(listener) or settings.admin_key is not None:
        return
    from app.cli.keys import any_valid  # noqa: PLC0415 - the driver, not needed by a parent

    try:
        if any_valid(settings, data_dir):
            return
    except UnavailableError as error:
        log.warning("whether there are keys is not known yet: %s", error)
        return
    how = "coursegraph keys create --name NAME --scope admin"
    raise KeysNeededError(host, how if settings.mongodb_uri else f"{how} --data-dir {data_dir}")


def url_of(listener: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    host, port = address_of(listener)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def api_children(
    listener: socket.socket,
    workers: int,
    *,
    environment: Callable[[], Mapping[str, str]] = dict,
    ready: Callable[[Process], Awaitable[None]] | None = None,
) -> list[Child]:
    """Processes that answer on one socket; ``environment`` is asked at each start for what they get besides ours."""

    def launch() -> Launch:
        command = this_program("serve", "--fd", str(listener.fileno()))
        return Launch(command, environment(), pass_fds=[listener.fileno()])

    return [Child(f"api-{number}", launch, ready) for number in range(1, workers + 1)]
