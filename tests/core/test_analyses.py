"""Results of analyses as JSON knows them."""

from dataclasses import dataclass

import numpy as np

from ontogeny.core.analyses import plain


@dataclass
class _Interval:
    low: float
    high: float


def test_a_dataclass_is_a_mapping_with_null_for_what_is_not_finite() -> None:
    assert plain({"share": _Interval(0.25, float("inf"))}) == {"share": {"low": 0.25, "high": None}}


def test_arrays_are_lists() -> None:
    assert plain(np.array([[1, 2]])) == [[1, 2]]
