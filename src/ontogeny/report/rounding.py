"""A sentence on weight updates lost to rounding, where they are many."""

from ontogeny.store.run_group import Band

LARGE = 0.1
"""Share of updates that must be lost before it is reported."""


def rounded_away(band: Band) -> str:
    """Where the measure `rounding` recorded the largest loss; empty without the measure or where few were lost."""
    worst = (0.0, 0, 0.0)
    for run in band.runs:
        lost, rates = (run.metrics.get(run.name_of(f"rounding/{name}")) for name in ("stuck", "learning_rate"))
        if lost is None or rates is None:
            continue
        rate_at = rates.set_index("step")["value"]
        for step, share in zip(lost["step"], lost["value"], strict=True):
            if share > worst[0]:  # never so for NaN: nothing would move there
                worst = (float(share), int(step), float(rate_at[step]))
    share, step, rate = worst
    if share < LARGE:
        return ""
    return (
        f"Rounding cancels {100 * share:.0f}% of the weight updates at step {step:,}, at a learning rate of "
        f"{rate:.2g}: train.weights: float64 would keep them."
    )
