"""Every analysis, of a run or several, has its table of error rates: an entry among the draws without any effect."""

from functools import partial

import numpy as np
import pytest

from benchmarks.nulls.across import ENTRIES_ACROSS, SWEEP_NULLS
from benchmarks.nulls.draws import NULLS, Null, passages
from benchmarks.nulls.entries import ENTRIES, rates
from ontogeny.core.kinds import kinds_of


def test_every_analysis_has_an_entry() -> None:
    assert set(ENTRIES) == set(kinds_of("ontogeny.analyses"))
    assert set(ENTRIES_ACROSS) == set(kinds_of("ontogeny.analyses.across"))


@pytest.mark.parametrize("kind", ENTRIES)
def test_an_entry_says_something_of_a_draw(kind: str) -> None:
    drawn = ENTRIES[kind](NULLS["independent"], 0)
    assert drawn.claims


@pytest.mark.parametrize("kind", ENTRIES_ACROSS)
def test_an_entry_says_something_of_a_sweep(kind: str) -> None:
    drawn = ENTRIES_ACROSS[kind](SWEEP_NULLS["five seeds"], 0)
    assert drawn.claims
    assert None not in drawn.claims.values()
    few = ENTRIES_ACROSS[kind](SWEEP_NULLS["three seeds"], 0)
    assert set(few.claims.values()) == {None}


def test_rates_count_what_was_assessable() -> None:
    """Seeds 0 to 9, of which the even ones are assessable: three of five claim (0, 2, 4), all five hold."""
    from benchmarks.nulls.entries import Drawn

    def entry(seed: int) -> Drawn:
        return Drawn({"a": None if seed % 2 else seed < 5}, {"b": None if seed % 2 else True})

    assert rates(entry, 10) == {"a": {"claimed": 0.6, "assessable": 5}, "interval of b": {"held": 1.0, "assessable": 5}}


def test_a_difference_that_is_planted_is_claimed() -> None:
    """The same entry of a sweep finds an effect where one cell of four lies ten standard deviations off."""
    from benchmarks.nulls import across

    noise = partial(across._noise, SWEEP_NULLS["five seeds"])
    losses = 4 + 0.1 * noise(0, 4, 1)[0]
    losses[3] += 1.0
    cells = [{"a": a, "b": b} for a in "01" for b in "01"]
    levels, seeds = [cell for cell in cells for _ in range(5)], list(range(5)) * 4
    said = across.FactorialEffects().judge(levels, seeds, {"novel": losses.ravel().tolist()}).verdict
    assert said.startswith("settings that change")


def test_the_draws_are_as_alike_as_they_say() -> None:
    """400 documents of 2 passages that share 0.7 of the variance: the two correlate by about 0.7."""
    table = passages(Null(documents=200, passages=(2, 2), alike=0.7), 0)
    one, other = table.nll[:, 0::2].ravel(), table.nll[:, 1::2].ravel()
    assert np.corrcoef(one, other)[0, 1] == pytest.approx(0.7, abs=0.05)
    along = passages(Null(documents=400, correlation=0.8), 0).nll
    assert np.corrcoef(along[4], along[5])[0, 1] == pytest.approx(0.8, abs=0.05)
