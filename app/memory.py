"""What glibc's heap does with memory that was freed; elsewhere nothing of this has an effect."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -3, -4, -8  # of glibc's malloc.h
LARGEST_THRESHOLD, USUAL_MAPS = 32 << 20, 65_536  # where glibc itself moves the threshold to, in time; and its count
MOST = 2**31 - 1
LARGE_BYTES = 2**18  # from here on each block is mapped alone and given back when it is freed


def one_heap() -> None:
    """One heap for all threads that begin from here on, which are as many as there are waits and parts of a sum.

    By default each gets its own, and what one has freed no other uses: a worker grew by a fifth over forty runs.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(M_ARENA_MAX, 1)


def keep_small() -> None:
    """Keep what a process has for itself small: what a model needed while it was read goes back to the machine.

    One heap for all threads, and no large blocks in it; glibc would raise the bound to 32 MB by itself.
    """
    one_heap()
    libc = _glibc()
    if libc is not None:
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


def settle() -> None:
    """After something large has changed: what is there is not looked at again for cycles, and free pages go back."""
    gc.collect(1)  # the young only: all would take a tenth of a second, in which nobody is answered
    gc.freeze()
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def give_back() -> None:
    """After something large has ended, where nobody waits: what nobody uses any more goes back to the machine."""
    gc.collect()
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let the heap keep large blocks that are freed; given back at the end.

    A training step makes and drops a dozen arrays of the size of layer 0.  By default each is mapped anew, and the
    kernel clears its pages: a fifth of the time of a step.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, MOST)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, USUAL_MAPS)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * LARGEST_THRESHOLD)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None  # musl has neither
