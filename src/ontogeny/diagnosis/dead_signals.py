"""Signals that are 0 or NaN throughout: nothing is supervised, or nothing is learned."""

from ontogeny.diagnosis.objective import ObjectiveKind
from ontogeny.diagnosis.view import View
from ontogeny.statistics import robust
from ontogeny.store.history import TRAIN

LEAST_NORMS = 10
"""Fewest entries of a gradient norm, and of a loss beside it, that are judged."""


def nan_beside(view: View) -> str:
    """The label of a gradient norm or an evaluation loss that is NaN throughout; empty without one."""
    beside = [
        view.grad_norm,
        *(series for (scope, name), series in view.series.items() if scope != TRAIN and name == "loss"),
    ]
    return next((series.label for series in beside if series is not None and not series.finite.any()), "")


def is_masked(view: View) -> bool:
    """Is the training loss 0 throughout, beside a NaN? The mean over no tokens is printed as either."""
    loss = view.loss
    if loss is None or not len(loss) or not bool((loss.values == 0).all()):
        return False
    return bool(nan_beside(view))


def is_dead(view: View) -> bool:
    """Is the gradient norm exactly 0 throughout, and does nothing show that the model changes?"""
    norm = view.grad_norm.clean() if view.grad_norm is not None else None
    if norm is None or len(norm) < LEAST_NORMS or norm.values.any():
        return False
    if view.objective == ObjectiveKind.REINFORCEMENT:
        divergence, spread = view.get("kl"), view.get("reward_std")
        return (
            divergence is not None and not divergence.values.any() and spread is not None and bool(spread.values.any())
        )
    loss = view.loss.clean() if view.loss is not None else None
    if loss is None or len(loss) < LEAST_NORMS:
        return False
    first, _ = robust.ends(loss.values, share=0.2)
    change = robust.change(loss.values, len(first))
    return not (change.high < 0 and change.value < -0.02 * abs(float(first.mean())))
