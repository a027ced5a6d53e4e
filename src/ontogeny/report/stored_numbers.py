"""The numbers of analyses, as runs store them."""

from collections.abc import Mapping
from typing import Any

from ontogeny.store.run_group import RunView

Numbers = Mapping[str, Any]
"""`core.analyses.Result.numbers` read back from JSON. Each analysis has its own keys, and stores NaN as None."""


def numbers_of(run: RunView, analysis: str) -> Numbers:
    """The numbers of that kind of analysis; empty where the run was not analyzed so."""
    result = run.analyses.get(analysis)
    return result["numbers"] if result is not None else {}
