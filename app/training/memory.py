"""Memory that one step frees and the next asks for again."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # of malloc.h, as are the values that follow
LARGEST_THRESHOLD, USUAL_MAX = 32 << 20, 65_536  # where glibc itself would have moved the threshold to by then
MOST = 2**31 - 1


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let glibc keep large blocks that are freed; given back at the end.

    A step makes and drops a dozen arrays of the size of layer 0.  By default each is mapped anew, and the kernel
    clears its pages: a fifth of the time of a step.  Elsewhere than under glibc nothing happens.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, MOST)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, USUAL_MAX)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * LARGEST_THRESHOLD)
        libc.malloc_trim(0)
