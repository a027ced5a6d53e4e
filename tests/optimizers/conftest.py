"""One thread, since children are forked here."""

from tests.small_runs import one_thread

__all__ = ["one_thread"]
