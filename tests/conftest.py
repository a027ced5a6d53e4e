"""Fixtures that several folders use."""

from tests.report.hand_made import make_run, run
from tests.small_runs import recipe, texts

__all__ = ["make_run", "recipe", "run", "texts"]
