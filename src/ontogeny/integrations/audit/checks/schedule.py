"""Is the learning rate the one that was planned, at the time it was planned for, and the one that is shown?"""

import numpy as np

from ontogeny.diagnosis.rule import Detection, Lacks, Nothing
from ontogeny.integrations.audit.check import Outcome, check
from ontogeny.integrations.audit.recording import Recording
from ontogeny.integrations.audit.seen import SchedulerPlan

LEAST_SCHEDULED = 5


@check(
    title="Learning rate of 0",
    needs="five optimizer steps",
    cost="nothing",
    threshold="the learning rate of every group is 0 at all of them but the first",
    otherwise="a very long warm-up that is rounded to 0",
    refuted_by="a learning rate above 0 in a later step",
    remedy="step the scheduler once per optimizer step, and give it the number of optimizer steps",
)
def learning_rate_zero(seen: Recording) -> Outcome:
    """Steps are taken, with a learning rate of 0."""
    if len(seen.steps) < 5:
        return Lacks(what="five optimizer steps")
    rates = [max(step.learning_rates, default=0.0) for step in seen.steps[1:]]
    if max(rates) > 0:
        return Nothing(numbers={"highest": max(rates)})
    return Detection(
        severity="error",
        statement=f"the learning rate is 0 in all of {len(rates)} steps",
        numbers={"steps": len(rates), "highest": 0.0},
        evidence=(),
        certainty="certain",
    )


@check(
    title="Scheduler out of step",
    needs="the learning-rate scheduler (watch) and five optimizer steps; better with total_steps (watch)",
    cost="nothing",
    threshold="from the first to the last optimizer step, the scheduler takes more than 1.2 steps for each of them, "
    "unless it is planned for so many in total_steps; or none at all in an epoch (examples, watch), or, where those "
    "are not known, of a schedule that counts steps (100 or more, one cycle, one of transformers'); or one before the "
    "first optimizer step; or it is planned for more than 1.2 times the steps that it takes in total_steps",
    otherwise="Accelerate steps a prepared scheduler once per process, for one that was made for that; a schedule that "
    "is meant to be cut off",
    refuted_by="the learning rate at the planned last step is the one that was planned for it",
    remedy="step the scheduler once after each optimizer.step(), not beside backward()",
)
def scheduler_out_of_step(seen: Recording) -> Outcome:
    """The schedule keeps pace with the optimizer."""
    counts = [step.scheduled for step in seen.steps if step.scheduled is not None]
    if len(counts) < LEAST_SCHEDULED:
        return Lacks(what=f"audit.watch(scheduler=…) and {LEAST_SCHEDULED} optimizer steps")
    each, plan = (counts[-1] - counts[0]) / (len(counts) - 1), seen.schedule
    numbers: dict[str, float | int | str] = {"scheduler_steps_per_step": each, "steps": len(counts)}
    total = seen.latest("total_steps")
    horizon = None if plan is None or total is None else plan.horizon
    takes = 0.0 if total is None else int(total) * max(each, 1.0)
    if each > 1.2 and (not horizon or takes > 1.2 * horizon):
        early = f"{takes / horizon:.3g}" if horizon else "as many"
        return Detection(
            severity="warning",
            statement=f"the scheduler takes {each:.3g} steps for each of the optimizer's: "
            f"the schedule ends {early} times too early",
            numbers=numbers,
            evidence=(),
            certainty="certain",
        )
    if each == 0:
        return _scheduler_stands(seen, plan, numbers)
    if horizon and each > 0.8 and horizon > 1.2 * takes:
        numbers |= {"planned": horizon, "total_steps": int(total)}
        return Detection(
            severity="warning",
            statement=f"the schedule is planned for {horizon} steps, and the "
            f"training ends after {takes:.0f} of them: at {takes / horizon:.0%} of its plan",
            numbers=numbers,
            evidence=(),
            remedy="plan it for optimizer steps: batches / accumulation, times epochs",
        )
    if plan is not None and not plan.steps_before and counts[0] == plan.begins + 1 and each == 1:
        return Detection(
            severity="note",
            statement="the scheduler steps before optimizer.step(): the first learning rate "
            "of the schedule is never used",
            numbers=numbers,
            evidence=(),
        )
    return Nothing(numbers=numbers)


def _scheduler_stands(seen: Recording, plan: SchedulerPlan | None, numbers: dict[str, float | int | str]) -> Outcome:
    """It took no step: a fault, unless it is one that steps once per epoch and no epoch is over."""
    rows = [len(one.input_ids) for one in seen.forwards if one.input_ids is not None]
    examples, read = seen.latest("examples"), float(np.mean(rows)) * seen.forwards_in_training if rows else 0.0
    waits = plan is not None and plan.kind == "ReduceLROnPlateau"
    whole = examples is not None and not waits and read > 1.1 * int(examples)
    counts = examples is None and plan is not None and plan.for_each_step
    if not whole and not counts:
        return Lacks(
            what="a step of the scheduler, a schedule that counts steps, or examples (watch) and a whole "
            f"epoch: it took none in {numbers['steps']} steps, as is right for one that steps once per "
            "epoch"
        )
    over = "more than an epoch" if whole else f"{numbers['steps']} optimizer steps"
    return Detection(
        severity="warning",
        statement=f"the scheduler took no step in {over}: the learning rate stays where it began",
        numbers=numbers,
        evidence=(),
        certainty="certain" if whole else "likely",
        remedy="call scheduler.step() once after each optimizer.step()",
    )


@check(
    title="Learning rate used and shown",
    needs="the learning rate that the log shows (watch, at every step) for three steps",
    cost="nothing",
    threshold="it differs by more than 0.1% from every group's at half of the steps or more",
    otherwise="a log that shows the rate of the step before or after",
    refuted_by="equal values when both are printed in the same line",
    remedy="log optimizer.param_groups[0]['lr'] just before the step",
)
def learning_rate_shown(seen: Recording) -> Outcome:
    """The log shows the learning rate that is used."""
    used = {step.number: step.learning_rates for step in seen.steps}
    shown = [(step, float(value)) for step, value in seen.watched.get("shown_learning_rate", ()) if step in used]
    if len(shown) < 3:
        return Lacks(what="audit.watch(shown_learning_rate=…) before each of three steps")
    off = [
        (step, value)
        for step, value in shown
        if not any(abs(value - rate) <= 1e-3 * max(abs(rate), 1e-30) for rate in used[step])
    ]
    numbers: dict[str, float | int | str] = {"differ": len(off), "steps": len(shown)}
    if len(off) * 2 < len(shown):
        return Nothing(numbers=numbers)
    step, value = off[0]
    numbers |= {"shown": value, "used": used[step][0]}
    return Detection(
        severity="warning",
        statement=f"at step {step} the log shows a learning rate of {value:g}, and "
        f"{used[step][0]:g} was used; they differ at {len(off)} of {len(shown)} steps",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )
