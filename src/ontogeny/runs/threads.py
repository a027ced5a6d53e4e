"""Threads are part of a run's identity: sums over other numbers of threads round otherwise, and weights end otherwise.

A new run takes torch's number, which OMP_NUM_THREADS sets. A run that was begun is continued, and looked at again, on
the number that it began with.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ontogeny.core.json_types import JsonObject
from ontogeny.store.run import Run

VARIABLE = "OMP_NUM_THREADS"


def asked_threads(environment: Mapping[str, str] = os.environ) -> int | None:
    """Number of threads that the user asks for in OMP_NUM_THREADS; None if it is not set or says no number."""
    first = environment.get(VARIABLE, "").split(",")[0].strip()
    return int(first) if first.isascii() and first.isdecimal() and int(first) > 0 else None


def recorded_threads(provenance: JsonObject) -> int | None:
    """Number of threads that a run began with, as its provenance says; None where it does not."""
    threads = provenance.get("environment", {}).get("threads")
    return threads if isinstance(threads, int) and threads > 0 else None


@contextmanager
def threads_of(run: Run, tell: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Compute on as many threads as the run began with while this lasts.

    `tell`: is given one line if the number here is another: what it is set to, or that it could not be set.
    """
    import torch

    here, recorded = torch.get_num_threads(), recorded_threads(run.provenance)
    if recorded is None or recorded == here:
        yield
        return
    torch.set_num_threads(recorded)
    got = torch.get_num_threads()
    if got == recorded:
        tell(f"continuing on {recorded} thread{'s' * (recorded > 1)}, as the run began; here it would be {here}")
    else:
        tell(f"the run began on {recorded} threads, this torch computes on {got}: its weights may end otherwise")
    try:
        yield
    finally:
        torch.set_num_threads(here)
