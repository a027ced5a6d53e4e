"""Bands over many means: by an independent draw, at the promised rate, and with an effect planted."""

import numpy as np
import pytest

from ontogeny.statistics.simultaneous import simultaneous_band


def test_one_mean_has_about_the_t_interval() -> None:
    """30 documents, one mean: +- 2.045 standard errors (t with 29 degrees of freedom)."""
    values = np.random.default_rng(0).normal(size=(30, 1))
    band = simultaneous_band(values, np.random.default_rng(1), 20_000)
    error = values.std(ddof=1) / np.sqrt(30)
    assert band.value[0] == pytest.approx(values.mean())
    assert (band.high[0] - band.value[0]) / error == pytest.approx(2.045, abs=0.08)


@pytest.mark.parametrize("documents", [8, 20])
def test_all_of_many_means_are_held_at_once(documents: int) -> None:
    """6 curves of 9 points that go together; 200 draws at 95%: fewer than 181 held have a probability of 0.3%."""
    held = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        values = random.normal(size=(documents, 6, 9)) + random.normal(size=(documents, 1, 9))
        band = simultaneous_band(values, random, 400)
        held += not ((band.low > 0) | (band.high < 0)).any()
    assert held >= 181


def test_a_planted_mean_is_outside_and_a_constant_one_has_no_width() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(20, 12))
    values[:, 3] += 2
    values[:, 5] = 7
    band = simultaneous_band(values, random)
    assert band.low[3] > 0
    assert (band.low[5], band.high[5]) == (7, 7)
    assert not ((band.low > 0) | (band.high < 0))[[0, 1, 2, 4, 6]].any()
