"""Fixtures that several folders use."""

from tests.report.hand_made import make_run, run
from tests.small_runs import recipe, texts
from tests.verbs.conftest import ontogeny

__all__ = ["make_run", "ontogeny", "recipe", "run", "texts"]
