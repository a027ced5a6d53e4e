"""Can the evaluations be trusted, and can a choice rest on them?"""

import numpy as np

from ontogeny.diagnosis.objective import EVERY, LIKELIHOOD, SUPERVISED
from ontogeny.diagnosis.rule import Found, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.statistics import robust

LEAST_EQUAL = 3
LEAST_EQUAL_ROUNDED = 5


@rule(
    title="Evaluations identical",
    needs="an evaluation loss at 3 or more steps (5 where it is rounded to 4 decimals or fewer)",
    statistic="longest run of evaluations that are equal to the last printed digit",
    threshold="3 at full precision, 5 where the log rounds, while the learning rate is above 0",
    origin="unsloth#1067, #2032; a report with 51.7094 at every evaluation: no optimizer step had been taken",
    otherwise="the same checkpoint was evaluated again",
    refuted_by="parameters differ between the two checkpoints",
    remedy="check that the optimizer steps (accumulation, a counter called twice) and that the trained model is "
    "evaluated",
    objectives=EVERY,
)
def identical_evaluations(view: View) -> Found | Nothing | Lacks:
    """Not one digit changes: what is evaluated is not what is trained."""
    longest = 0
    assessed = False
    for series in view.eval_losses:
        least = LEAST_EQUAL if series.decimals is None or series.decimals > 4 else LEAST_EQUAL_ROUNDED
        if len(np.unique(series.values)) == 1 and len(series) >= LEAST_EQUAL and abs(series.values[0]) > 10:
            least = LEAST_EQUAL  # 4 decimals behind two digits do not agree by chance
        if len(series) < least:
            continue
        assessed = True
        same = np.concatenate([[False], np.diff(series.values) == 0, [False]])
        edges = np.flatnonzero(np.diff(same.astype(np.int8)))
        runs = [(int(b - a) + 1, int(a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        run, start = max(runs, default=(1, 0))
        longest = max(longest, run)
        rate = view.learning_rate
        moving = rate is None or bool((rate.values[rate.steps >= series.steps[start]] > 0).any())
        if run >= least and moving:
            return Found(
                severity="error",
                statement=f"the {series.label} is {series.values[start]:.10g} at {run} evaluations in a row, from step "
                f"{series.steps[start]} to {series.steps[start + run - 1]}: what is evaluated does not change",
                numbers={"equal_in_a_row": run, "evaluations": len(series), "value": float(series.values[start])},
                evidence=(points(series, np.arange(start, start + run)),),
                certainty="certain" if series.decimals is None else "likely",
            )
    return (
        Nothing(numbers={"longest_run_of_equals": longest}) if assessed else Lacks(what="an evaluation loss at 3 steps")
    )


@rule(
    title="Best chosen by noise",
    needs="the best value that the run itself kept, and 6 or more evaluations",
    statistic="best minus runner-up, over the noise of the evaluation loss",
    threshold="below half of the noise, with 3 or more evaluations within the noise of the best",
    origin="a checkpoint picked out of evaluations that differ by less than their own noise",
    otherwise="the metric that decides is not the loss",
    refuted_by="the paired difference of the two checkpoints on the same items has an interval without 0",
    remedy="treat these checkpoints as equal; compare them item by item before you claim that one is better",
    objectives=SUPERVISED,
)
def best_by_noise(view: View) -> Found | Nothing | Lacks:
    """Several checkpoints are as good as the best."""
    chosen = view.config.get("best_metric")
    series = next((one for one in view.eval_losses if len(one) >= 6), None)
    if chosen is None or series is None:
        return Lacks(what="a best value kept by the run, and 6 evaluations")
    noise = robust.noise(series.values[len(series) // 3 :])
    order = np.sort(series.values)
    if not np.isfinite(noise) or noise <= 0 or abs(order[0] - float(chosen)) > 1e-6 * abs(order[0]) + series.step_size:
        return Lacks(what="a best value that is one of the evaluation losses, and noise")
    within = int((series.values <= order[0] + noise).sum())
    margin = float(order[1] - order[0])
    if margin >= 0.5 * noise or within < 3:
        return Nothing(numbers={"margin": margin, "noise_sd": noise, "within_noise": within})
    return Found(
        severity="note",
        statement=f"the best {series.label} ({order[0]:.5g}) leads by {margin:.2g}, and the evaluations scatter by "
        f"{noise:.2g}: "
        f"{within} checkpoints are as good",
        numbers={"margin": margin, "noise_sd": noise, "within_noise": within, "evaluations": len(series)},
        evidence=(points(series, np.flatnonzero(series.values <= order[0] + noise)),),
        certainty="possible",
    )


@rule(
    title="Examples miscounted",
    needs="runtime and rate of 2 or more evaluations",
    statistic="runtime x examples per second at every evaluation: the number of examples that were scored",
    threshold="differs between evaluations of one set by more than 2%, or from the known size by more than 2%",
    origin="accelerate#125, composer#2218: the last batch is padded with examples that are counted again on every "
    "device",
    otherwise="several evaluation sets are logged under one name",
    refuted_by="the number of scored examples, logged, equals the size of the set",
    remedy="gather with gather_for_metrics, or drop the padding before the mean",
    objectives=EVERY,
)
def examples_miscounted(view: View) -> Found | Nothing | Lacks:
    """The number of scored examples is not that of the set."""
    runtime, rate = view.config.get("eval_runtime_s"), view.config.get("eval_examples_per_second")
    series = next(iter(view.eval_losses), None)
    if not runtime or not rate or len(runtime) != len(rate) or len(rate) < 2 or series is None:
        return Lacks(what="runtime and rate of 2 or more evaluations")
    if len({one.scope for one in view.eval_losses}) > 1:
        return Lacks(what="which evaluation set each runtime belongs to")
    scored = np.asarray(runtime, dtype=float) * np.asarray(rate, dtype=float)
    precision = 0.0005 / np.maximum(np.asarray(rate, dtype=float), 1e-9) + 0.00005 / np.maximum(
        np.asarray(runtime), 1e-9
    )
    known = view.config.get("eval_examples")
    middle = float(known) if known else float(np.median(scored))
    off = np.abs(scored / middle - 1)
    tolerance = 0.02 + 2 * precision
    if not np.isfinite(off).all() or (off <= tolerance).all():
        return Nothing(numbers={"examples": middle, "largest_difference": float(off.max())})
    worst = int(np.argmax(off - tolerance))
    return Found(
        severity="warning",
        statement=f"evaluation {worst + 1} scored {scored[worst]:.0f} examples by its runtime and rate, where "
        f"{middle:.0f} are "
        "expected",
        numbers={"scored": float(scored[worst]), "expected": middle, "evaluations": len(scored)},
        evidence=(points(series, [min(worst, len(series) - 1)]),),
        certainty="possible",
    )


@rule(
    title="Keep-best cannot work",
    needs="what the run says of its best checkpoint",
    statistic="the best value or step that the run holds, against the evaluations in the log",
    threshold="a best step at which nothing was evaluated, or a best value that no evaluation has, or none though "
    "evaluations exist and the best is to be loaded",
    origin="transformers#28544, #11931: patience and best metric that get lost, or a metric that is never computed",
    otherwise="the best checkpoint is of an earlier part of the run that this log does not hold",
    refuted_by="the best checkpoint's directory exists and holds that step",
    remedy="set metric_for_best_model to a metric that evaluation returns, and let evaluation and saving keep the "
    "same steps",
    objectives=EVERY,
)
def keep_best_cannot_work(view: View) -> Found | Nothing | Lacks:
    """The best checkpoint that the run believes in is none of those it evaluated."""
    best, step = view.config.get("best_metric"), view.config.get("best_step")
    if best is None and not view.config.get("load_best"):
        return Lacks(what="a best checkpoint that the run keeps")
    evaluations = [one for (scope, _), one in view.series.items() if scope != "train"]
    if not evaluations:
        if best is None:
            return Lacks(what="evaluations")
        return Lacks(what="the evaluations that its best value comes from")
    steps = np.unique(np.concatenate([one.steps for one in evaluations]))
    values = np.concatenate([one.values for one in evaluations])
    finite = values[np.isfinite(values)]
    reached = (
        bool(len(finite))
        and best is not None
        and bool((np.abs(finite - float(best)) <= 1e-6 * max(abs(best), 1e-9)).any())
    )
    known_step = step is None or int(step) in steps or int(step) < int(steps[0])
    if best is None or (reached and known_step):
        return Nothing(numbers={"evaluations": len(steps)})
    what = f"value {best:.6g}" if not reached else f"step {step}"
    return Found(
        severity="warning",
        statement=f"the run holds {what} for its best, and none of its {len(steps)} evaluations has it",
        numbers={"best": float(best), "evaluations": len(steps)},
        evidence=(points(evaluations[0], np.arange(len(evaluations[0]))),),
        certainty="possible",
    )


@rule(
    title="Stopped while evaluation still fell",
    needs="an evaluation loss at 5 or more steps to the end of the log, and the learning rate",
    statistic="fall from the second-last to the last evaluation and over the last third, over the noise",
    threshold="the last is the lowest, the last third fell by more than 1% and 2 sd of noise, and more than 20% of "
    "the peak rate is left",
    origin="a fine-tune that ended at 0.871, falling, with 70% of its learning rate left",
    otherwise="the budget was spent",
    refuted_by="a longer run ends no lower",
    remedy="train on from the last checkpoint, with the schedule stretched over the new length",
    objectives=LIKELIHOOD,
)
def evaluation_still_falling(view: View) -> Found | Nothing | Lacks:
    """The evaluation loss was on its way down when the run ended."""
    series = next((one for one in view.eval_losses if len(one) >= 5), None)
    rate = view.learning_rate.clean() if view.learning_rate is not None else None
    if series is None or rate is None or len(rate) < 5:
        return Lacks(what="an evaluation loss at 5 or more steps, and the learning rate")
    left = float(rate.values[-1] / max(rate.values.max(), 1e-300))
    third = series.values[-max(len(series) // 3, 3) :]
    noise = robust.noise(series.values[len(series) // 2 :])
    fall = float(third[0] - third[-1])
    enough = fall > 0.01 * abs(third[-1]) and fall > 2 * (noise if np.isfinite(noise) else 0.0)
    if left < 0.2 or series.values.argmin() != len(series) - 1 or not enough:
        return Nothing(numbers={"fall_over_last_third": fall, "rate_left": left})
    return Found(
        severity="note",
        statement=f"the {series.label} fell from {third[0]:.4g} to {third[-1]:.4g} over its last {len(third)} values "
        "and is lowest at "
        f"the last, with {left:.0%} of the highest learning rate left",
        numbers={"fall": fall, "rate_left": left, "evaluations": len(series)},
        evidence=(points(series, np.arange(len(series) - len(third), len(series))),),
    )
