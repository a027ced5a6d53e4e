"""P-values of many tests: against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ontogeny.statistics.corrections import benjamini_hochberg, bonferroni


def test_benjamini_hochberg_equals_scipy() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.5, 0.2])
    assert benjamini_hochberg(p) == pytest.approx(scipy_stats.false_discovery_control(p))
    with_nan = benjamini_hochberg(np.array([0.01, np.nan, 0.04]))
    assert with_nan[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(with_nan[1])


def test_bonferroni_by_hand() -> None:
    assert bonferroni(np.array([0.01, 0.4]), 3) == pytest.approx([0.03, 1])
