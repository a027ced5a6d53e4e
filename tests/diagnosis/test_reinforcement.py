"""Rules of the family `reinforcement`, on curves written down by hand."""

from pathlib import Path

import numpy as np
import pytest

from ontogeny.core.verdicts import Clear, Finding, NotAssessable
from ontogeny.diagnosis.examine import examine
from ontogeny.diagnosis.rule import all_rules
from ontogeny.diagnosis.rules.reinforcement import (
    completions_clipped,
    entropy_collapse,
    kl_blowup,
    reward_collapse,
    reward_does_not_rise,
    reward_std_zero,
)
from ontogeny.integrations.importing import read_history
from tests.diagnosis.curves import history

LOGS = Path(__file__).parents[3] / "shared" / "data" / "foreign_logs" / "hf_trainer_state"
STEPS = range(1, 101)
WOBBLE = 0.05 * np.cos(np.arange(100) * 2.0)
RISING = 0.2 + 0.004 * np.arange(100) + WOBBLE


def test_a_reward_that_only_scatters_does_not_rise() -> None:
    (verdict,) = examine(history(reward=(STEPS, 0.3 + WOBBLE)), [reward_does_not_rise]).verdicts
    assert isinstance(verdict, Finding)
    assert verdict.severity == "note"
    # rising: quarters are centred 75 entries apart, so 75 x 0.004 = 0.3
    (verdict,) = examine(history(reward=(STEPS, RISING)), [reward_does_not_rise]).verdicts
    assert isinstance(verdict, Clear)
    assert np.isclose(float(verdict.numbers["change"]), 0.3, atol=0.02)


def test_a_reward_that_is_lost_again_collapses() -> None:
    lost = np.where(np.arange(100) < 70, RISING, 0.05 + WOBBLE)
    (verdict,) = examine(history(reward=(STEPS, lost)), [reward_collapse]).verdicts
    assert isinstance(verdict, Finding)
    assert verdict.severity == "error"  # below where it began, 0.22
    assert isinstance(examine(history(reward=(STEPS, RISING)), [reward_collapse]).verdicts[0], Clear)


def test_groups_without_spread_give_no_signal() -> None:
    late = np.where(np.arange(100) < 70, 0.3, 0.0)
    unsolved = history(reward=(STEPS, np.where(late > 0, 0.4, 0.0)), reward_std=(STEPS, late))
    (verdict,) = examine(unsolved, [reward_std_zero]).verdicts
    assert isinstance(verdict, Finding)
    assert (verdict.severity, verdict.numbers["zero_std_entries"]) == ("warning", 1.0)
    solved = history(reward=(STEPS, np.where(late > 0, 0.4, 1.0)), reward_std=(STEPS, late))
    assert examine(solved, [reward_std_zero]).findings[0].severity == "note"
    some = history(reward=(STEPS, RISING), reward_std=(STEPS, np.where(np.arange(100) % 5 == 0, 0.0, 0.3)))
    assert isinstance(examine(some, [reward_std_zero]).verdicts[0], Clear)  # 20%


def test_entropy_at_a_twentieth_has_collapsed_and_at_a_half_has_not() -> None:
    # e^(-4.5 i / 100): last tenth over first tenth is e^(-4.05) = 1.7%
    (verdict,) = examine(
        history(reward=(STEPS, RISING), entropy=(STEPS, np.exp(-0.045 * np.arange(100)))), [entropy_collapse]
    ).verdicts
    assert isinstance(verdict, Finding)
    assert np.isclose(float(verdict.numbers["left"]), np.exp(-4.05))
    half = history(reward=(STEPS, RISING), entropy=(STEPS, np.exp(-0.007 * np.arange(100))))
    assert isinstance(examine(half, [entropy_collapse]).verdicts[0], Clear)


def test_kl_that_stays_high_has_blown_up_and_one_spike_has_not() -> None:
    calm = np.full(100, 0.02)
    blown = np.where(np.arange(100) < 80, 0.02, 5.0)
    assert isinstance(examine(history(reward=(STEPS, RISING), kl=(STEPS, blown)), [kl_blowup]).verdicts[0], Finding)
    calm[95] = 30.0
    assert isinstance(examine(history(reward=(STEPS, RISING), kl=(STEPS, calm)), [kl_blowup]).verdicts[0], Clear)


def test_kl_summed_over_answers_may_reach_fifty() -> None:
    summed = np.where(np.arange(100) < 80, 0.5, 12.0)
    log = history(reward=(STEPS, RISING), objective__kl=(STEPS, summed))
    assert isinstance(examine(log, [kl_blowup]).verdicts[0], Clear)


def test_clipped_completions_by_their_share_or_by_their_length() -> None:
    share = history(reward=(STEPS, RISING), completions__clipped_ratio=(STEPS, np.linspace(0, 1, 100)))
    (verdict,) = examine(share, [completions_clipped]).verdicts
    assert isinstance(verdict, Finding)
    # entries 75 to 99 of i / 99: mean 87 / 99
    assert np.isclose(float(verdict.numbers["clipped"]), 87 / 99)
    pinned = history(reward=(STEPS, RISING), completion_length=(STEPS, np.minimum(100 + 10 * np.arange(100), 512)))
    assert isinstance(examine(pinned, [completions_clipped]).verdicts[0], Finding)
    free = history(reward=(STEPS, RISING), completion_length=(STEPS, 220 + 1000 * WOBBLE))
    assert isinstance(examine(free, [completions_clipped]).verdicts[0], Clear)


def test_a_clipped_policy_ratio_is_no_clipped_completion() -> None:
    log = history(reward=(STEPS, RISING), clip_ratio=(STEPS, [0.9] * 100))
    assert isinstance(examine(log, [completions_clipped]).verdicts[0], NotAssessable)


def test_forty_nine_entries_are_too_few() -> None:
    log = history(reward=(STEPS[:49], RISING[:49]), entropy=(STEPS[:49], RISING[:49]), kl=(STEPS[:49], RISING[:49]))
    for one in (reward_does_not_rise, reward_collapse, reward_std_zero, entropy_collapse, kl_blowup):
        assert isinstance(examine(log, [one]).verdicts[0], NotAssessable)


@pytest.mark.skipif(not LOGS.is_dir(), reason="the foreign logs are not here")
@pytest.mark.parametrize("steps", [1000, 2000])
def test_healthy_grpo_raises_nothing(steps: int) -> None:
    log = read_history(LOGS / f"ijinyu1113__Learned-Remasking-Policy-for-dLLM__grpo-{steps}.json")
    assert examine(log, [one for one in all_rules() if one.family == "reinforcement"]).findings == ()


def test_a_steady_rise_is_no_noise() -> None:
    """0.30 to 0.597 in 100 equal steps: the difference of the quarters is 0.225, and nothing scatters."""
    (verdict,) = examine(history(reward=(STEPS, 0.3 + 0.003 * np.arange(100))), [reward_does_not_rise]).verdicts
    assert isinstance(verdict, Clear)
    assert np.isclose(float(verdict.numbers["change"]), 0.225)
