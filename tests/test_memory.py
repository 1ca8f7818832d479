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


HEAPS = """
import sys, threading
from pathlib import Path
import psutil
from app.memory import give_back, one_heap

def megabytes():
    return psutil.Process().memory_info().rss >> 20

def heaps():
    "Those of threads begin at a multiple of 64 MiB."
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sum(len(line.split()) == 5 and int(line.split("-")[0], 16) % 2**26 == 0 for line in lines)

def work():
    blocks = [bytes(4000) for _ in range(4000)]
    all_there.wait()
    kept.append(blocks[-1])  # above the others, which are freed

if sys.argv[1] == "one":
    one_heap()
kept, all_there, before, heaps_before = [], threading.Barrier(8), megabytes(), heaps()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
held, new = megabytes() - before, heaps() - heaps_before
give_back()
print(new, held, megabytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
@pytest.mark.parametrize(("wish", "several"), [("one", False), ("usual", True)])
def test_threads_share_a_heap_and_what_they_freed_goes_back(wish: str, several: bool) -> None:
    printed = subprocess.check_output([sys.executable, "-c", HEAPS, wish], text=True, timeout=60)
    new, held, left = map(int, printed.split())
    assert (new > 3) == several
    assert held > 100, "128 MB in blocks, with one of each thread's above them that is not free"
    assert left < 20
