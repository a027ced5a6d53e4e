"""CPU time of a call, for tests that bound it. Budgets are many times what was measured: machines differ."""

import time
from collections.abc import Callable


def cpu_seconds(call: Callable[[], object]) -> float:
    """CPU seconds of this process during a call; waiting for a busy machine does not count."""
    started = time.process_time()
    call()
    return time.process_time() - started
