"""Every passage of every probe set over training: which are learned first, and which never are."""

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.analyses.recorded.loss_records import PassageLosses
from ontogeny.analyses.recorded.passage_losses import passage_losses
from ontogeny.report.charts import HEIGHT, rounded
from ontogeny.report.figure import Figure
from ontogeny.report.heat_maps import STEPS, colour
from ontogeny.report.passage_reader import evenly_spread
from ontogeny.store.run_group import RunGroup

MOST_ROWS = 60
MOST_COLUMNS = 40


def every_passage(runs: RunGroup) -> Figure | None:
    """Mean NLL of single passages by checkpoint, those with the lowest last loss at the top; of one run alone."""
    losses = passage_losses(runs.runs[0]) if len(runs.runs) == 1 else None
    if losses is None or len(losses.steps) < 2:
        return None
    frames = {name: _frame(losses, name) for name in runs.probe_names if losses.of(name).any()}
    frames = {name: frame for name, frame in frames.items() if not frame.empty}
    if not frames:
        return None
    top = float(np.percentile(pd.concat(list(frames.values()))["nll"], 99.5))
    shown = [f"{frame['passage'].nunique()} of {losses.of(name).sum()} {name}" for name, frame in frames.items()]
    return Figure(
        title="Every passage, by checkpoint",
        caption="Each row is a passage, coloured by mean NLL (nats per token); those with the lowest last loss are at "
        f"the top. Passages: {', '.join(shown)}.",
        chart={name: _chart(frame, top) for name, frame in frames.items()},
        section="reader",
        order=10,
    )


def _frame(losses: PassageLosses, probe: str) -> pd.DataFrame:
    """Columns step, row, passage, nll; passages evenly spaced in the order of their last loss."""
    mean = losses.mean
    of_probe = np.flatnonzero(losses.of(probe) & np.isfinite(mean[-1]))
    if not len(of_probe):
        return pd.DataFrame()
    ranked = of_probe[np.argsort(mean[-1, of_probe], kind="stable")]
    chosen = ranked[evenly_spread(len(ranked), MOST_ROWS)]
    columns = evenly_spread(len(losses.steps), MOST_COLUMNS)
    steps, rows = np.meshgrid(losses.steps[columns], np.arange(len(chosen)), indexing="ij")
    return pd.DataFrame(
        {
            "step": steps.ravel(),
            "row": rows.ravel(),
            "passage": losses.passage[chosen][rows.ravel()],
            "nll": mean[np.ix_(columns, chosen)].ravel(),
        }
    )


def _chart(frame: pd.DataFrame, top: float) -> alt.Chart:
    hover = [
        alt.Tooltip("passage:O", title="passage"),
        alt.Tooltip("step:O", title="step"),
        alt.Tooltip("nll:Q", title="NLL", format=".3f"),
    ]
    cells = alt.Chart(rounded(frame, 3)).mark_rect()
    return cells.encode(
        alt.X("step:O", axis=STEPS),
        alt.Y("row:O", axis=None),
        colour("nll", "nats per token", alt.Scale(domain=[0, round(top, 2)], clamp=True)),
        tooltip=hover,
    ).properties(height=HEIGHT)
