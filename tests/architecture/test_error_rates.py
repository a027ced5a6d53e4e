"""Every analysis has its table of error rates: an entry among the draws without any effect."""

import numpy as np
import pytest

from benchmarks.nulls.draws import NULLS, Null, passages
from benchmarks.nulls.entries import ENTRIES
from ontogeny.core.kinds import kinds_of


def test_every_analysis_has_an_entry() -> None:
    assert set(ENTRIES) == set(kinds_of("ontogeny.analyses"))


@pytest.mark.parametrize("kind", ENTRIES)
def test_an_entry_says_something_of_a_draw(kind: str) -> None:
    drawn = ENTRIES[kind](NULLS["independent"], 0)
    assert drawn.claims


def test_the_draws_are_as_alike_as_they_say() -> None:
    """400 documents of 2 passages that share 0.7 of the variance: the two correlate by about 0.7."""
    table = passages(Null(documents=200, passages=(2, 2), alike=0.7), 0)
    one, other = table.nll[:, 0::2].ravel(), table.nll[:, 1::2].ravel()
    assert np.corrcoef(one, other)[0, 1] == pytest.approx(0.7, abs=0.05)
    along = passages(Null(documents=400, correlation=0.8), 0).nll
    assert np.corrcoef(along[4], along[5])[0, 1] == pytest.approx(0.8, abs=0.05)
