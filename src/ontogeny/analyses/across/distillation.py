"""Is a taught student better than one that learns from the text alone, at equal steps, FLOPs and seconds?"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ontogeny.analyses.across._words import NO_CLAIM, block, p_value
from ontogeny.analyses.recorded.distillation_arms import (
    AXES,
    WITH_TRAINING,
    Arm,
    Axis,
    ComparedArms,
    CostCurve,
    Teacher,
    read_distillation,
)
from ontogeny.core.analyses import LEAST_SEEDS, AnalysisAcross, Result
from ontogeny.statistics.crossed import CrossedDifference, crossed_difference
from ontogeny.statistics.estimates import counted

if TYPE_CHECKING:
    from ontogeny.core.analyses import ComparedRuns

LEVEL = 0.05
MORE_OF_BOTH = "sweep over more seeds, and take the held-out set from more documents"


class DistillationArms(AnalysisAcross):
    """Held-out NLL of taught students against that of one without a teacher, and of one another.

    The first configuration whose objective reads no companion is the baseline. Two arms are compared where both have
    cost the same: steps, FLOPs, or seconds, the teacher's forward passes counted, and the teacher's own training
    counted or not. That is the largest cost that all runs of both have come to, after the first evaluation in training;
    an arm that goes on is read on straight lines between the states at which it was evaluated, and never outside them.
    A falling loss lies below such a line, so the other arm is called better only if it is so beside the *next* state of
    the one that goes on, too: p is the larger of both.

    Differences are paired by document and seed; the interval is for other seeds and other documents of the kind
    (`statistics.crossed.crossed_difference`). p is corrected by Bonferroni: over arms and costs for the comparisons
    with the baseline, over pairs and costs for the others. Nothing is assessable unless each teacher, as it teaches, is
    better than the baseline after the steps of the arms that it taught, by more than another run of the baseline would
    be: a teacher that knows no more has nothing to teach.
    """

    section: ClassVar[str] = "distillation"

    def analyze(self, runs: "ComparedRuns") -> Result:
        """Compare them. Raises StoreError for what `read_distillation` lacks."""
        return self.judge(read_distillation(runs))

    def judge(self, read: ComparedArms) -> Result:
        """The same from what was read."""
        baseline = next(arm for arm in read.arms if not arm.teachers)
        taught = [arm for arm in read.arms if arm.teachers]
        lead = [_lead(read, baseline, taught, teacher) for teacher in read.teachers]
        against = list(_compared(read, [(baseline, arm) for arm in taught]))
        others = list(_compared(read, list(combinations([arm for arm in read.arms if arm is not baseline], 2))))
        weak = next((entry for entry in lead if not entry.better), None)
        verdict = f"not assessable: {weak.words}" if weak else _verdict(baseline, against)
        return Result(
            verdict=verdict,
            sentences=tuple(_sentences(read, baseline, lead, [] if weak else [*against, *others])),
            reading=_READING,
            numbers={
                "probe": read.probe,
                "baseline": baseline.label,
                "arms": [arm.label for arm in read.arms],
                "teachers": [asdict(entry) for entry in lead],
                "comparisons": [] if weak else [asdict(each) | {"says": each.says} for each in [*against, *others]],
            },
        )


_READING = (
    "Differences are in nats per token, below 0 where the first-named arm is better. Two arms are compared at the "
    "largest cost that both came to, so the cheaper one must go on for longer; one that is read on its way must not be "
    "half way down a learning-rate schedule, and is read a little too high, on a line between two evaluations: the "
    "other is called better only if it is so beside the next evaluation, too. FLOPs leave out projections that terms "
    "train. Seconds are those of the machine, the median over seeds of each step, the teacher's steps as they were; "
    "looks are not counted. A teacher's training is counted once for each "
    "arm, as if it had been trained for this: it weighs less where one teacher serves many students. Seeds vary the "
    "students alone: arms with one teacher say nothing about other teachers."
)


@dataclass(frozen=True, kw_only=True)
class Lead:
    """How much a teacher, at its end, is better than the baseline after the steps of the arms that it taught."""

    teacher: str
    """Name of its run."""
    baseline: str
    steps: float
    difference: CrossedDifference
    """Baseline minus teacher, nats per token."""

    @property
    def better(self) -> bool:
        """Beyond noise."""
        return self.difference.low > 0

    @property
    def words(self) -> str:
        """In words."""
        than = f"than {self.baseline} after {self.steps:g} steps"
        unknown = f"whether the teacher {self.teacher} is better {than} is not known"
        if np.isnan(self.difference.value):
            return f"{unknown}: a loss is not finite; look at runs that diverged"
        value = f"{self.difference.value:+.4f} nats per token {_interval(self.difference)}, {_size(self.difference)}"
        if np.isnan(self.difference.low):
            return f"{unknown}: by {value}; {MORE_OF_BOTH}"
        if self.difference.high < 0:
            return f"the teacher {self.teacher} is worse {than}: by {value}; train it for longer"
        if not self.better:
            return f"the teacher {self.teacher} is not shown to be better {than}: by {value}; train it for longer"
        few = "" if self.difference.seeds >= LEAST_SEEDS else f"; {NO_CLAIM}"
        return f"the teacher {self.teacher} is better {than}: by {value}{few}"


@dataclass(frozen=True, kw_only=True)
class ArmComparison:
    """One arm against another at equal cost, or why they cannot be compared."""

    axis: Axis
    first: str
    second: str
    """Differences are this one minus the first."""
    at: float
    """The cost; NaN where there is none that both had."""
    difference: CrossedDifference | None
    p: float
    """Corrected."""
    tests: int
    """How many comparisons it is corrected over."""
    why_not: str

    @property
    def claims(self) -> bool:
        """Are there enough seeds to claim anything?"""
        return self.difference is not None and self.difference.seeds >= LEAST_SEEDS

    @property
    def says(self) -> str:
        """The verdict on the second arm, in a word or two."""
        if self.difference is None or np.isnan(self.p):
            return "not assessable"
        if not self.claims:
            return "no claim"
        if self.p >= LEVEL:
            return "no difference shown"
        return "better" if self.difference.value < 0 else "worse"


def _lead(read: ComparedArms, baseline: Arm, taught: Sequence[Arm], teacher: Teacher) -> Lead:
    mine = [arm for arm in taught if teacher.weights_sha256 in arm.teachers]
    steps = min(curve.costs["steps"][-1] for arm in [baseline, *mine] for curve in arm.curves.values())
    ours = np.array([curve.at("steps", steps) for curve in baseline.curves.values()])
    difference = crossed_difference(ours - teacher.total, read.weight, beside_a_lone_run=True)
    return Lead(teacher=teacher.run, baseline=baseline.label, steps=float(steps), difference=difference)


def _compared(read: ComparedArms, pairs: Sequence[tuple[Arm, Arm]]) -> Iterator[ArmComparison]:
    """Every pair at every cost. The training of a teacher that both have changes nothing between them."""
    planned = [
        (axis, first, second)
        for axis in AXES
        for first, second in pairs
        if axis not in WITH_TRAINING or set(first.teachers) != set(second.teachers)
    ]
    for axis, first, second in planned:
        yield _comparison(read, axis, first, second, len(planned))


def _comparison(read: ComparedArms, axis: Axis, first: Arm, second: Arm, tests: int) -> ArmComparison:
    seeds = [seed for seed in first.curves if seed in second.curves]
    curves = [[arm.curves[seed] for seed in seeds] for arm in (first, second)]
    ranges = [
        (arm, min(each.costs[axis][-1] for each in own), max(each.costs[axis][:2][-1] for each in own))
        for arm, own in zip((first, second), curves, strict=True)
        if own
    ]
    why_not, at = _why_not(axis, ranges), float("nan")
    difference, p = None, float("nan")
    if not why_not:
        at = float(min(last for _, last, _ in ranges))
        ours, theirs = (np.array([curve.at(axis, at) for curve in own]) for own in curves)
        difference = crossed_difference(theirs - ours, read.weight)
        p = min(_p_beside_next_state(difference, curves, axis, at, read.weight) * tests, 1.0)
        if np.isnan(difference.value):
            lost = [
                arm.label for arm, each in zip((first, second), (ours, theirs), strict=True) if np.isnan(each).any()
            ]
            why_not = f"a loss of {' and '.join(lost)} is not finite: look at runs that diverged"
        elif np.isnan(difference.p):
            why_not = f"one seed or one document is all: {MORE_OF_BOTH}"
        p = float("nan") if why_not else p
    return ArmComparison(
        axis=axis,
        first=first.label,
        second=second.label,
        at=at,
        difference=difference,
        p=p,
        tests=tests,
        why_not=why_not,
    )


def _p_beside_next_state(
    difference: CrossedDifference, curves: Sequence[Sequence[CostCurve]], axis: Axis, at: float, weight: np.ndarray
) -> float:
    """The larger p of two readings of the worse arm: on a line, and at the next state that was evaluated.

    1 where it is no longer the worse one at its next state.
    """
    better, worse = (1, 0) if difference.value < 0 else (0, 1)
    ours = np.array([curve.at(axis, at) for curve in curves[better]])
    theirs = np.array([curve.at_next_state(axis, at) for curve in curves[worse]])
    beside = crossed_difference(ours - theirs, weight)
    return max(difference.p, beside.p) if beside.value < 0 else 1.0


def _why_not(axis: Axis, ranges: Sequence[tuple[Arm, float, float]]) -> str:
    """Why two arms have no cost in common; empty if they have."""
    if len(ranges) < 2:
        return "no seed in common: run both with the same seeds"
    if not np.isfinite([end for _, *ends in ranges for end in ends]).all():
        return f"{axis.split()[0]} of one of them are not all counted: compare them at another cost"
    first_to_end, last_to_begin = min(ranges, key=lambda each: each[1]), max(ranges, key=lambda each: each[2])
    if first_to_end[1] > last_to_begin[2]:
        return ""
    return (
        f"{first_to_end[0].label} ends at {_cost(first_to_end[1], axis)}, before {last_to_begin[0].label} was first "
        f"evaluated in training ({_cost(last_to_begin[2], axis)}): train it for longer"
    )


_IN_VERDICT = {"not assessable": "cannot be compared"}
"""Words that the sentences below a verdict explain."""


def _verdict(baseline: Arm, against: Sequence[ArmComparison]) -> str:
    compared = [each for each in against if each.difference is not None and not each.why_not]
    if not compared:
        return f"not assessable: {against[0].why_not}"
    if not any(each.claims for each in compared):
        return f"taught students beside {baseline.label}: {NO_CLAIM}"
    said = []
    for axis in dict.fromkeys(each.axis for each in against):
        by_word: dict[str, list[str]] = {}
        for each in against:
            if each.axis == axis:
                by_word.setdefault(each.says, []).append(each.second)
        words = [f"{' and '.join(arms)} {_IN_VERDICT.get(word, word)}" for word, arms in by_word.items()]
        said.append(f"at equal {axis}: {', '.join(words)}")
    return f"against {baseline.label}, {'; '.join(said)}"


def _sentences(
    read: ComparedArms, baseline: Arm, lead: Sequence[Lead], comparisons: Sequence[ArmComparison]
) -> Iterator[str]:
    for entry in lead:
        yield entry.words
    most = max(len(arm.curves) for arm in read.arms)
    for arm in read.arms:
        if len(arm.curves) < most:
            yield (
                f"{arm.label} was compared with {counted(len(arm.curves), 'seed')} of {most}: runs that failed are not "
                "there, and arms whose worst seeds failed look better than they are"
            )
    passages = f"{read.passages} passages of {read.probe} from {len(read.weight)} documents"
    for axis in AXES:
        own = [each for each in comparisons if each.axis == axis]
        lines = [
            f"{each.second} against {each.first}: {_line(each)}"
            for each in sorted(own, key=lambda each: each.first != baseline.label)
        ]
        if lines:
            yield block(f"NLL at equal {axis}, nats per token, on {passages}", lines)


def _line(each: ArmComparison) -> str:
    if each.difference is None or each.why_not:
        return f"not assessable: {each.why_not}"
    return (
        f"{each.says}: {each.difference.value:+.4f} {_interval(each.difference)}, {p_value(each.p)} corrected over "
        f"{each.tests}, {_size(each.difference)}, at {_cost(each.at, each.axis)}"
        + ("" if each.claims else f"; {NO_CLAIM}")
    )


def _cost(cost: float, axis: Axis) -> str:
    """With its unit."""
    unit = axis.split()[0]
    return f"{cost:.4g} {'s' if unit == 'seconds' else unit}"


def _interval(difference: CrossedDifference) -> str:
    if np.isnan(difference.low):
        return "(no interval)"
    return f"(95% {difference.low:+.4f} to {difference.high:+.4f})"


def _size(difference: CrossedDifference) -> str:
    return f"n = {counted(difference.seeds, 'seed')} x {counted(difference.documents, 'document')}"
