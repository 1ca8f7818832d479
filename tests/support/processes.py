"""Processes that tests start, and what is left of them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import psutil


async def eventually(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 10.0) -> float:
    """Seconds until it holds; fails when that is longer than ``seconds``."""
    started = time.monotonic()
    while True:
        held = condition()
        if held if isinstance(held, bool) else await held:
            return time.monotonic() - started
        assert time.monotonic() - started < seconds, f"not within {seconds} s"
        await asyncio.sleep(0.02)


def alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; one that has ended and was not waited for does not."""
    return [process for process in processes if is_alive(process)]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def processes_in(folder: Path) -> list[psutil.Process]:
    """Whatever runs with the folder on its command line or in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if any(str(folder) in word for word in words) and is_alive(process):
            found.append(process)
    return found
