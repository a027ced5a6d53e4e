"""What is learned against what is lost, where several configurations were run with several seeds."""

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.analyses.across import pareto
from ontogeny.analyses.recorded.loss_curves import crossed
from ontogeny.core.analyses import LEAST_SEEDS
from ontogeny.report.charts import HEIGHT, Panel, rounded
from ontogeny.report.figure import Figure
from ontogeny.store.run_group import RunGroup


def front(runs: RunGroup) -> Figure | None:
    """Loss of new text against loss of general text at the end, as shares of the untrained model's."""
    cells = crossed(runs)
    relative = np.array([[curves.relative for curves in runs_of_seeds] for _, _, runs_of_seeds in cells])
    result = pareto.pareto([label for label, _, _ in cells], relative[..., 0], relative[..., 1]) if cells else None
    if result is None:
        return None
    points = pd.DataFrame(
        [
            {"configuration": label, "seed": seeds[s], "new": result.new[i, s], "general": result.general[i, s]}
            for i, (label, seeds, _) in enumerate(cells)
            for s in range(result.seeds)
        ]
    )
    means = pd.DataFrame(
        [
            {
                "configuration": label,
                "on the front": "yes" if i in result.front else "no",
                **{
                    f"{name}{end}": value
                    for name, values in (("new", result.new[i]), ("general", result.general[i]))
                    for end, value in zip(("", " low", " high"), _ends(values), strict=True)
                },
            }
            for i, label in enumerate(result.labels)
        ]
    )
    first, second = (" ".join(str(i + 1) for i in half) for half in result.halves)
    return Figure(
        title="What is learned against what is lost",
        caption="Held-out text of the kind that is learned, and general text, at the end of training: loss as a share "
        "of the untrained model's, which lies where the dashed lines cross. Faint points are seeds, large ones means "
        f"with 95% t intervals (n = {result.seeds} seeds); filled ones are on the front (no other is better in both "
        "means), which the line joins. The square is the reference of the hypervolume: "
        f"{result.held_out.value:.3f} ({result.held_out.low:.3f} to {result.held_out.high:.3f}) where configurations "
        f"are chosen on half of the seeds and reported on the others (by place: {first} | {second}), "
        f"{result.same_seeds.value:.3f} on the seeds that chose."
        + ("" if result.claims else f" Fewer than {LEAST_SEEDS} seeds: no claim."),
        chart=_chart(points, means, result),
        section="forgetting",
        order=70,
    )


def _chart(points: pd.DataFrame, means: pd.DataFrame, result: pareto.Pareto) -> Panel:
    x = alt.X("new:Q", title="loss of new text, share of untrained", scale=alt.Scale(zero=False))
    y = alt.Y("general:Q", title="loss of general text, share of untrained", scale=alt.Scale(zero=False))
    tooltip = ["configuration:N", alt.Tooltip("new:Q", format=".4f"), alt.Tooltip("general:Q", format=".4f")]
    seeds = alt.Chart(rounded(points, 5)).mark_circle(size=22, opacity=0.3).encode(x, y, tooltip=[*tooltip, "seed:N"])
    table = alt.Chart(rounded(means, 5))
    wide = table.mark_rule(opacity=0.6).encode(alt.X("new low:Q", title=""), alt.X2("new high:Q"), y)
    high = table.mark_rule(opacity=0.6).encode(x, alt.Y("general low:Q", title=""), alt.Y2("general high:Q"))
    on = alt.datum["on the front"] == "yes"
    line = table.transform_filter(on).mark_line(interpolate="step-after", strokeDash=[2, 2]).encode(x, y)
    kept = table.transform_filter(on).mark_point(size=90, filled=True).encode(x, y, tooltip=tooltip)
    other = table.transform_filter(~on).mark_point(size=90, filled=False).encode(x, y, tooltip=tooltip)
    names = table.transform_filter(on).mark_text(align="left", dx=8, dy=-12).encode(x, y, text="configuration:N")
    reference = pd.DataFrame([{"new": pareto.REFERENCE[0], "general": pareto.REFERENCE[1]}])
    corner = alt.Chart(reference).mark_point(shape="square", size=80).encode(x, y)
    untrained = [
        alt.Chart().mark_rule(strokeDash=[4, 3]).encode(x=alt.datum(1.0)),
        alt.Chart().mark_rule(strokeDash=[4, 3]).encode(y=alt.datum(1.0)),
    ]
    layers = alt.layer(*untrained, line, wide, high, seeds, other, kept, names, corner, data=rounded(points, 5))
    return layers.properties(height=int(1.8 * HEIGHT))


def _ends(values: np.ndarray) -> tuple[float, float, float]:
    interval = pareto.interval(values)
    return interval.value, interval.low, interval.high
