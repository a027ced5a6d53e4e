"""Pooling by hand."""

import numpy as np

from ontogeny.statistics.isotonic import non_increasing


def test_means_that_rise_are_pooled() -> None:
    assert non_increasing(np.array([5.0, 1.0, 3.0, 0.0])).tolist() == [5, 2, 2, 0]
    assert non_increasing(np.array([1.0, 2.0, 3.0])).tolist() == [2, 2, 2]
    assert non_increasing(np.array([3.0, 2.0, 1.0])).tolist() == [3, 2, 1]


def test_one_that_is_no_number_leaves_none() -> None:
    assert np.isnan(non_increasing(np.array([1.0, np.nan, 2, 0]))).all()
