"""Arrays that need not be in memory."""

import os
import tempfile

import numpy as np
from numpy.typing import DTypeLike

from app.training.checkpoint import Array

LEAST_BYTES = 16 << 20  # a file for less saves nothing that would be seen


def scratch(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """An array without values, for what is written once and read in order: if it is large, in a file without a name.

    The kernel writes such pages to the disk when it needs the memory.  Where the disk has no room, in memory.
    """
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if n_bytes < LEAST_BYTES or not hasattr(os, "posix_fallocate"):
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(prefix="coursegraph-") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, n_bytes)  # a page without room on the disk would end the process
        except OSError:
            return np.empty(shape, dtype)
        return np.memmap(file, dtype, "r+", shape=shape)
