"""Main effects and interaction, beside figures worked by hand, planted effects and noise."""

from itertools import product

import numpy as np
import pytest

from ontogeny.analyses.across.factorial import FactorialEffects, crossed_effects
from ontogeny.core.errors import StoreError


def design(seeds: int = 5) -> list[dict[str, str]]:
    return [{"a": a, "b": b} for _ in range(seeds) for a, b in product("12", "xy")]


def test_by_hand() -> None:
    """Cells 1x: 0, 2; 1y: 4, 6; 2x: 1, 3; 2y: 9, 11. Means 1, 5, 2, 10. a: (2 + 10) / 2 - (1 + 5) / 2 = 3; b: 6.

    Within: 8 x 1 = 8 on 4 degrees of freedom, variance 2; error of an effect sqrt(2 x 2 / 4) = 1; t(0.975, 4) = 2.776.
    Additive fit of 1x: 4.5 - 1.5 - 3 = 0, so 1 apart in every cell: interaction 2 x 4 x 1 = 8, F = 8 / 1 / 2 = 4.
    """
    found = crossed_effects(design(2), [0, 4, 1, 9, 2, 6, 3, 11])
    assert found is not None
    a, b = found.effects
    assert (a.value, b.value) == (3, 6)
    assert (a.low, a.high) == pytest.approx((3 - 2.776, 3 + 2.776), abs=1e-3)
    assert found.interaction_f == pytest.approx(4)
    assert not found.claims


def test_without_seeds_it_is_a_t_test_where_there_is_one_factor() -> None:
    from scipy import stats

    y = np.random.default_rng(0).normal(0, 1, 20)
    levels = [{"a": "1" if i < 10 else "2"} for i in range(20)]
    found = crossed_effects(levels, y.tolist())
    assert found is not None
    assert found.effects[0].p == pytest.approx(stats.ttest_ind(y[10:], y[:10]).pvalue)
    assert not found.paired
    assert np.isnan(found.interaction_p)


def test_planted_effects_and_none() -> None:
    """b adds 1; a and the interaction add nothing. Over 200 draws a is claimed at 5% at most, by a binomial bound."""
    claims = interactions = missed = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        levels = design()
        found = crossed_effects(levels, [float(one["b"] == "y") + random.normal(0, 0.3) for one in levels])
        assert found is not None
        a, b = found.effects
        claims += a.p < 0.05
        missed += b.p > 0.05
        interactions += found.interaction_p < 0.05
    assert claims <= 12  # Bonferroni over two: 5 expected, 13 or more have a probability of 0.2%
    assert interactions <= 19  # 10 expected, 20 or more: 0.3%
    assert missed == 0


SEEDS = np.repeat(np.arange(5), 4).tolist()


def test_paired_agrees_with_paired_t_tests() -> None:
    """Of a 2 x 2 design every effect, and the interaction, is one contrast: its F is the t of that contrast squared."""
    from scipy import stats

    y = np.random.default_rng(1).normal(0, 1, (5, 4)) + np.array([0, 0.3, 1, 3]) + 10 * np.arange(5)[:, None]
    found = crossed_effects(design(), y.ravel().tolist(), SEEDS)
    assert found is not None
    assert found.paired
    x1, y1, x2, y2 = y.T
    a = stats.ttest_1samp((x2 + y2 - x1 - y1) / 2, 0)
    assert found.effects[0].p == pytest.approx(2 * a.pvalue)
    assert (found.effects[0].low, found.effects[0].high) == pytest.approx(tuple(a.confidence_interval()))
    both = stats.ttest_1samp(y2 - x2 - y1 + x1, 0)
    assert (found.interaction_f, found.interaction_p) == pytest.approx((both.statistic**2, both.pvalue))
    simple = {(one.factor, *one.where.values()): one for one in found.simple}
    assert len(simple) == 4
    alone = stats.ttest_rel(y2, x2)
    assert simple["b", "2"].p == pytest.approx(min(4 * alone.pvalue, 1))
    assert (simple["b", "2"].low, simple["b", "2"].high) == pytest.approx(tuple(alone.confidence_interval()))


def test_interaction_agrees_with_an_analysis_of_variance_in_blocks() -> None:
    """2 x 3 cells: F of the interaction beside its residual within seeds, from sums of squares of least squares fits of
    indicator columns; epsilon from the double-centred covariance of the cells (Box 1954), not from contrasts."""
    from scipy import stats

    random = np.random.default_rng(2)
    table = random.normal(0, [1, 1, 2, 1, 3, 1], (6, 6)) + random.normal(0, 5, (6, 1)) + np.array([0, 1, 2, 0, 1, 4])
    a, b, seed = (one.ravel() for one in np.meshgrid(range(2), range(3), range(6), indexing="ij"))
    y = table.T.ravel()
    found = crossed_effects([{"a": str(i), "b": str(j)} for i, j in zip(a, b, strict=True)], y.tolist(), seed.tolist())
    assert found is not None

    def residual(*groups: np.ndarray) -> tuple[float, int]:
        columns = np.column_stack([(group[:, None] == np.unique(group)).astype(float) for group in groups])
        fit, *_ = np.linalg.lstsq(columns, y, rcond=None)
        return float(((y - columns @ fit) ** 2).sum()), int(np.linalg.matrix_rank(columns))

    (without, few), (full, many) = residual(a * 9 + seed, b * 9 + seed), residual(a * 9 + seed, b * 9 + seed, a * 9 + b)
    error, freedom = full, len(y) - many
    f = (without - full) / (many - few) / (error / freedom)
    assert found.interaction_f == pytest.approx(f)
    apart = table[:, 3:] - table[:, :3]  # of the second level of a from the first, at each of b: [seeds, 3]
    spread = np.cov(apart, rowvar=False)
    spread = spread - spread.mean(axis=0) - spread.mean(axis=1, keepdims=True) + spread.mean()
    epsilon = np.trace(spread) ** 2 / (2 * (spread**2).sum())
    assert found.interaction_p == pytest.approx(stats.f.sf(f, 2 * epsilon, freedom * epsilon))


def test_what_a_seed_does_to_all_cells_is_no_noise() -> None:
    """Seeds differ by 2, cells of one seed by 0.3, the effect is 1: always hidden unpaired, found paired."""
    hidden = found = 0
    for draw in range(100):
        random = np.random.default_rng(draw)
        levels = [{"b": name} for _ in range(5) for name in "xy"]
        y = np.repeat(random.normal(0, 2, 5), 2) + random.normal(0, 0.3, 10) + np.tile([0.0, 1.0], 5)
        paired, unpaired = (
            crossed_effects(levels, y.tolist(), np.repeat(range(5), 2).tolist()),
            crossed_effects(levels, y.tolist()),
        )
        assert paired is not None
        assert unpaired is not None
        found += paired.effects[0].p < 0.05
        hidden += unpaired.effects[0].p > 0.05
    assert hidden >= 90
    assert found >= 90


def test_nothing_planted_is_claimed_in_a_twentieth() -> None:
    """500 sweeps of nothing, 2 x 3 cells, seeds that differ, and cells four times as noisy as others (a pooled error
    fails there): any main effect, any simple one, the interaction. 25 expected each, 40 or more: 0.3%."""
    any_main = any_simple = interactions = 0
    levels = [{"a": a, "b": b} for _ in range(5) for a, b in product("12", "xyz")]
    seeds = np.repeat(range(5), 6).tolist()
    for draw in range(500):
        random = np.random.default_rng(draw)
        y = random.normal(0, [1, 1, 1, 1, 1, 4], (5, 6)) + random.normal(0, 3, (5, 1))
        found = crossed_effects(levels, y.ravel().tolist(), seeds)
        assert found is not None
        any_main += min(one.p for one in found.effects) < 0.05
        any_simple += min(one.p for one in found.simple) < 0.05
        interactions += found.interaction_p < 0.05
    assert any_main < 40
    assert any_simple < 40
    assert interactions < 40


def test_seeds_that_a_cell_lacks_are_left_out() -> None:
    """Seed 4 lacks its last cell: as if it had not been. With no two seeds in common it is not paired, and says so."""
    y = np.random.default_rng(3).normal(0, 1, 20).tolist()
    found, four = crossed_effects(design()[:-1], y[:-1], SEEDS[:-1]), crossed_effects(design(4), y[:16], SEEDS[:16])
    assert found is not None
    assert four is not None
    assert found.left_out == (4,)
    assert found.effects == four.effects
    others = crossed_effects(design(2), y[:8], list(range(8)))
    assert others is not None
    assert not others.paired


def test_incomplete_designs_are_not_assessable() -> None:
    assert crossed_effects(design(1), [0, 1, 2, 3]) is None
    assert crossed_effects(design(2)[:-1], [0.0] * 7) is None
    assert crossed_effects([], []) is None
    assert crossed_effects(design(2), [0.0] * 7 + [float("nan")]) is None


def test_where_nothing_varies_between_seeds_nothing_is_claimed() -> None:
    """All alike, and one cell a rounding above; beside it, differences of a thousandth are told."""
    alike = [{"a": a, "b": b} for _ in range(5) for a, b in product("123", "xyz")]
    names = [seed for seed in range(5) for _ in range(9)]
    same = crossed_effects(alike, [4.7 + (1e-15 if one["a"] == "2" else 0) for one in alike], names)
    assert same is not None
    assert all(np.isnan([one.p, one.low, one.high]).all() for one in (*same.effects, *same.simple))
    random = np.random.default_rng(0)
    told = crossed_effects(alike, [4.7 + 0.001 * int(one["a"]) + 1e-4 * random.normal() for one in alike], names)
    assert told is not None
    assert told.effects[0].p < 0.01


def test_where_settings_interact_each_effect_is_told_by_itself() -> None:
    """b adds 1 where a is 1 and takes 1 off where a is 2: on average nothing, which is not all there is to say."""
    random = np.random.default_rng(0)
    levels = design()
    losses = np.array([(run["b"] == "y") * (1.0 if run["a"] == "1" else -1.0) for run in levels])
    (said,) = FactorialEffects().judge(levels, SEEDS, {"g": (losses + random.normal(0, 1e-5, 20)).tolist()}).sentences
    assert said.startswith("Loss on g at the end, nats per token:\n  a: 2 against 1: ")
    assert "so each main effect above is an average of different effects" in said
    assert "    a=1: b: y against x: +1.000" in said
    assert "    a=2: b: y against x: -1.000" in said
    assert "p < 0.0001 corrected over 4" in said
    assert "p = 0.0000" not in said
    (alike,) = FactorialEffects().judge(levels, SEEDS, {"g": random.normal(0, 1, 20).tolist()}).sentences
    assert "interaction: F = " in alike
    assert "average" not in alike
    noisy = (losses + random.normal(0, 0.01, 20)).tolist()
    (partly,) = FactorialEffects().judge(levels[:-1], SEEDS[:-1], {"g": noisy[:-1]}).sentences
    assert "left out, since a cell lacks them: seeds 4" in partly


def test_the_verdict_names_what_changes_a_loss() -> None:
    """b adds 1 to g and nothing to n; with two seeds nothing is claimed; with one seed nothing can be tested."""
    random = np.random.default_rng(0)
    levels = design()
    g = [float(run["b"] == "y") + random.normal(0, 0.1) for run in levels]
    losses = {"g": g, "n": random.normal(0, 0.1, 20).tolist()}
    assert FactorialEffects().judge(levels, SEEDS, losses).verdict == "settings that change a last loss: b (g)"
    assert FactorialEffects().judge(levels, SEEDS, {"n": losses["n"]}).verdict == "no setting changes a last loss"
    two = FactorialEffects().judge(levels[:8], SEEDS[:8], {"g": g[:8]})
    assert two.verdict == "effects of settings on the last losses, 2 seeds: fewer than 5 seeds: no claim"
    one = FactorialEffects().judge(levels[:4], SEEDS[:4], {"g": g[:4]})
    assert one.verdict.startswith(
        "not assessable: lacks a complete design with two seeds or more, all finite: run every"
    )
    with pytest.raises(StoreError, match="lacks settings that differ"):
        FactorialEffects().judge([{}] * 2, [0, 1], {"g": [1.0, 2.0]})
