"""Does the optimizer step, over everything that is to learn, as often and as far as its author thinks?"""

import numpy as np

from ontogeny.diagnosis.clipping import DEFAULT_KEY, always_clipped
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing
from ontogeny.integrations.audit.check import Outcome, check
from ontogeny.integrations.audit.recording import Recording, Step, Tensors

LEAST_STEPS = 2
LEAST_CLIPPED = 10
LEAST_EARLY = 15
LEAST_MOVING = 10
"""Steps after which weights have moved, if they ever do."""
SMALLEST = 1e-9
"""Change of the weights in these steps, as a share of them, that is none."""
LONGEST = 64
"""Micro-batches that nobody accumulates without saying so."""
SETTLED = 20
"""Steps at the beginning whose gradients say little about those of the training."""
DEAF = "an optimizer that tells of its steps: a torch.optim.Optimizer, or one inside a wrapper's `.optimizer`"
NAMED = 4
"""Tensors that a finding names."""


@check(
    title="No optimizer step",
    needs="8 backward passes, or twice the accumulation where it is watched",
    cost="nothing",
    threshold="no optimizer step in that many backward passes; where accumulation is not watched, an error from 64 on",
    otherwise="an accumulation longer than that",
    refuted_by="a parameter that differs before and after",
    remedy="step on a condition without side effects, once per accumulated batch; then assert that parameters changed",
)
def no_optimizer_step(seen: Recording) -> Outcome:
    """Gradients are computed, and the optimizer never steps."""
    if not seen.hears_steps:
        return Lacks(what=DEAF)
    if any(mishap.startswith("after_step:") for mishap in seen.mishaps):
        return Lacks(what="optimizer steps that the audit can read: see what it says went wrong inside it")
    accumulation = seen.latest("accumulation")
    least = 8 if accumulation is None else 2 * int(accumulation)
    if seen.steps:
        return Nothing(numbers={"steps": len(seen.steps), "backward_passes": seen.backwards})
    if seen.backwards < least:
        return Lacks(what=f"{least} backward passes or an optimizer step: it has seen {seen.backwards}")
    if seen.tensors is not None and seen.tensors.trainable & seen.tensors.moved:
        return Lacks(what="an optimizer that tells of its steps: weights moved, and this one told of none")
    sure = accumulation is not None or seen.backwards >= LONGEST
    ask = (
        "tell the audit of the accumulation: audit.watch(accumulation=…); if it is shorter, step on a condition "
        "without side effects, once per accumulated batch"
    )
    return Detection(
        severity="error" if sure else "warning",
        statement=f"the optimizer took no step in {seen.backwards} backward passes: "
        + ("nothing is learned" if sure else "nothing was learned so far, unless more are accumulated for a step"),
        numbers={"backward_passes": seen.backwards, "steps": 0, "least": least},
        evidence=(),
        certainty="certain" if accumulation is not None else "likely" if sure else "possible",
        remedy="" if sure else ask,
    )


@check(
    title="Tensors that do not move",
    needs="two optimizer steps with a learning rate above 0",
    cost="one pass over the weights at the beginning and one at the end",
    threshold="a trainable tensor whose bits are the same after these steps; one whose gradient is always below a "
    "millionth of the whole is aside",
    otherwise="a part that these batches did not use (an expert, an adapter of another task)",
    refuted_by="the tensor differs after more steps",
    remedy="give these tensors to the optimizer, or set requires_grad to False so that it is seen that they are frozen",
)
def tensors_do_not_move(seen: Recording) -> Outcome:
    """Trainable tensors stay as they were although the optimizer steps."""
    stepped = [step for step in seen.steps if max(step.learning_rates, default=0.0) > 0]
    if len(stepped) < LEAST_STEPS or seen.tensors is None:
        return Lacks(what=f"{LEAST_STEPS} optimizer steps with a learning rate above 0, and the end of the audit")
    if _steps_for_others(seen.tensors):
        return Lacks(what=MASTERS)
    never = _never_given(seen)
    still = sorted(seen.tensors.trainable - seen.tensors.moved - _rounding(seen, never))
    lost = [name for name in still if name in seen.tensors.optimized and name not in never]
    numbers = {
        "still": len(still),
        "rounded_away": len(lost),
        "trainable": len(seen.tensors.trainable),
        "steps": len(stepped),
    }
    if not still:
        return Nothing(numbers=numbers)
    how = remedy = ""
    if seen.backwards and all(step.grad_norm == 0 for step in _looked(seen)):
        how = "; all gradients were 0 or None whenever the optimizer stepped: something clears them after backward"
        remedy = "call zero_grad() after optimizer.step() or before backward(), never between the two"
    elif min(min(step.learning_rates) for step in stepped) == 0:
        how = "; a group of the optimizer has a learning rate of 0"
    elif len(lost) == len(still) and never is not EVERYTHING and seen.tensors.optimizers == 1:
        bits = "their 16 bits" if seen.tensors.narrow.issuperset(lost) else "rounding"
        how = f"; gradients arrive and the optimizer has them: the steps are smaller than {bits} can hold"
        remedy = (
            "keep the weights in float32 and compute in 16 bits under torch.autocast; or round stochastically; "
            "or raise the learning rate, if it or the gradients are far too small"
        )
    return Detection(
        severity="error" if len(still) == len(seen.tensors.trainable) else "warning",
        statement=f"{len(still)} of {numbers['trainable']} trainable tensors did not move in {len(stepped)} steps: "
        f"{_some(still)}{how}",
        numbers=numbers,
        evidence=(),
        certainty="certain",
        remedy=remedy,
    )


@check(
    title="Steps too small",
    needs="ten optimizer steps with a learning rate above 0, and the end of the audit",
    cost="a copy of 256 numbers of each trainable tensor at the beginning and one at the end",
    threshold="over all trainable tensors, weights changed by less than 1e-9 of their norm",
    otherwise="a warm-up so long that it has hardly begun",
    refuted_by="weights that differ by more after as many further steps",
    remedy="print the learning rate and the norm of the gradients just before the step: one of them is too small by "
    "orders of magnitude (a unit, a division too many, a bound that clips all away); keep weights in float32",
)
def steps_too_small(seen: Recording) -> Outcome:
    """The steps change the weights by more than rounding."""
    stepped = [step for step in seen.steps if max(step.learning_rates, default=0.0) > 0]
    tensors = seen.tensors
    if len(stepped) < LEAST_MOVING or tensors is None or not tensors.trainable & tensors.optimized:
        return Lacks(
            what=f"{LEAST_MOVING} steps with a learning rate above 0 of an optimizer that has the model's "
            "trainable tensors, and the end of the audit"
        )
    rate = max(max(step.learning_rates) for step in stepped)
    norms = [step.grad_norm for step in stepped if np.isfinite(step.grad_norm)]
    numbers = {
        "relative_change": tensors.change,
        "steps": len(stepped),
        "learning_rate": rate,
        "grad_norm": max(norms, default=float("nan")),
    }
    if not tensors.change < SMALLEST:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"in {len(stepped)} steps the weights changed by {tensors.change:.1e} of "
        f"their norm, which is nothing: the highest learning rate is {rate:.3g}, the largest norm of the "
        f"gradients {numbers['grad_norm']:.3g}",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


MASTERS = (
    "an optimizer that has the model's own tensors: this one has none of them, and yet some moved, as where it steps "
    "copies in 32 bits that are written back"
)


def _steps_for_others(tensors: Tensors) -> bool:
    """Do the model's tensors move though the optimizer has none of them?"""
    return tensors.trainable.isdisjoint(tensors.optimized) and bool(tensors.trainable & tensors.moved)


def _clipped_while_scaled(seen: Recording, bound: float) -> Detection | None:
    """Is it the scaled gradient that has the bound as its norm at every step?"""
    scaled = [step for step in _looked(seen) if step.loss_scale > 1]
    norms = np.array([step.grad_norm * step.loss_scale for step in scaled])
    if len(norms) < LEAST_CLIPPED or np.abs(norms / bound - 1).max() > 1e-3:
        return None
    largest = max(step.grad_norm for step in scaled)
    return Detection(
        severity="warning",
        statement="gradients are clipped before they are unscaled: times the scale of the "
        f"loss, {scaled[-1].loss_scale:g}, their norm is the bound, {bound:g}, at all of {len(norms)} steps; "
        f"the optimizer gets {largest:.3g} at most",
        numbers={"bound": bound, "loss_scale": scaled[-1].loss_scale, "largest_norm": largest, "steps": len(norms)},
        evidence=(),
        certainty="certain",
        remedy="scaler.unscale_(optimizer) before clipping",
    )


EVERYTHING: frozenset[str] = frozenset({"*"})
"""In place of names where no gradients were looked at."""


def _never_given(seen: Recording) -> frozenset[str]:
    """Tensors without a gradient at every looked-at step; `EVERYTHING` where none was looked at."""
    looked = [frozenset(step.without_gradient) for step in _looked(seen)]
    return frozenset.intersection(*looked) if looked else EVERYTHING


def _rounding(seen: Recording, never: frozenset[str]) -> frozenset[str]:
    """Tensors whose gradient is only what rounding leaves of 0, at every looked-at step that gives them one."""
    looked = [frozenset(step.without_gradient) | frozenset(step.negligible) for step in _looked(seen)]
    return frozenset.intersection(*looked) - never if looked else frozenset()


def _looked(seen: Recording) -> list[Step]:
    return [step for step in seen.steps if not np.isnan(step.grad_norm)]


@check(
    title="Gradients not cleared",
    needs="two looked-at optimizer steps in a row",
    cost="norms of the gradients of eight tensors before and after each looked-at backward pass",
    threshold="at half of these steps or more, gradients of the step before were there to the last bit when the next "
    "backward pass began, were added to, and were not cleared before the next step",
    otherwise="a sum over all steps that is wanted",
    refuted_by="p.grad is None, or 0, before the first backward pass of a step",
    remedy="optimizer.zero_grad() once per optimizer step, after it or before the next backward pass",
)
def gradients_not_cleared(seen: Recording) -> Outcome:
    """A step takes its own gradients, and not those of the steps before."""
    looked = [step.took_again for step in seen.steps if step.took_again is not None]
    if len(looked) < 2:
        return Lacks(what="two looked-at optimizer steps in a row, of an optimizer that has the model's tensors")
    again = sum(looked)
    numbers = {"not_cleared": again, "steps": len(looked)}
    if again < max(2, 0.5 * len(looked)):
        return Nothing(numbers=numbers)
    return Detection(
        severity="warning",
        statement=f"at {again} of {len(looked)} steps the gradients of the step before "
        "were still there and were added to: each step goes along the sum of all gradients so far",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


@check(
    title="Gradients outside the optimizer",
    needs="one optimizer step that was looked at",
    cost="one pass over the gradients of looked-at steps",
    threshold="a trainable tensor that gets a gradient and is in no parameter group; outside the model (a warning), "
    "one that watched terms or their total have a gradient for, and that does not move",
    otherwise="a second optimizer that the audit was not told of; a frozen judge whose requires_grad is still True",
    refuted_by="the tensor moves",
    remedy="build the optimizer after all modules exist, and over all of them",
)
def gradients_outside_the_optimizer(seen: Recording) -> Outcome:
    """Modules compute gradients that no optimizer uses."""
    if not _looked(seen) or seen.tensors is None:
        return Lacks(what="an optimizer step that was looked at, and the end of the audit")
    if _steps_for_others(seen.tensors):
        return Lacks(what=MASTERS)
    never = _never_given(seen)
    own = sorted(seen.tensors.trainable - seen.tensors.optimized - never - seen.tensors.moved)
    outside = [*own, *seen.tensors.strays]
    if not outside:
        return Nothing(numbers={"optimized": len(seen.tensors.optimized)})
    return Detection(
        severity="error" if own else "warning",
        statement=f"{len(outside)} trainable tensors get gradients, and the optimizer does not have them: "
        f"{_some(outside)}",
        numbers={"outside": len(outside), "optimized": len(seen.tensors.optimized)},
        evidence=(),
        certainty="certain",
    )


@check(
    title="Backward passes per step",
    needs="the accumulation (watch) and three optimizer steps",
    cost="nothing",
    threshold="no step has as many backward passes as accumulation says, or a third of them have more; passes before "
    "the gradients were cleared are aside, and a loss that goes backward twice counts twice",
    otherwise="several forward passes with a backward pass each",
    refuted_by="the batch is split further inside the loop",
    remedy="count micro-batches in one place; step when that count is full; let each loss go backward once",
)
def backwards_per_step(seen: Recording) -> Outcome:
    """As many micro-batches go into a step as accumulation says."""
    accumulation = seen.latest("accumulation")
    if accumulation is None or len(seen.steps) < 3 or not seen.backwards:
        return Lacks(what="audit.watch(accumulation=…), three optimizer steps, and a backward pass through the model")
    windows = _windows(seen, int(accumulation))
    longer = [one for one in windows if one > int(accumulation)]
    often = 3 * len(longer) >= len(windows)
    typical = float(np.median(longer if often else windows))
    numbers = {"backwards_per_step": typical, "accumulation": int(accumulation)}
    if not often and int(accumulation) in windows:  # shorter ones: the rest of an epoch
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"{typical:g} backward passes go into an optimizer step, and accumulation is {int(accumulation)}",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


def _windows(seen: Recording, accumulation: int) -> list[int]:
    """Backward passes of each step; of one that has too many, those after gradients were last cleared.

    Clearing is seen at looked-at steps: where there are some, only those count.
    """
    looked = [(step.backwards, step.since_cleared) for step in seen.steps if step.since_cleared is not None]
    if not looked:
        return [step.backwards for step in seen.steps]
    return [every if every <= accumulation else cleared for every, cleared in looked]


@check(
    title="Gradient clipping",
    needs="what gradients are clipped to (watch), and gradients of ten steps after the first 20 (every tenth is looked "
    "at); or of 15 steps that are far below it",
    cost="one pass over the gradients of every tenth step",
    threshold="every step reaches the bound (within 0.1%), or none comes within a tenth of it; in the first 20 steps, "
    "only whether none comes within a hundredth",
    otherwise="the beginning of a training differs from its later steps",
    refuted_by="steps below the bound, or at it, later on",
    remedy="always: under plain gradient descent, raise the bound, or set the learning rate with it in mind; under "
    "Adam and its kin, nothing, if every batch is to count alike. never: the bound protects against nothing that "
    "happens here",
)
def clipping(seen: Recording) -> Outcome:
    """Clipping is reached always, or never."""
    bound = seen.latest("max_grad_norm")
    if bound is not None and (scaled := _clipped_while_scaled(seen, float(bound))) is not None:
        return scaled
    norms = np.array([step.grad_norm for step in seen.steps[SETTLED:] if np.isfinite(step.grad_norm)])
    if bound is not None and len(norms) < LEAST_CLIPPED:
        early = np.array([step.grad_norm for step in seen.steps if np.isfinite(step.grad_norm)])
        # Gradients are large at the beginning: reaching the bound there says nothing, being far below it does.
        norms = early if len(early) >= LEAST_EARLY and early.max() < 0.01 * float(bound) else norms
    if bound is None or len(norms) < LEAST_CLIPPED:
        return Lacks(
            what=f"audit.watch(max_grad_norm=…) and gradients of {LEAST_CLIPPED} steps after the first {SETTLED}"
        )
    key = str(seen.latest("clip_key") or DEFAULT_KEY)
    what_it_means = always_clipped(seen.optimizer.lower(), key)
    reached = float((norms >= 0.999 * float(bound)).mean())
    numbers = {"share_reached": reached, "largest_norm": float(norms.max()), "bound": float(bound), "steps": len(norms)}
    if reached == 1.0:
        word, consequence = "every step's gradient is clipped", f": {what_it_means.consequence}"
    elif norms.max() < 0.1 * float(bound):
        word, consequence = "no gradient comes near the bound", ""
    else:
        return Nothing(numbers=numbers)
    return Detection(
        severity="note",
        statement=f"{word} (the bound, {key}, is {float(bound):g}, the largest norm {norms.max():.3g} in {len(norms)} "
        f"steps){consequence}",
        numbers=numbers,
        evidence=(),
        certainty=what_it_means.certainty if consequence else "certain",
        remedy=what_it_means.remedy if consequence else "",
    )


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
