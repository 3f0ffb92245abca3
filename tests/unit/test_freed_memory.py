"""Freed memory is used again instead of being fetched from the system."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from melissa_like.server.freed_memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        blocks = [np.empty(3 * 2**20, np.uint8) for _ in range(4)]
        for block in blocks:
            block[::4096] = 1
        del blocks, block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_freed_memory()
faults()
print(kept, faults())
"""


def test_a_block_freed_and_asked_for_again_costs_no_page_faults() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    kept, num_faults = done.stdout.split()
    if kept == "False":
        pytest.skip("the C library is not glibc")
    assert int(num_faults) < 50 * 4  # of 150,000 pages touched
