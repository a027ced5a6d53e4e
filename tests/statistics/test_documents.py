"""Documents as units: means and halves by hand."""

import numpy as np

from ontogeny.statistics.documents import halves_of_groups, means_by_document, reporting_halves


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
