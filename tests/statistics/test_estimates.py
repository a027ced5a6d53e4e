import numpy as np
import pytest

from ontogeny.statistics.estimates import clustered_mean, mean_over_seeds, share, unpaired

WEIGHTS = np.full(4, 2.0)


def test_mean_of_independent_items() -> None:
    # Mean -32 / 8 = -4. Residuals -6 + 8 = 2, -10 + 8 = -2, 0, 0: SE = sqrt(4/3 * (4 + 4)) / 8 = 0.40825.
    # t(3) at 0.975 is 3.18245, half an interval 1.29923.
    found = clustered_mean(np.array([-6.0, -10, -8, -8]), WEIGHTS, ["a", "b", "c", "d"], "passages")
    assert (found.value, found.low, found.high) == pytest.approx((-4, -5.29923, -2.70077), abs=1e-5)
    assert found.basis == "4 passages"
    assert found.below_zero
    assert not found.above_zero


def test_items_of_one_document_count_together() -> None:
    # The same numbers from two documents: residual sums 2 + 0 and -2 + 0, SE = sqrt(2 * (4 + 4)) / 8 = 0.5,
    # t(1) = 12.7062: an interval of +-6.3531 that holds zero.
    found = clustered_mean(np.array([-6.0, -10, -8, -8]), WEIGHTS, ["a", "b", "a", "b"], "passages")
    assert (found.low, found.high) == pytest.approx((-10.3531, 2.3531), abs=1e-4)
    assert found.basis == "4 passages from 2 documents"
    assert not found.below_zero


def test_longer_passages_weigh_more() -> None:
    # (2 + 12) / (2 + 6) = 1.75 nats per token, not the mean of 1 and 2.
    assert clustered_mean(np.array([2.0, 12]), np.array([2.0, 6]), ["a", "b"], "passages").value == 1.75


def test_one_document_gives_no_interval() -> None:
    found = clustered_mean(np.array([-6.0, -10]), np.array([2.0, 2]), ["a", "a"], "passages")
    assert found.value == -4
    assert np.isnan(found.low)
    assert not found.below_zero
    assert "too few" in found.basis


def test_false_positives_come_as_often_as_an_interval_promises() -> None:
    draw = np.random.default_rng(0)
    documents = [str(i // 3) for i in range(36)]
    alarms = 0
    for _ in range(400):
        shared = np.repeat(draw.standard_normal(12), 3)
        found = clustered_mean(shared + draw.standard_normal(36), np.ones(36), documents, "passages")
        alarms += found.above_zero or found.below_zero
    # 5% of 400 is 20; three standard deviations of a binomial are 3 * sqrt(400 * 0.05 * 0.95) = 13.
    assert 7 <= alarms <= 33


def test_seeds() -> None:
    # Mean 3, sd 1.58114, SE 0.70711, t(4) = 2.77645: half 1.96324.
    found = mean_over_seeds([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.value, found.low, found.high) == pytest.approx((3, 1.03676, 4.96324), abs=1e-5)
    assert found.ends == (found.low, found.high)
    assert found.above_zero
    assert mean_over_seeds([1.0] * 5).basis == "5 seeds, all alike"


def test_few_seeds_have_a_range_and_no_interval() -> None:
    found = mean_over_seeds([1.0, 2.0, 3.0, 6.0])
    assert (found.value, found.ends) == (3, (1, 6))
    assert np.isnan(found.low)
    assert (found.above_zero, found.rose, found.fell) == (False, True, False)
    assert found.why == "4 seeds: too few for an interval over seeds (5 are needed)"
    mixed = mean_over_seeds([-1.0, 2.0])
    assert (mixed.rose, mixed.fell) == (False, False)


def test_a_standard_error_that_is_not_a_number_gives_no_interval() -> None:
    found = unpaired(1.4, (np.nan, 0.1), 1, "passages")
    assert (found.ends, found.how, found.basis) == (None, "", "1 passages, too few for an interval")
    # sqrt(0.3^2 + 0.4^2) = 0.5, times 1.95996.
    assert unpaired(1.0, (0.3, 0.4), 8, "passages").low == pytest.approx(1 - 0.97998, abs=1e-5)


def test_shares() -> None:
    # Wilson with z^2 = 3.84146: 0 of 48 ends at z^2 / (48 + z^2) = 0.07410.
    none = share(0, 48, "passages")
    assert (none.low, none.high) == (0.0, pytest.approx(0.07410, abs=1e-5))
    # 24 of 48 is symmetric: half = z / (1 + z^2/48) * sqrt(0.25/48 + z^2/(4 * 48^2)) = 0.136107.
    assert share(24, 48, "passages").low == pytest.approx(0.5 - 0.136107, abs=1e-5)
    assert share(48, 48, "passages").high == 1.0
    assert np.isnan(share(0, 0, "passages").value)
