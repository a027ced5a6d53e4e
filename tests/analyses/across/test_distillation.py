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
    states: int = 2,
) -> Arm:
    """An arm whose NLL falls from 7 to `last` in two steps of a cost, with noise of seeds and documents of 0.02.

    It was evaluated `states` times on the way.
    """
    random = np.random.default_rng((draw, sum(map(ord, label))))
    curves: dict[int | str, CostCurve] = {}
    of_documents = random.normal(0, 0.02, DOCUMENTS)
    for seed in range(seeds):
        end = last + of_documents + random.normal(0, 0.02) + random.normal(0, 0.02, DOCUMENTS)
        part = np.linspace(0, 1, states + 1)
        total = 7 + part[:, None] * (end - 7)
        costs: dict[Axis, np.ndarray] = {axis: np.array(2 * cost * part) for axis in AXES}
        costs["steps"] = 2 * part
        costs["FLOPs with the teacher's training"] = begins + 2 * cost * part
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
    (on straight lines: 7 - 2 / 6 x 2.3), the other at 5.0: worse by 1.23. Its training counted, it begins at 9, and is
    first evaluated a twentieth of the way from there to 15."""
    result = DistillationArms().judge(
        read(arm("alone", 5.0, taught=False), arm("taught", 4.7, cost=3.0, begins=9.0, states=20), arm("idle", 5.0))
    )
    by = {(each["axis"], each["first"], each["second"]): each for each in result.numbers["comparisons"]}
    assert by["steps", "alone", "taught"]["says"] == "better"
    assert by["steps", "alone", "taught"]["difference"]["value"] == pytest.approx(-0.3, abs=0.05)
    assert by["FLOPs", "alone", "taught"]["says"] == "worse"
    assert by["FLOPs", "alone", "taught"]["difference"]["value"] == pytest.approx(1.2333, abs=0.05)
    never = by["FLOPs with the teacher's training", "alone", "taught"]
    assert never["says"] == "not assessable"
    assert (
        never["why_not"]
        == "alone ends at 2 FLOPs, before taught was first evaluated in training (9.3 FLOPs): train it for longer"
    )
    assert by["steps", "alone", "idle"]["says"] == "no difference shown"
    assert by["steps", "taught", "idle"]["says"] == "worse"
    assert ("FLOPs with the teacher's training", "taught", "idle") not in by
    assert by["steps", "alone", "taught"]["tests"] == 10  # two arms x five costs
    assert by["steps", "taught", "idle"]["tests"] == 3  # one pair x three costs


@pytest.mark.parametrize(("teacher_nll", "worded"), [(5.0, "not shown to be better than"), (5.5, "worse than")])
def test_a_teacher_that_is_no_better_makes_all_of_it_not_assessable(teacher_nll: float, worded: str) -> None:
    """Planted: as good as the student without it, and worse; the gain of the taught arm is then not told."""
    arms = arm("alone", 5.0, taught=False), arm("taught", 4.7)
    assert DistillationArms().judge(read(*arms)).verdict.startswith("against alone, at equal steps: taught better")
    result = DistillationArms().judge(read(*arms, teacher_nll=teacher_nll))
    assert result.verdict.startswith(f"not assessable: the teacher t is {worded} alone after 2 steps: by ")
    assert result.numbers["comparisons"] == []


def test_nothing_is_claimed_where_nothing_is() -> None:
    """100 draws of two arms that are alike, five costs that are all the same: 5 claims expected at most, 13 or more
    have a probability of 0.1%. And with four seeds, none whatever the difference."""
    claims = 0
    for draw in range(100):
        arms = arm("alone", 5.0, taught=False, draw=draw), arm("taught", 5.0, draw=draw)
        verdict = DistillationArms().judge(read(*arms)).verdict
        claims += "better" in verdict or "worse" in verdict
    assert claims < 13
    few = [arm("alone", 5.0, taught=False, seeds=4), arm("taught", 4.0, seeds=4)]
    assert "fewer than 5 seeds: no claim" in DistillationArms().judge(read(*few)).verdict


def convex(label: str, states: list[float], *, taught: bool, seeds: int = 5) -> Arm:
    """NLL 4 + 2.3 exp(-cost / 45) at some costs, with noise of 0.002 of seeds and documents."""
    random = np.random.default_rng(sum(map(ord, label)))
    at = np.array(states)
    falls = 4 + 2.3 * np.exp(-at / 45)
    costs: dict[Axis, np.ndarray] = dict.fromkeys(AXES, at)
    curves: dict[int | str, CostCurve] = {
        seed: CostCurve(total=falls[:, None] + random.normal(0, 0.002, (len(at), DOCUMENTS)), costs=costs)
        for seed in range(seeds)
    }
    return Arm(label=label, teachers=("t",) if taught else (), curves=curves)


def test_a_line_between_two_states_is_no_reason_to_call_the_other_better() -> None:
    """The same curve twice. One arm ends at 60, where the other was evaluated at 40 and 80: half way between 4.946 and
    4.389 the line is at 4.667, and the curve at 4.606. At its next state it is at 4.389, so nothing is claimed."""
    alone, taught = convex("alone", [0, 10, 20, 40, 80, 120], taught=False), convex("taught", [0, 20, 60], taught=True)
    result = DistillationArms().judge(read(alone, taught, teacher_nll=3.5))
    (steps, *_) = result.numbers["comparisons"]
    assert steps["difference"]["value"] == pytest.approx(-0.061, abs=0.005)
    assert steps["difference"]["high"] < 0
    assert steps["says"] == "no difference shown"
    far = convex("far", [0, 20, 60], taught=True)
    lower = {seed: CostCurve(total=curve.total - 0.4, costs=curve.costs) for seed, curve in far.curves.items()}
    better = DistillationArms().judge(read(alone, Arm(label="far", teachers=("t",), curves=lower), teacher_nll=3.5))
    assert better.numbers["comparisons"][0]["says"] == "better"  # 4.206 is below 4.389, too


def test_an_arm_with_fewer_seeds_and_one_that_diverged_are_named() -> None:
    alone, few, lost = arm("alone", 5.0, taught=False), arm("few", 4.7, seeds=3), arm("lost", 4.7)
    lost.curves[0].total[-1] = np.nan
    result = DistillationArms().judge(read(alone, few, lost, arm("same", 5.0)))
    assert "few no claim, lost cannot be compared, same no difference shown" in result.verdict
    assert any(
        sentence.startswith("few was compared with 3 seeds of 5: runs that failed") for sentence in result.sentences
    )
    assert "a loss of lost is not finite: look at runs that diverged" in "\n".join(result.sentences)


def test_costs_that_are_not_counted_are_not_compared() -> None:
    free = arm("free", 4.7)
    for curve in free.curves.values():
        curve.costs["FLOPs"][:] = np.nan
    result = DistillationArms().judge(read(arm("alone", 5.0, taught=False), free))
    (flops,) = [each for each in result.numbers["comparisons"] if each["axis"] == "FLOPs"]
    assert flops["why_not"] == "FLOPs of one of them are not all counted: compare them at another cost"
