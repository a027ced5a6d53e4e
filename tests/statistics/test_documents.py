"""Documents as units: means and halves by hand."""

import numpy as np
import pytest

from ontogeny.statistics.documents import halves_of_groups, means_by_document, reporting_halves, share_interval
from ontogeny.statistics.intervals import wilson


def test_means_by_document_by_hand() -> None:
    """Document 0 has 1 and 3; document 1 has 5 and a missing one; document 2 only a missing one."""
    values = np.array([[1.0, 5.0, 3.0, np.nan, np.nan]])
    found = means_by_document(values, np.array([0, 1, 0, 1, 2]))
    assert found[0, :2].tolist() == [2, 5]
    assert np.isnan(found[0, 2])


def test_halves_share_no_document() -> None:
    one, two = halves_of_groups([np.arange(7), np.arange(7, 12)], np.random.default_rng(0))
    assert sorted([*one, *two]) == list(range(12))
    assert sum(i < 7 for i in one) == 4


def test_each_document_reports_once_in_each_split() -> None:
    halves = np.array(list(reporting_halves(7, np.random.default_rng(0), splits=3)))
    assert halves.shape == (6, 7)
    assert (halves[0::2] == ~halves[1::2]).all()
    assert halves.sum(axis=1).tolist() == [3, 4, 3, 4, 3, 4]


def test_a_share_of_single_passages_is_wilsons_with_t() -> None:
    """3 of 10 documents: SE^2 = 10/9 * 2.1 / 100, n' = 0.21 / 0.02333 = 9, times (1.96 / 2.262)^2 = 6.76."""
    low, high = share_interval(np.arange(10) < 3, np.arange(10))
    expected = wilson(np.array(0.3), np.array(9 * (1.959964 / 2.262157) ** 2))
    assert (low, high) == pytest.approx((float(expected[0]), float(expected[1])), abs=1e-6)


def test_passages_that_are_all_alike_count_as_one_document() -> None:
    """Ten documents of six copies each tell as much as ten passages; none of ten reached is at most about a third."""
    document = np.arange(10).repeat(6)
    assert share_interval(document < 3, document) == pytest.approx(share_interval(np.arange(10) < 3, np.arange(10)))
    low, high = share_interval(np.zeros(60, dtype=bool), document)
    assert low == 0
    assert 0.3 < high < 0.4


def test_a_share_of_one_document_has_no_interval() -> None:
    assert np.isnan(share_interval(np.ones(6, dtype=bool), np.zeros(6))).all()


@pytest.mark.parametrize("documents", [10, 30])
def test_a_share_is_held_where_passages_are_clustered(documents: int) -> None:
    """Six passages of a document share its chance, 0 or 1 or between (mean 0.4); by passages Wilson's holds 34 to 64%.
    400 draws: asked 92%.
    """
    held = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        chance = random.beta(0.4, 0.6, documents).repeat(6)
        low, high = share_interval(random.random(6 * documents) < chance, np.arange(documents).repeat(6))
        held += low <= 0.4 <= high
    assert held >= 368
