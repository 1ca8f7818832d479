"""One parent for several processes: starts them in order, starts again what dies, stops them in reverse.

Nothing is left behind: each child is tied to the life of this process (`app.leash`), so it ends even when this
one is killed, and whatever does not stop in time is killed.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from app.errors import ChildFailedError, CourseGraphError
from app.leash import leashed

STOP_SECONDS = 9.0  # for all stages together; one that is quick leaves its time to the next
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 10.0  # before a new start, doubled from one failure to the next
SETTLED_SECONDS = 10.0  # who has lived as long as this has started well
ATTEMPTS = 3  # starts in a row that may fail before a child that never worked is given up
KILLED = {-signal.SIGKILL, -signal.SIGTERM}  # by a person, or for want of memory: not a failure of its own

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a child this time; ``output`` takes what it prints, which else goes where ours does."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)  # besides our own
    pass_fds: Sequence[int] = ()
    output: IO[bytes] | None = None


def this_program(*arguments: str) -> list[str]:
    """Command line of ``coursegraph`` with these arguments, as a child that imports what this process imports."""
    # `-m` looks into the working directory first, where there may be an `app` of somebody else.
    safe = [] if str(Path.cwd()) in sys.path or "" in sys.path else ["-P"]
    return [sys.executable, *safe, "-m", "app", *arguments]


def by_status(returncode: int) -> str:
    """What an exit status says of a child that prints where we do."""
    if returncode < 0:
        return f"was killed by {signal.Signals(-returncode).name}"
    return f"ended with status {returncode}, for the reason printed above"


@dataclass(frozen=True, slots=True)
class Child:
    """A process to be kept alive.

    launch: called for each start.  ready: waits until the process does its work, or raises a CourseGraphError
    when it cannot; without it nobody waits.  explain: why it ended, from its exit status.
    """

    name: str
    launch: Callable[[], Launch]
    ready: Callable[[Process], Awaitable[None]] | None = None
    explain: Callable[[int], str] = by_status


class Supervisor:
    """Keeps the children of all stages alive until it is told to stop.

    A stage starts when all of the one before are ready; they stop in reverse order, after a call of ``on_stop``.
    more_seconds: what they may take for it beyond STOP_SECONDS.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[Child]],
        *,
        on_stop: Callable[[], None] = lambda: None,
        more_seconds: float = 0.0,
    ) -> None:
        self._stages = [[_Keeper(child) for child in stage] for stage in stages]
        self._on_stop, self._more_seconds = on_stop, more_seconds
        self._stopping = asyncio.Event()

    async def run(self, when_ready: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """Until SIGTERM or SIGINT, or until ``when_ready`` (called once all are ready) calls ``stop``.

        A second signal kills all at once and exits with status 1.  Raises ChildFailedError when a child that has
        never worked fails again and again, and whatever ``when_ready`` raises; all children are stopped before.
        """
        with self._signals():
            tasks = [asyncio.create_task(self._start(when_ready)), asyncio.create_task(self._stopping.wait())]
            tasks += [asyncio.create_task(keeper.give_up()) for stage in self._stages for keeper in stage]
            try:
                await _first_end(tasks)
            finally:
                self._on_stop()
                await self._stop()

    def stop(self) -> None:
        """Stop all children and let ``run`` return."""
        self._stopping.set()

    async def _start(self, when_ready: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
        for stage in self._stages:
            for keeper in stage:
                keeper.start()
            for keeper in stage:
                await keeper.ready.wait()
        if when_ready is not None:
            await when_ready()
        await self._stopping.wait()

    async def _stop(self) -> None:
        deadline = asyncio.get_running_loop().time()
        for stage in reversed(self._stages):
            deadline += (STOP_SECONDS + self._more_seconds) / len(self._stages)
            await asyncio.gather(*(keeper.stop(deadline) for keeper in stage))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup has it ignored
            numbers.append(signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._on_signal)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        if not self._stopping.is_set():
            self._stopping.set()
            return
        for stage in self._stages:
            for keeper in stage:
                keeper.kill()
        sys.stderr.flush()
        os._exit(1)


class _Keeper:
    """One child: the process of the moment, and the task that starts the next."""

    def __init__(self, child: Child) -> None:
        self.ready = asyncio.Event()
        self._child = child
        self._process: Process | None = None
        self._works = False  # whether it ever did
        self._task: asyncio.Task[None] | None = None
        self._started = asyncio.Event()

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep())
        self._started.set()

    async def give_up(self) -> None:
        """Waits for a child that fails again and again, and raises its ChildFailedError."""
        await self._started.wait()
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self, deadline: float) -> None:
        """Ask the process to end, and kill it at the deadline (of the loop's clock)."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout_at(deadline):
                await process.wait()
        except TimeoutError:
            log.warning("%s did not stop in time and is killed", self._child.name)
            self.kill()
            await process.wait()

    def kill(self) -> None:
        """Kill the process and those that it started."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _keep(self) -> None:
        clock = asyncio.get_running_loop().time
        pause, failures = FIRST_PAUSE_SECONDS, 0
        while True:
            began = clock()
            reason, killed = await self._live()
            if clock() - began >= SETTLED_SECONDS:
                self._works, pause = True, FIRST_PAUSE_SECONDS
            failures += not killed
            if failures >= ATTEMPTS and not self._works:
                raise ChildFailedError(self._child.name, reason, failures)
            log.warning("%s: %s; starting it again in %.1f s", self._child.name, reason, pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _live(self) -> tuple[str, bool]:
        """One life of the child; why it ended, and whether somebody else did it."""
        self._process = None
        try:
            process = self._process = await _spawn(self._child.launch())
            log.info("%s runs as process %d", self._child.name, process.pid)
            await self._await_ready(process)
            returncode = await process.wait()
            return self._child.explain(returncode), returncode in KILLED
        except CourseGraphError as error:
            self.kill()
            if self._process is not None:
                await self._process.wait()
            return str(error), False

    async def _await_ready(self, process: Process) -> None:
        """Until the child is ready or has ended."""
        if self._child.ready is None:
            self.ready.set()
            return
        ready = asyncio.ensure_future(self._child.ready(process))
        ended = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait([ready, ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            ended.cancel()
        if ready.done():
            ready.result()
            self._works = True
            self.ready.set()


async def _spawn(launch: Launch) -> Process:
    """Started in this thread, on whose life the child's depends, and out of reach of the terminal's Ctrl-C."""
    with contextlib.ExitStack() as stack:
        if launch.output is not None:
            stack.enter_context(launch.output)  # the child has its own copy
        return await asyncio.create_subprocess_exec(
            *leashed(launch.command),
            stdin=DEVNULL,
            stdout=launch.output,
            stderr=launch.output,
            env={**os.environ, **launch.environment},
            pass_fds=launch.pass_fds,
            start_new_session=True,
        )


async def _first_end(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    """Wait until one task ends, cancel the others, raise the error of one that failed."""
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
