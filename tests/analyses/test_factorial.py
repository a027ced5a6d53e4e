"""Main effects and interaction, beside figures worked by hand, planted effects and noise."""

from itertools import product

import numpy as np
import pytest

from ontogeny.analyses._factorial import analyze


def design(seeds: int = 5) -> list[dict[str, str]]:
    return [{"a": a, "b": b} for _ in range(seeds) for a, b in product("12", "xy")]


def test_by_hand() -> None:
    """Cells 1x: 0, 2; 1y: 4, 6; 2x: 1, 3; 2y: 9, 11. Means 1, 5, 2, 10. a: (2 + 10) / 2 - (1 + 5) / 2 = 3; b: 6.

    Within: 8 x 1 = 8 on 4 degrees of freedom, variance 2; error of an effect sqrt(2 x 2 / 4) = 1; t(0.975, 4) = 2.776.
    Additive fit of 1x: 4.5 - 1.5 - 3 = 0, so 1 apart in every cell: interaction 2 x 4 x 1 = 8, F = 8 / 1 / 2 = 4.
    """
    found = analyze(design(2), [0, 4, 1, 9, 2, 6, 3, 11])
    assert found is not None
    a, b = found.effects
    assert (a.value, b.value) == (3, 6)
    assert (a.low, a.high) == pytest.approx((3 - 2.776, 3 + 2.776), abs=1e-3)
    assert found.interaction_f == pytest.approx(4)
    assert not found.claims


def test_agrees_with_a_t_test_where_there_is_one_factor() -> None:
    from scipy import stats

    y = np.random.default_rng(0).normal(0, 1, 20)
    levels = [{"a": "1" if i < 10 else "2"} for i in range(20)]
    found = analyze(levels, y.tolist())
    assert found is not None
    assert found.effects[0].p == pytest.approx(stats.ttest_ind(y[10:], y[:10]).pvalue)
    assert np.isnan(found.interaction_p)


def test_planted_effects_and_none() -> None:
    """b adds 1; a and the interaction add nothing. Over 200 draws a is claimed at 5% at most, by a binomial bound."""
    claims = interactions = missed = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        levels = design()
        found = analyze(levels, [float(one["b"] == "y") + random.normal(0, 0.3) for one in levels])
        assert found is not None
        a, b = found.effects
        claims += a.p < 0.05
        missed += b.p > 0.05
        interactions += found.interaction_p < 0.05
    assert claims <= 12  # Bonferroni over two: 5 expected, 13 or more have a probability of 0.2%
    assert interactions <= 19  # 10 expected, 20 or more: 0.3%
    assert missed == 0


def test_incomplete_designs_are_not_assessable() -> None:
    assert analyze(design(1), [0, 1, 2, 3]) is None
    assert analyze(design(2)[:-1], [0.0] * 7) is None
    assert analyze([], []) is None
    assert analyze(design(2), [0.0] * 7 + [float("nan")]) is None
