"""Freed memory stays: large tensors that come and go cause no page faults after the first."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from ontogeny.train.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()

def touch():
    np.empty(10_000_000).fill(1.0)  # 80 MB: 19,531 pages of 4 KiB

touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    result = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
    return int(result.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_page_faults_are_gone_and_would_be_there_otherwise() -> None:
    kept, default = page_faults("keep"), page_faults("default")
    assert default > 5 * max(kept, 1), (kept, default)
