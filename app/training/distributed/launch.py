"""Starting ranks: those of this machine by ourselves, those of several by torchrun."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store, TCPStore  # torch.distributed has them too, without types
from torch.distributed.rendezvous import rendezvous

from app.errors import RankLostError, TrainingError
from app.leash import leashed
from app.training.checkpoint import Checkpoint
from app.training.distributed.board import Board, Ends
from app.training.distributed.group import Group
from app.training.distributed.meeting import met
from app.training.fit import fit_part
from app.training.part import Part
from app.training.ranks import ALONE, Do, Ranks
from app.training.users import WHAT, of_part

HOST = "127.0.0.1"
START_SECONDS = 120.0  # until every rank is there; importing torch takes some on a busy machine
STARTS = 3  # after a rank was lost, before the run is given up
MODULE = "app.training.distributed"  # ranks that can fit, and run no errands
LOOPBACK = {"linux": "lo", "darwin": "lo0"}


@contextmanager
def local_ranks(
    size: int, timeout_seconds: float, *, module: str = MODULE, environment: Mapping[str, str] | None = None
) -> Iterator[Ranks]:
    """``size`` ranks on this machine; this process is the first and the others end with the block.

    To be used by one thread: the others end with it, and it alone computes with its share of the cores.
    timeout_seconds: how long one waits for another in the middle of a fit.  module: what the others run, with more
    variables of the environment; it calls ``serve``.  Raises RankLostError.
    """
    if size == 1:
        yield ALONE
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // size))
    group = LocalGroup(size, timeout_seconds, module=module, environment=environment)
    try:
        yield group
    finally:
        group.close()
        torch.set_num_threads(threads)


def under_torchrun(environment: Mapping[str, str]) -> bool:
    """Whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in environment and int(environment.get("WORLD_SIZE", "1")) > 1


@contextmanager
def torchrun_ranks(environment: Mapping[str, str], timeout_seconds: float) -> Iterator[Group]:
    """This process as torchrun's variables say.  Raises RankLostError."""
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    with _said(rank, size):
        found, _, _ = next(rendezvous("env://", rank, size, timeout=timedelta(seconds=START_SECONDS)))
        store = met(found, rank, size, START_SECONDS)
        _join(store, rank, size, timeout_seconds)
    group = Group(store, int(environment.get("LOCAL_RANK", "0")), patience_seconds=timeout_seconds)
    try:
        yield group
    finally:
        if group.rank == 0:
            with suppress(RankLostError):
                group.end()
        dist.destroy_process_group()


def no_errand(request: Checkpoint, part: Part | None) -> Checkpoint:
    """For ranks that can only fit."""
    return Checkpoint({}, {"failed": "this rank runs no errands"})


def follow(group: Group, do: Do = no_errand) -> None:
    """What every rank but the first does: its part of one fit or errand after the other.  Raises RankLostError.

    The users' vectors of a fit that leaves them here are kept until the next.
    """
    part: Part | None = None

    def errand(request: Checkpoint) -> Checkpoint:
        return of_part(part, request) if WHAT in request.values else do(request, part)

    while (work := group.next_work()) is not None:
        if isinstance(work, Checkpoint):
            group.run_errand(work, errand)
            continue
        part = None
        try:
            part = fit_part(work, group).owned.part
        except RankLostError:
            raise
        except TrainingError:
            continue  # cancelled or diverged: of all ranks, and the first says so


class LocalGroup(Group):
    """The first of several ranks on this machine, which starts the others, anew when one was lost."""

    def __init__(
        self, size: int, timeout_seconds: float, *, module: str = MODULE, environment: Mapping[str, str] | None = None
    ) -> None:
        self._wanted, self._timeout = size, timeout_seconds
        self._module, self._environment = module, dict(environment or {})
        self._starts = 0
        self._others: list[subprocess.Popen[bytes]] = []
        self._board = None
        try:
            self._start()
        except BaseException:
            self._stop()
            raise

    def _start(self) -> None:
        self._starts += 1
        wait = timedelta(seconds=START_SECONDS)
        interface = LOOPBACK.get(sys.platform)
        if interface is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        ends = Ends.of_ranks(self._wanted)
        self._board = Board(0, ends[0], self._timeout) if ends else None
        with _said(0, self._wanted), ExitStack() as given:
            for end in ends[1:]:
                given.callback(end.close)  # or a rank that ended would not be seen to
            store = TCPStore(HOST, 0, self._wanted, is_master=True, timeout=wait, wait_for_workers=False)
            environment = {**os.environ, **self._environment, "OMP_NUM_THREADS": str(torch.get_num_threads())}
            for rank in range(1, self._wanted):
                inherited = ends[rank].descriptors if ends else []
                place = [HOST, store.port, rank, self._wanted, self._timeout, *inherited]
                command = leashed([sys.executable, "-m", self._module, *map(str, place)])
                process = subprocess.Popen(command, env=environment, pass_fds=inherited)  # noqa: S603 - our own
                self._others.append(process)
            _join(store, 0, self._wanted, self._timeout)
        super().__init__(store, local=0, patience_seconds=self._timeout, board=self._board)

    def renewed(self) -> bool:
        """Start all others anew, a few times."""
        if self._starts == STARTS:
            return False
        self._stop()
        self._start()
        return True

    def _ended(self, rank: int) -> bool:
        return self._others[rank - 1].poll() is not None

    @property
    def others(self) -> list[int]:
        """Process ids."""
        return [process.pid for process in self._others]

    def close(self) -> None:
        """End the others, which are idle or lost."""
        with suppress(RankLostError):
            self.end()
        for process in self._others:
            with suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
        self._stop()

    def _stop(self) -> None:
        for process in self._others:
            process.kill()
            process.wait()
        self._others.clear()
        if self._board is not None:
            self._board.close()
        if dist.is_initialized():
            dist.destroy_process_group()


def serve(arguments: Sequence[str], do: Do = no_errand) -> None:
    """Be one of the ranks that ``LocalGroup`` starts: HOST PORT RANK SIZE TIMEOUT_SECONDS [DESCRIPTOR...]."""
    host, port, rank, size, timeout_seconds = arguments[0], *map(int, arguments[1:4]), float(arguments[4])
    inherited = [int(descriptor) for descriptor in arguments[5:]]
    board = Board(rank, Ends.inherited(inherited), timeout_seconds) if inherited else None
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, for the first rank: it ends this one
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    with _said(rank, size):
        store = TCPStore(host, port, size, is_master=False, timeout=timedelta(seconds=START_SECONDS))
        _join(store, rank, size, timeout_seconds)
    follow(Group(store, local=rank, patience_seconds=timeout_seconds, board=board), do)
    dist.destroy_process_group()


def _join(store: Store, rank: int, size: int, timeout_seconds: float) -> None:
    """Make the process group; the waits in it are short only once everybody is there."""
    here = f"here/{rank}"
    store.set(here, "")
    store.wait([f"here/{other}" for other in range(size)], timedelta(seconds=START_SECONDS))
    with _new_threads_that_wait():
        dist.init_process_group(
            _backend(), store=store, rank=rank, world_size=size, timeout=timedelta(seconds=timeout_seconds)
        )


@contextmanager
def _new_threads_that_wait() -> Iterator[None]:
    """Threads begun in here do not take the core from one that computes as soon as they have something to do.

    The thread of gloo that reads sockets turns round and round while another holds its lock to send; where it has
    taken the core from just that one, a sum over the ranks of a machine takes milliseconds instead of a third of one.
    """
    if sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _backend() -> str:
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"


@contextmanager
def _said(rank: int, size: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RankLostError(rank, size, f"not all came together: {error}") from error
