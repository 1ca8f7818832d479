import ast
import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from app.cli import supervisor as module
from app.cli.supervisor import Child, Launch, Supervisor, this_program
from app.errors import ChildFailedError, EmbeddedDatabaseError
from tests.support.processes import eventually, is_alive

# Notes when it starts and when it is asked to stop, in a file that all children of a test share.
NOTING = """
import os, signal, sys, time
name, notes = sys.argv[1:3]
def note(event):
    with open(notes, "a") as file:
        file.write(f"{name} {event} {os.getpid()}\\n")
def stop(*_):
    note("stops")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
note("starts")
while True:
    time.sleep(60)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


class Notes:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def events(self) -> list[str]:
        return [line.rpartition(" ")[0] for line in self.path.read_text().splitlines()]

    def pid(self, name: str) -> int:
        """Of its last start."""
        return int(re.findall(rf"^{name} starts (\d+)$", self.path.read_text(), re.MULTILINE)[-1])

    async def another(self, name: str, pid: int) -> float:
        """Seconds until it has started again."""
        return await eventually(lambda: self.pid(name) != pid)

    def child(self, name: str) -> Child:
        async def ready(_: Process) -> None:
            await eventually(lambda: f"{name} starts" in self.events())

        return Child(name, lambda: Launch([sys.executable, "-c", NOTING, name, str(self.path)]), ready)


def stubborn(notes: Notes) -> Child:
    """Does not stop when asked."""
    log = notes.path.with_suffix(".log")

    async def ready(_: Process) -> None:
        await eventually(lambda: log.read_text() == "up\n")

    return Child("stubborn", lambda: Launch([sys.executable, "-c", STUBBORN], output=log.open("ab")), ready)


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes")


@contextlib.asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator["asyncio.Task[None]"]:
    """Entered once all are ready."""
    ready = asyncio.Event()

    async def when_ready() -> None:
        ready.set()

    task = asyncio.create_task(supervisor.run(when_ready))
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        yield task
    finally:
        waiting.cancel()
        supervisor.stop()
        await asyncio.wait([task])


async def test_starts_in_order_and_stops_in_reverse(notes: Notes) -> None:
    stopped: list[list[str]] = []
    supervisor = Supervisor(
        [[notes.child("first")], [notes.child("second"), notes.child("beside")], [notes.child("third")]],
        on_stop=lambda: stopped.append(notes.events()),
    )
    async with running(supervisor):
        events = notes.events()
        assert events[0] == "first starts"
        assert sorted(events[1:3]) == ["beside starts", "second starts"]
        assert events[3] == "third starts"
    assert stopped == [events]
    events = notes.events()[4:]
    assert events[0] == "third stops"
    assert sorted(events[1:3]) == ["beside stops", "second stops"]
    assert events[3] == "first stops"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_starts_again_what_dies_and_nothing_else(notes: Notes, number: signal.Signals) -> None:
    async with running(Supervisor([[notes.child("one")], [notes.child("two")]])):
        one, two = notes.pid("one"), notes.pid("two")
        os.kill(one, number)
        assert await notes.another("one", one) < 5.0
        assert notes.pid("two") == two
    assert notes.events()[-2:] == ["two stops", "one stops"]


async def test_pauses_longer_from_one_failure_to_the_next(notes: Notes, caplog: pytest.LogCaptureFixture) -> None:
    async with running(Supervisor([[notes.child("one")]])):
        for _ in range(3):
            before = notes.pid("one")
            os.kill(before, signal.SIGKILL)
            await notes.another("one", before)
    pauses = [float(pause) for pause in re.findall(r"was killed by SIGKILL; starting it again in (\S+) s", caplog.text)]
    assert pauses == [0.1, 0.2, 0.4]


async def test_a_settled_child_is_started_again_without_delay(
    notes: Notes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLED_SECONDS", 0.0)
    async with running(Supervisor([[notes.child("one")]])):
        for _ in range(2):
            before = notes.pid("one")
            os.kill(before, signal.SIGKILL)
            await notes.another("one", before)
    assert caplog.text.count("starting it again in 0.1 s") == 2


@pytest.mark.parametrize("script", ["raise SystemExit('a wrong setting')", "import os; os.abort()"])
async def test_gives_up_on_a_child_that_never_works(notes: Notes, script: str) -> None:
    failing = Child("failing", lambda: Launch([sys.executable, "-c", script]))
    async with running(Supervisor([[notes.child("one")], [failing]])) as task:
        with pytest.raises(ChildFailedError, match=r"failing does not start, given up after 3 attempts: (ended|was)"):
            await asyncio.wait_for(task, 10)
    assert notes.events() == ["one starts", "one stops"]


async def test_says_why_it_ended_in_the_words_of_the_child() -> None:
    failing = Child(
        "failing", lambda: Launch([sys.executable, "-c", "raise SystemExit(7)"]), explain=lambda code: f"code {code}!"
    )
    with pytest.raises(ChildFailedError, match="code 7!"):
        await asyncio.wait_for(Supervisor([[failing]]).run(), 10)


async def test_one_that_is_never_ready_is_killed_and_started_again(notes: Notes) -> None:
    pids: list[int] = []

    async def never(process: Process) -> None:
        pids.append(process.pid)
        raise EmbeddedDatabaseError("it does not take writes")

    child = Child("one", notes.child("one").launch, never)
    with pytest.raises(ChildFailedError, match="it does not take writes"):
        await asyncio.wait_for(Supervisor([[child]]).run(), 10)
    assert len(set(pids)) == 3
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


async def test_a_launch_that_fails_is_a_failed_start() -> None:
    def launch() -> Launch:
        raise EmbeddedDatabaseError("nothing to run")

    with pytest.raises(ChildFailedError, match="nothing to run"):
        await asyncio.wait_for(Supervisor([[Child("one", launch)]]).run(), 10)


async def test_kills_what_does_not_stop_in_time(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 1.0)
    before = psutil.Process().children()
    async with running(Supervisor([[notes.child("one")], [stubborn(notes)]])):
        children = [child for child in psutil.Process().children() if child not in before]
        assert len(children) == 2
        started = time.monotonic()
    assert 0.4 < time.monotonic() - started < 3.0
    assert not any(map(is_alive, children))
    assert notes.events()[-1] == "one stops"


async def test_an_error_of_what_comes_after_the_start_stops_all(notes: Notes) -> None:
    async def when_ready() -> None:
        raise EmbeddedDatabaseError("the story ends badly")

    with pytest.raises(EmbeddedDatabaseError, match="ends badly"):
        await Supervisor([[notes.child("one")]]).run(when_ready)
    assert notes.events() == ["one starts", "one stops"]


async def test_children_get_environment_sockets_and_an_empty_input(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    script = "import os, sys; os.write(int(sys.argv[1]), (os.environ['GIVEN'] + sys.stdin.read()).encode())"
    child = Child(
        "one",
        lambda: Launch([sys.executable, "-c", script, str(writing)], {"GIVEN": "given"}, [writing]),
    )
    async with running(Supervisor([[child]])):
        assert await asyncio.to_thread(os.read, reading, 100) == b"given"
    os.close(reading)
    os.close(writing)


# --- the parent as a process of its own

PARENT = """
import asyncio, signal, sys
from pathlib import Path
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup before the tests would have it ignored
sys.path.insert(0, sys.argv[2])
from app.cli.supervisor import Supervisor
from tests.cli.test_supervisor import Notes, stubborn
notes = Notes(Path(sys.argv[1]))
stages = [[notes.child("one")], [notes.child("two")]]
if sys.argv[3:]:
    stages.append([stubborn(notes)])
async def when_ready():
    print("ready", flush=True)
asyncio.run(Supervisor(stages).run(when_ready))
"""


@contextlib.contextmanager
def parent(notes: Notes, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", PARENT, str(notes.path), str(root), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "ready" in process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_all(notes: Notes, number: signal.Signals) -> None:
    with parent(notes) as process:
        process.send_signal(number)
        assert process.wait(10) == 0
    assert notes.events()[-2:] == ["two stops", "one stops"]


async def test_a_second_signal_kills_all_at_once(notes: Notes) -> None:
    with parent(notes, "stubborn") as process:
        children = psutil.Process(process.pid).children()
        assert len(children) == 3
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(2) == 1
    assert await eventually(lambda: not any(map(is_alive, children))) < 2.0


async def test_nothing_is_left_of_a_killed_parent(notes: Notes) -> None:
    with parent(notes, "stubborn") as process:
        children = psutil.Process(process.pid).children()
        assert len(children) == 3
        process.kill()
        process.wait()
    assert await eventually(lambda: not any(map(is_alive, children))) < 2.0


async def test_children_are_out_of_reach_of_the_terminal(notes: Notes) -> None:
    async with running(Supervisor([[notes.child("one")]])):
        assert os.getpgid(notes.pid("one")) != os.getpgid(0)


def test_children_import_what_their_parent_imports(tmp_path: Path) -> None:
    """Not the `app` of a project in whose folder somebody calls `coursegraph`."""
    foreign = tmp_path / "app"
    foreign.mkdir()
    (foreign / "__init__.py").write_text("raise RuntimeError('foreign')")
    program = Path(sys.executable).with_name("coursegraph")
    script = f"import runpy, sys; sys.argv[0] = {str(program)!r}; sys.path[0] = {str(program.parent)!r}; "
    script += "from app.cli.supervisor import this_program; print(this_program('--version'))"
    told = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    command = ast.literal_eval(told.stdout)
    assert "-P" in command
    assert "coursegraph" in subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert this_program("up")[-2:] == ["app", "up"]
