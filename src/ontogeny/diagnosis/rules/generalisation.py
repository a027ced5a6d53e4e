"""Training that goes on past the point where it helps: what evaluation losses tell."""

import numpy as np

from ontogeny.diagnosis import robust
from ontogeny.diagnosis.objective import SUPERVISED
from ontogeny.diagnosis.rule import Found, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.store.history import Series

LEAST_RISE = 0.01
LEAST_EVALUATIONS = 3


@rule(
    title="Overfitting",
    needs="an evaluation loss at 5 or more steps, 3 of them after its lowest",
    statistic="lowest evaluation loss, and how far all later ones lie above it, in units of its own noise",
    threshold="3 or more evaluations in a row, the last included, above best + max(2 sd of noise, 1% of best), while "
    "the training loss falls over the same steps (or is not logged)",
    origin="transformers#22934; margin calibrated on healthy logs, whose late evaluations wobble by up to 0.7%",
    otherwise="the evaluation set differs from what is trained on from there on; dropout or regularisation was changed",
    refuted_by="the same rise on another held-out sample is absent, or quality on held-out text still improves",
    remedy="keep the checkpoint at the lowest evaluation loss; for the next run: fewer epochs, a lower learning rate, "
    "or more data",
    objectives=SUPERVISED,
)
def overfitting(view: View) -> Found | Nothing | Lacks:
    """The evaluation loss has turned and does not come back."""
    assessable = [one for one in view.eval_losses if len(one) >= LEAST_EVALUATIONS + 2]
    if not assessable:
        return Lacks(what=f"an evaluation loss at {LEAST_EVALUATIONS + 2} or more steps")
    worst: Found | None = None
    rises = {}
    for series in assessable:
        found, rise = _overfit(series, view.loss)
        rises[f"rise_{series.scope}"] = rise
        if found is not None and (worst is None or rise > float(worst.numbers["rise"])):
            worst = found
    return worst or Nothing(numbers=rises)


def _overfit(series: Series, train: Series | None) -> tuple[Found | None, float]:
    best = int(np.argmin(series.values))
    low, last = float(series.values[best]), float(series.values[-1])
    rise = last / low - 1 if low > 0 else 0.0
    noise = robust.noise(series.values[best:])  # the steep beginning is no noise
    margin = max(2 * noise if np.isfinite(noise) else 0.0, LEAST_RISE * abs(low), 2 * series.step_size)
    above = series.values > low + margin
    run = len(above) if above.all() else int(np.argmin(above[::-1]))
    if run < LEAST_EVALUATIONS or (best == 0 and run >= len(series) - 1):
        return None, rise
    fell = _change_of_training(train, int(series.steps[best]))
    if fell is not None and fell >= 0:
        return None, rise
    statement = (
        f"the {series.label} rose from {low:.4g} at step {series.steps[best]} to {last:.4g} at step "
        f"{series.steps[-1]} (+{rise:.0%})" + (f" while the training loss fell by {-fell:.3g}" if fell else "")
    )
    numbers = {
        "best": low, "best_step": int(series.steps[best]), "last": last, "rise": rise, "noise_sd": noise,
        "evaluations_above": run, "evaluations": len(series),
    }  # fmt: skip
    shown = np.unique([0, best, *range(len(series) - run, len(series))])
    return Found(
        severity="error" if rise > 0.1 else "warning",
        statement=statement,
        numbers=numbers,
        evidence=(points(series, shown),),
        certainty="certain" if rise > 0.1 and fell is not None else "likely",
    ), rise


def _change_of_training(train: Series | None, since: int) -> float | None:
    """How the training loss moved after a step: mean of its later half minus that of the earlier; None unknown."""
    if train is None:
        return None
    later = train.clean().values[train.clean().steps >= since]
    if len(later) < 4:
        return None
    half = len(later) // 2
    return float(later[half:].mean() - later[:half].mean())
