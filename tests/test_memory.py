import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from app.memory import freed_memory_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(64 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
with freed_memory_kept():
    faults()
    kept = faults()
print(first, kept, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_large_blocks_are_cleared_by_the_kernel_once_instead_of_each_time() -> None:
    printed = subprocess.check_output([sys.executable, "-c", FAULTS], text=True, timeout=60)
    before, kept, after = map(int, printed.split())
    assert kept < before / 5
    assert after > 5 * kept, "and as usual afterwards"
