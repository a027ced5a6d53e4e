"""What analyses found, as the page and the text show it."""

from collections.abc import Mapping
from typing import Any

from ontogeny.analyses.across._seeds import over_seeds
from ontogeny.core.analyses import Result
from ontogeny.store.run_group import Band, RunGroup


def in_order(analyses: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Analyses in the order in which questions arise."""
    order = (
        "groups",
        "content",
        "onset",
        "twins",
        "shape",
        "layers",
        "velocity",
        "forgetting",
        "transfer",
        "collapse",
        "retention",
    )
    return sorted(analyses.items(), key=lambda one: (order.index(one[0]) if one[0] in order else len(order), one[0]))


def seeds(runs: RunGroup) -> list[tuple[Band, Result]]:
    """What recurs in runs that differ in nothing but the seed."""
    found = [(band, over_seeds([run.analyses for run in band.runs])) for band in runs.bands]
    return [(band, one) for band, one in found if one is not None]
