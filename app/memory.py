"""Memory that a process has for itself, kept small: what a model needed while it was read goes back to the machine."""

import ctypes
import gc
import sys

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of glibc's malloc.h
LARGE_BYTES = 2**18  # from here on each block is mapped alone and given back when it is freed


def keep_small() -> None:
    """One heap for all threads, and no large blocks in it; glibc would raise the bound to 32 MB by itself."""
    libc = _glibc()
    if libc is not None:
        libc.mallopt(M_ARENA_MAX, 1)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


def settle() -> None:
    """After something large has changed: what is there is not looked at again for cycles, and free pages go back."""
    gc.collect(1)  # the young only: all would take a tenth of a second, in which nobody is answered
    gc.freeze()
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None  # musl has neither
