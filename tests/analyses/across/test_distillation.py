"""Arms of a distillation at equal cost: by hand, planted, with a bad teacher, and where nothing is so."""

import numpy as np
import pytest

from ontogeny.analyses.across.distillation import DistillationArms
from ontogeny.analyses.recorded.distillation_arms import AXES, Arm, Axis, ComparedArms, CostCurve, Teacher

DOCUMENTS = 20


def arm(
    label: str,
    last: float,
    *,
    cost: float = 1.0,
    begins: float = 0.0,
    taught: bool = True,
    seeds: int = 5,
    draw: int = 0,
) -> Arm:
    """An arm whose NLL falls from 7 to `last` in two steps, with noise of seeds and documents of 0.02."""
    random = np.random.default_rng((draw, sum(map(ord, label))))
    curves: dict[int | str, CostCurve] = {}
    of_documents = random.normal(0, 0.02, DOCUMENTS)
    for seed in range(seeds):
        end = last + of_documents + random.normal(0, 0.02) + random.normal(0, 0.02, DOCUMENTS)
        total = np.stack([np.full(DOCUMENTS, 7.0), (7 + end) / 2, end])
        costs: dict[Axis, np.ndarray] = {axis: cost * np.arange(3.0) for axis in AXES}
        costs["steps"] = np.arange(3.0)
        costs["FLOPs with the teacher's training"] = begins + cost * np.arange(3.0)
        curves[seed] = CostCurve(total=total, costs=costs)
    return Arm(label=label, teachers=("t",) if taught else (), curves=curves)


def read(*arms: Arm, teacher_nll: float = 4.0) -> ComparedArms:
    own = teacher_nll + np.random.default_rng(5).normal(0, 0.02, DOCUMENTS)
    teacher = Teacher(run="t", weights_sha256="t", total=own, flops=9.0, flops_per_token=1.0, seconds=9.0)
    weight = np.ones(DOCUMENTS)
    return ComparedArms(probe="novel", weight=weight, passages=DOCUMENTS, arms=arms, teachers=(teacher,))


def test_read_on_straight_lines_by_hand() -> None:
    """Costs 0, 2, 4; losses 8, 6, 5: at 3 half way from 6 to 5; at the ends exactly what was there."""
    costs: dict[Axis, np.ndarray] = {"steps": np.array([0.0, 2.0, 4.0])}
    curve = CostCurve(total=np.array([[8.0], [6.0], [5.0]]), costs=costs)
    assert [float(curve.at("steps", x)[0]) for x in (0, 2, 3, 4)] == [8, 6, 5.5, 5]


def test_a_planted_gain_is_found_and_what_it_costs() -> None:
    """Better by 0.3 at equal steps. A step costs three: at 2 the taught one is a third of the way from 7 to 4.7: 6.23
    (on straight lines: 7 - 2 / 6 x 2.3), the other at 5.0: worse by 1.23. Its training counted, it begins at 9."""
    result = DistillationArms().judge(
        read(arm("alone", 5.0, taught=False), arm("taught", 4.7, cost=3.0, begins=9.0), arm("idle", 5.0))
    )
    by = {(each["axis"], each["first"], each["second"]): each for each in result.numbers["comparisons"]}
    assert by["steps", "alone", "taught"]["says"] == "better"
    assert by["steps", "alone", "taught"]["difference"]["value"] == pytest.approx(-0.3, abs=0.05)
    assert by["FLOPs", "alone", "taught"]["says"] == "worse"
    assert by["FLOPs", "alone", "taught"]["difference"]["value"] == pytest.approx(1.2333, abs=0.05)
    never = by["FLOPs with the teacher's training", "alone", "taught"]
    assert never["says"] == "not assessable"
    assert never["why_not"] == "alone ends at 2, where taught has not begun (9): train it for longer"
    assert by["steps", "alone", "idle"]["says"] == "no difference shown"
    assert by["steps", "taught", "idle"]["says"] == "worse"
    assert ("FLOPs with the teacher's training", "taught", "idle") not in by
    assert by["steps", "alone", "taught"]["tests"] == 10  # two arms x five costs
    assert by["steps", "taught", "idle"]["tests"] == 3  # one pair x three costs


@pytest.mark.parametrize("teacher_nll", [5.0, 5.5])
def test_a_teacher_that_is_no_better_makes_all_of_it_not_assessable(teacher_nll: float) -> None:
    """Planted: as good as the student without it, and worse; the gain of the taught arm is then not told."""
    arms = arm("alone", 5.0, taught=False), arm("taught", 4.7)
    assert DistillationArms().judge(read(*arms)).verdict.startswith("against alone, at equal steps: taught better")
    result = DistillationArms().judge(read(*arms, teacher_nll=teacher_nll))
    assert result.verdict.startswith(
        "not assessable: the teacher t is no better than alone after 2 steps, within noise"
    )
    assert result.numbers["comparisons"] == []


def test_nothing_is_claimed_where_nothing_is() -> None:
    """100 draws of two arms that are alike, five costs that are all the same: 5 claims expected at most, 13 or more
    have a probability of 0.1%. And with four seeds, none whatever the difference."""
    claims = 0
    for draw in range(100):
        arms = arm("alone", 5.0, taught=False, draw=draw), arm("taught", 5.0, draw=draw)
        claims += "taught" in DistillationArms().judge(read(*arms)).verdict
    assert claims < 13
    few = [arm("alone", 5.0, taught=False, seeds=4), arm("taught", 4.0, seeds=4)]
    assert "fewer than 5 seeds: no claim" in DistillationArms().judge(read(*few)).verdict
