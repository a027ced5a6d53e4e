"""Termination and hang-up end a verb as an interrupt at the terminal does; a worker ends with its sweep."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_PR_SET_PDEATHSIG = 1
"""Linux, `man 2 prctl`: the signal that this process gets when the one that started it has ended."""


@contextmanager
def ended_by_signals() -> Iterator[list[int]]:
    """Treat termination and hang-up as an interrupt while this lasts. Yields the signals that have come.

    Libraries may make another error of the interrupt; what came says which it was.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.append(number)
        for other in before:  # both often come together; a second interrupt at the terminal still counts
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    # Ignored signals stay ignored: a sweep under nohup goes on when its terminal closes.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    before = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with(parent: int) -> bool:
    """Have this process interrupted when its parent, a process id, says so, or (on Linux) ends in whatever way.

    Interrupts count again: of the background of a shell, where sweeps run, too, processes inherit that they are
    ignored. Returns False if the parent has ended already.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    return os.getppid() == parent
