"""One entry for each analysis of several runs: what it claims of sweeps in which no setting does anything."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from benchmarks.nulls import draws
from benchmarks.nulls.draws import Null, deviations
from benchmarks.nulls.entries import LEVEL, Drawn, within
from ontogeny.analyses.across._power_laws import power_law, predict
from ontogeny.analyses.across.distillation import DistillationArms
from ontogeny.analyses.across.factorial import FactorialEffects
from ontogeny.analyses.across.least_share import LeastReplay
from ontogeny.analyses.across.matched import MatchedArms
from ontogeny.analyses.across.pareto import REFERENCE, ParetoFront
from ontogeny.analyses.across.scaling import ScalingLaws
from ontogeny.analyses.across.seeds import over_seeds
from ontogeny.analyses.recorded.distillation_arms import AXES, Arm, ComparedArms, CostCurve, Teacher
from ontogeny.analyses.recorded.loss_curves import LossCurves, Outcome, new_text, results
from ontogeny.analyses.shape import shape_of
from ontogeny.core.analyses import Result

STEPS = np.array([0, 5, 10, 15, 20])
SIZES = (1e5, 4e5, 1.6e6)
PREDICTED = 6.4e6
"""Parameters."""


@dataclass(frozen=True, kw_only=True)
class SweepNull:
    """How runs that differ in nothing that matters are alike and unlike."""

    seeds: int = 5
    tail: str = "normal"
    """As in `draws.Null`."""
    ties: bool = False
    """Rounded to half of a standard deviation."""
    noisier: float = 1.0
    """Standard deviation of the last configuration, that of the others being 1."""
    shared: float = 0.5
    """Share of the variance that all runs of a seed have in common."""


SWEEP_NULLS = {
    "five seeds": SweepNull(),
    "three seeds": SweepNull(seeds=3),
    "ten seeds": SweepNull(seeds=10),
    "heavy tails": SweepNull(tail="heavy"),
    "ties": SweepNull(ties=True),
    "a noisier setting": SweepNull(noisier=3.0),
    "independent seeds": SweepNull(shared=0.0),
}


def _noise(null: SweepNull, seed: int, configurations: int, *shape: int) -> np.ndarray:
    """Deviations of variance 1 (but of the last configuration), float64 [*shape, configurations, seeds]."""
    random = np.random.default_rng((seed, 6))
    drawn_as = Null(tail=null.tail, ties=null.ties)
    own = deviations(drawn_as, random, (1, *shape, configurations, null.seeds))[0]
    common = deviations(drawn_as, random, (1, *shape, 1, null.seeds))[0]
    spread = np.ones((configurations, 1))
    spread[-1] = null.noisier
    return np.asarray(spread * (np.sqrt(1 - null.shared) * own + np.sqrt(null.shared) * common))


def _runs(
    levels: list[dict[str, str]], new: np.ndarray, general: np.ndarray, parameters: tuple[float, ...] = ()
) -> list[Outcome]:
    """Runs of configurations; `new` and `general` float64 [checkpoints, configurations, seeds]."""
    made = []
    for (i, level), seed in product(enumerate(levels), range(new.shape[2])):
        label = "  ".join(f"{key}={value}" for key, value in level.items())
        curves = LossCurves(
            steps=STEPS,
            losses={"novel": new[:, i, seed], "general": general[:, i, seed]},
            new="novel",
            general="general",
            parameters=int(parameters[i]) if parameters else 1000,
            tokens=640,
        )
        made.append(Outcome(label=label, levels=level, seed=seed, run=f"{label} {seed}", curves=curves))
    return made


def _learning(null: SweepNull, seed: int, configurations: int) -> tuple[np.ndarray, np.ndarray]:
    """Losses of new text, which falls by 0.5, and of general text, which rises by 0.1; noise of 0.02 at each look."""
    noise = 0.02 * _noise(null, seed, configurations, 2, len(STEPS))
    part = (STEPS / STEPS[-1])[:, None, None]
    return 5 - 0.5 * part + noise[0], 4 + 0.1 * part + noise[1]


def _claims(null: SweepNull, **claimed: bool) -> dict[str, bool | None]:
    """None of them is assessable with fewer than five seeds, where the analyses claim nothing."""
    return {name.replace("_", " "): None if null.seeds < 5 else claim for name, claim in claimed.items()}


def _factorial(null: SweepNull, seed: int) -> Drawn:
    """Two settings of two levels each; losses of two probe sets."""
    cells = [{"a": a, "b": b} for a, b in product("01", repeat=2)]
    noise = _noise(null, seed, len(cells), 2)
    losses = {name: (4 + 0.1 * noise[i]).ravel().tolist() for i, name in enumerate(("novel", "general"))}
    levels = [cell for cell in cells for _ in range(null.seeds)]
    result = FactorialEffects().judge(levels, list(range(null.seeds)) * len(cells), losses)
    designs = [design for design in result.numbers["probes"].values() if hasattr(design, "effects")]
    interacts = any(design.interaction_p * len(losses) < LEVEL for design in designs)
    effect = designs[0].effects[0]
    return Drawn(
        _claims(null, an_effect=result.verdict.startswith("settings that change"), an_interaction=interacts),
        {"an effect": within(effect.low, 0, effect.high)},
    )


def _matched(null: SweepNull, seed: int) -> Drawn:
    """Three configurations that learn and lose alike."""
    result = MatchedArms().judge(_runs([{"a": a} for a in "012"], *_learning(null, seed, 3)))
    last = result.numbers["differences"][-1]
    return Drawn(
        _claims(null, a_difference=result.verdict.startswith("general loss differs")),
        {"the difference at the whole of the way": within(last["low"], 0, last["high"]) if "low" in last else None},
    )


def _pareto(null: SweepNull, seed: int) -> Drawn:
    """Four configurations that learn and lose alike; and four that do neither."""
    levels = [{"a": a} for a in "0123"]
    front = ParetoFront().judge(_runs(levels, *_learning(null, seed, 4))).numbers["front"]
    truth = (REFERENCE[0] - 4.5 / 5) * (REFERENCE[1] - 4.1 / 4)
    noise = 0.02 * _noise(null, seed + 1_000_000, 4, 2, len(STEPS))
    noise[:, 0] = 0
    idle = ParetoFront().judge(_runs(levels, 5 + noise[0], 4 + noise[1]))
    damaged = any(line.rstrip().endswith((", up", ", down")) for line in "\n".join(idle.sentences).splitlines())
    slope = idle.numbers["decay_slopes"][0]["slope"]
    return Drawn(
        _claims(null, damage_without_progress=damaged),
        {
            "hypervolume": within(front.held_out.low, truth, front.held_out.high),
            "general text against new text": within(slope.low, 0, slope.high),
        },
    )


def _scaling(null: SweepNull, seed: int) -> Drawn:
    """Three sizes that learn and lose alike; a fourth, which is as noisy as the first, is foretold."""
    new, general = _learning(null, seed, len(SIZES))
    general = general[:1].mean() + (general - general[:1]).clip(0.001)
    table = _runs([{"model.size": f"{size:g}"} for size in SIZES], new, general, SIZES)
    result = ScalingLaws().judge(["model.size"], results(table), new_text(table))
    shown = not result.verdict.startswith(("0 of", "not assessable"))
    law = power_law(SIZES, new[-1])
    held: dict[str, bool | None] = {"exponent": None, "a prediction": None}
    if not isinstance(law, str):
        foretold = predict(law, PREDICTED, null.seeds)
        fourth = 4.5 + 0.02 * _noise(replace(null, noisier=1.0), seed + 1_000_000, 1)[0]
        reached = float(np.exp(np.log(fourth).mean()))
        held = {
            "exponent": within(law.k_low, 0, law.k_high),
            "a prediction": within(foretold.low, reached, foretold.high),
        }
    return Drawn(_claims(null, a_dependence=shown), held)


def _least_share(null: SweepNull, seed: int) -> Drawn:
    """Four shares, none of which does anything: the general loss ends a little above the bound, or a little below."""
    levels = [{"data.replay.code.share": f"{share:g}"} for share in (0.01, 0.05, 0.1, 0.25)]
    claimed = []
    for beyond in (1e-6, -1e-6):
        noise = 0.01 * _noise(null, seed, len(levels), 2, len(STEPS))
        noise[:, 0] = 0
        part = (STEPS > 0)[:, None, None]
        general = 4 * (1 + (LeastReplay().bound + beyond) * part) + noise[1]
        answer = LeastReplay().judge(_runs(levels, 5 - 0.5 * part + noise[0], general)).numbers["answers"][0]
        claimed.append(not np.isnan(answer["sure"][1 if beyond > 0 else 0]))
    return Drawn(_claims(null, one_is_enough=claimed[0], one_is_not=claimed[1]))


def _distillation(null: SweepNull, seed: int) -> Drawn:
    """Three taught arms that are no better than the fourth, on 20 documents of unequal size that differ from arm to
    arm, too; each cost reads the arm that goes on at another state. The teacher is better, or a run of the baseline.
    """
    random = np.random.default_rng((seed, 8))
    states, weight = 7, random.integers(20, 200, 20).astype(float)
    seeds = 0.1 * _noise(null, seed, 5, states)[:, None]  # the fifth is the teacher's
    noise = (
        seeds + 0.1 * random.normal(0, 1, (states, 20, 5, 1)) + 0.1 * random.normal(0, 1, (states, 20, 5, null.seeds))
    )
    noise[0] = 0
    whole = np.arange(float(states))
    parts = dict(zip(AXES, (1, 1 / 6, 2 / 6, 3 / 6, 4 / 6), strict=True))
    arms = [
        Arm(
            label=str(arm),
            teachers=("t",) if arm else (),
            curves={
                run: CostCurve(
                    total=(5 + noise[:, :, arm, run]) * weight,
                    costs={axis: whole * (part if arm else 1) for axis, part in parts.items()},
                )
                for run in range(null.seeds)
            },
        )
        for arm in range(4)
    ]

    def judged(nll: np.ndarray) -> Result:
        teacher = Teacher(run="t", weights_sha256="t", total=nll * weight, flops=0.0, flops_per_token=0.0, seconds=0.0)
        read = ComparedArms(probe="novel", weight=weight, passages=20, arms=tuple(arms), teachers=(teacher,))
        return DistillationArms().judge(read)

    comparisons = judged(4 + noise[-1, :, 4, 0]).numbers["comparisons"]
    claimed = {each["first"] == "0" for each in comparisons if each["says"] in ("better", "worse")}
    weak = judged(5 + noise[-1, :, 4, 0]).verdict
    first = comparisons[0]["difference"] if comparisons else None
    return Drawn(
        _claims(
            null,
            a_difference_from_the_baseline=True in claimed,
            a_difference_between_others=False in claimed,
            a_teacher_that_is_better=not weak.startswith("not assessable"),
        ),
        {"the first difference": within(first["low"], 0, first["high"]) if first else None},
    )


def _seeds(null: SweepNull, seed: int) -> Drawn:
    """Flat curves of four blocks, in every seed by twenty documents that share a shock at each checkpoint."""
    shocks = 0.2 * _noise(null, seed, 4, len(draws.EPOCHS))

    def shapes(run: int) -> Iterator[dict[str, str]]:
        random = np.random.default_rng((seed, run, 7))
        for block in range(4):
            values = shocks[:, block, run, None] + random.normal(0, 0.3, (len(draws.EPOCHS), 20))
            yield {"name": shape_of(draws.EPOCHS, values, random).name}

    def analyzed(run: int) -> dict[str, object]:
        return {"verdict": "", "sentences": [], "reading": "", "numbers": {"shapes": {"epoch": list(shapes(run))}}}

    result = over_seeds([{"shape": analyzed(run)} for run in range(null.seeds)])  # type: ignore[dict-item]
    assert result is not None
    return Drawn(_claims(null, a_turn_recurs="a turn recurs" in result.verdict))


ENTRIES_ACROSS: dict[str, Callable[[SweepNull, int], Drawn]] = {
    "distillation": _distillation,
    "factorial": _factorial,
    "least_share": _least_share,
    "matched": _matched,
    "pareto": _pareto,
    "scaling": _scaling,
    "seeds": _seeds,
}
