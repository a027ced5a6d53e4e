"""Small texts, and one thread."""

from tests.small_runs import one_thread, texts

__all__ = ["one_thread", "texts"]
