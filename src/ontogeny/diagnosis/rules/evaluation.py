"""Can the evaluations be trusted, and can a checkpoint be chosen by them?"""

import numpy as np

from ontogeny.diagnosis.objective import EVERY, LIKELIHOOD, SUPERVISED
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.statistics import robust

LEAST_EQUAL = 3
LEAST_EQUAL_ROUNDED = 5


@rule(
    title="Evaluations identical",
    needs="an evaluation loss at 3 or more steps (5 where it is rounded to 4 decimals or fewer)",
    statistic="longest run of consecutive evaluations that agree in every printed digit",
    threshold="3 at full precision, 5 where the log rounds, while the learning rate is above 0",
    origin="unsloth#1067, #2032; a report with 51.7094 at every evaluation: no optimizer step had been taken",
    otherwise="the same checkpoint was evaluated again",
    refuted_by="parameters differ between the two checkpoints",
    remedy="check that the optimizer steps (accumulation, a counter called twice), and that the model evaluated is the "
    "one trained",
    objectives=EVERY,
)
def identical_evaluations(view: View) -> Detection | Nothing | Lacks:
    """Not one digit changes between evaluations: the model evaluated is not the one trained."""
    longest = 0
    assessed = False
    for series in view.eval_losses:
        least = LEAST_EQUAL if series.decimals is None or series.decimals > 4 else LEAST_EQUAL_ROUNDED
        if len(np.unique(series.values)) == 1 and len(series) >= LEAST_EQUAL and abs(series.values[0]) > 10:
            least = LEAST_EQUAL  # two digits and four decimals do not agree by chance
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
            return Detection(
                severity="error",
                statement=f"the {series.label} is {series.values[start]:.10g} at {run} evaluations in a row, from step "
                f"{series.steps[start]} to {series.steps[start + run - 1]}: the model evaluated does not change",
                numbers={"equal_in_a_row": run, "evaluations": len(series), "value": float(series.values[start])},
                evidence=(points(series, np.arange(start, start + run)),),
                certainty="certain" if series.decimals is None else "likely",
            )
    if not assessed:
        return Lacks(what="an evaluation loss at 3 steps")
    return Nothing(numbers={"longest_run_of_equals": longest})


@rule(
    title="Best chosen by noise",
    needs="the best value recorded by the run, and 6 or more evaluations",
    statistic="difference between the best and the second-best evaluation loss, over the noise",
    threshold="below half of the noise, with 3 or more evaluations within the noise of the best",
    origin="a checkpoint chosen among evaluations that differ by less than their noise",
    otherwise="the checkpoint is chosen by a metric other than the loss",
    refuted_by="the paired difference between the two checkpoints on the same items has an interval that excludes 0",
    remedy="treat these checkpoints as equal; compare them item by item before you claim that one is better",
    objectives=SUPERVISED,
)
def best_by_noise(view: View) -> Detection | Nothing | Lacks:
    """Several checkpoints are as good as the best."""
    chosen = view.config.get("best_metric")
    series = next((series for series in view.eval_losses if len(series) >= 6), None)
    if chosen is None or series is None:
        return Lacks(what="a best value recorded by the run, and 6 evaluations")
    noise = robust.noise(series.values[len(series) // 3 :])
    order = np.sort(series.values)
    if not np.isfinite(noise) or noise <= 0 or abs(order[0] - float(chosen)) > 1e-6 * abs(order[0]) + series.step_size:
        return Lacks(what="a best value that is one of the evaluation losses, and noise between them")
    within = int((series.values <= order[0] + noise).sum())
    margin = float(order[1] - order[0])
    if margin >= 0.5 * noise or within < 3:
        return Nothing(numbers={"margin": margin, "noise_sd": noise, "within_noise": within})
    return Detection(
        severity="note",
        statement=f"the best {series.label} ({order[0]:.5g}) leads by {margin:.2g}, less than the noise of the "
        f"evaluations ({noise:.2g}): {within} checkpoints are as good",
        numbers={"margin": margin, "noise_sd": noise, "within_noise": within, "evaluations": len(series)},
        evidence=(points(series, np.flatnonzero(series.values <= order[0] + noise)),),
        certainty="possible",
    )


@rule(
    title="Examples miscounted",
    needs="runtime and rate of 2 or more evaluations",
    statistic="runtime x examples per second at every evaluation: the number of examples scored",
    threshold="differs between evaluations of one set by more than 2%, or from the known size by more than 2%",
    origin="accelerate#125, composer#2218: examples that pad the last batch are counted again on every device",
    otherwise="several evaluation sets are logged under one name",
    refuted_by="the logged number of scored examples equals the size of the set",
    remedy="gather with gather_for_metrics, or drop the padding before the mean",
    objectives=EVERY,
)
def examples_miscounted(view: View) -> Detection | Nothing | Lacks:
    """The number of examples scored is not the size of the evaluation set."""
    runtime, rate = view.config.get("eval_runtime_s"), view.config.get("eval_examples_per_second")
    series = next(iter(view.eval_losses), None)
    if not runtime or not rate or len(runtime) != len(rate) or len(rate) < 2 or series is None:
        return Lacks(what="runtime and rate of 2 or more evaluations")
    if len({series.scope for series in view.eval_losses}) > 1:
        return Lacks(what="which evaluation set each runtime belongs to")
    seconds, examples_per_second = np.asarray(runtime, dtype=float), np.asarray(rate, dtype=float)
    scored = seconds * examples_per_second
    # Trainers print the rate with 3 decimals and the runtime with 4: half a unit of the last one each.
    precision = 0.0005 / np.maximum(examples_per_second, 1e-9) + 0.00005 / np.maximum(seconds, 1e-9)
    known_examples = view.config.get("eval_examples")
    middle = float(known_examples) if known_examples else float(np.median(scored))
    off = np.abs(scored / middle - 1)
    tolerance = 0.02 + 2 * precision
    if not np.isfinite(off).all() or (off <= tolerance).all():
        return Nothing(numbers={"examples": middle, "largest_difference": float(off.max())})
    worst = int(np.argmax(off - tolerance))
    return Detection(
        severity="warning",
        statement=f"evaluation {worst + 1} scored {scored[worst]:.0f} examples, judging by its runtime and rate; "
        f"{middle:.0f} are expected",
        numbers={"scored": float(scored[worst]), "expected": middle, "evaluations": len(scored)},
        evidence=(points(series, [min(worst, len(series) - 1)]),),
        certainty="possible",
    )


@rule(
    title="Keep-best cannot work",
    needs="the best checkpoint that the run recorded",
    statistic="the recorded best value or step, against the evaluations in the log",
    threshold="a best step at which nothing was evaluated, or a best value that no evaluation has",
    origin="transformers#28544, #11931: patience and best metric get lost, or the metric is never computed",
    otherwise="the best checkpoint comes from an earlier part of the run that is missing from this log",
    refuted_by="the best checkpoint's directory exists and contains that step",
    remedy="set metric_for_best_model to a metric that evaluation returns, and evaluate and save at the same steps",
    objectives=EVERY,
)
def keep_best_cannot_work(view: View) -> Detection | Nothing | Lacks:
    """The recorded best checkpoint is none of those evaluated."""
    best, step = view.config.get("best_metric"), view.config.get("best_step")
    if best is None and not view.config.get("load_best"):
        return Lacks(what="a best checkpoint recorded by the run")
    evaluations = [series for (scope, _), series in view.series.items() if scope != "train"]
    if not evaluations:
        if best is None:
            return Lacks(what="evaluations")
        return Lacks(what="the evaluations that the best value comes from")
    steps = np.unique(np.concatenate([series.steps for series in evaluations]))
    values = np.concatenate([series.values for series in evaluations])
    if best is None:
        return Nothing(numbers={"evaluations": len(steps)})
    finite = values[np.isfinite(values)]
    reached = bool((np.abs(finite - float(best)) <= 1e-6 * max(abs(best), 1e-9)).any())
    known_step = step is None or int(step) in steps or int(step) < int(steps[0])
    if reached and known_step:
        return Nothing(numbers={"evaluations": len(steps)})
    recorded = f"value {best:.6g}" if not reached else f"step {step}"
    return Detection(
        severity="warning",
        statement=f"the best {recorded} that the run recorded occurs at none of its {len(steps)} evaluations",
        numbers={"best": float(best), "evaluations": len(steps)},
        evidence=(points(evaluations[0], np.arange(len(evaluations[0]))),),
        certainty="possible",
    )


@rule(
    title="Stopped while evaluation still fell",
    needs="an evaluation loss at 5 or more steps up to the end of the log, and the learning rate",
    statistic="fall of the evaluation loss over the last third of the evaluations, over the noise",
    threshold="the last evaluation is the lowest, the last third fell by more than 1% and 2 sd of noise, and more than "
    "20% of the peak learning rate is left",
    origin="a fine-tune that ended at 0.871, still falling, with 70% of its learning rate left",
    otherwise="the compute budget was spent",
    refuted_by="a longer run ends no lower",
    remedy="continue from the last checkpoint, with the schedule stretched over the new length",
    objectives=LIKELIHOOD,
)
def evaluation_still_falling(view: View) -> Detection | Nothing | Lacks:
    """The evaluation loss was still falling when the run ended."""
    series = next((series for series in view.eval_losses if len(series) >= 5), None)
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
    return Detection(
        severity="note",
        statement=f"the {series.label} fell from {third[0]:.4g} to {third[-1]:.4g} over its last {len(third)} values, "
        f"and the last is the lowest, with {left:.0%} of the peak learning rate left",
        numbers={"fall": fall, "rate_left": left, "evaluations": len(series)},
        evidence=(points(series, np.arange(len(series) - len(third), len(series))),),
    )
