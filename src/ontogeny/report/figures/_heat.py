"""Block-by-checkpoint heat maps."""

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.report.figures._frame import rounded


def heat_map(
    frame: pd.DataFrame, value: str, title: str, more: Sequence[alt.Tooltip] = (), log: bool = False
) -> alt.Chart:
    """Cells by step and block; `frame` has the columns step, block, name (of the block) and `value`."""
    order = frame.drop_duplicates("block").sort_values("block", ascending=False)["name"].tolist()
    scale = alt.Scale(type="log") if log else alt.Scale(zero=True)
    chart = alt.Chart(rounded(frame.drop(columns="block"), 4)).mark_rect()
    return chart.encode(
        x=alt.X(
            "step:O",
            title="step",
            axis=alt.Axis(labelOverlap="greedy", labelAngle=0, grid=False, domain=False, ticks=False),
        ),
        y=alt.Y("name:N", title=None, sort=order, axis=alt.Axis(grid=False)),
        color=alt.Color(
            f"{value}:Q",
            title=title,
            scale=scale,
            legend=alt.Legend(orient="top", gradientLength=160, gradientThickness=8, titleOrient="left", offset=8),
        ),
        tooltip=[
            alt.Tooltip("name:N", title="block"),
            alt.Tooltip("step:O", title="step"),
            alt.Tooltip(f"{value}:Q", title=title, format=".4f"),
            *more,
        ],
    ).properties(height=max(110, min(26 * len(order), 520)))


def block_names(blocks: np.ndarray) -> dict[int, str]:
    """Names of block indices: -1 holds the embeddings, then the highest final norm and output head.

    Without embeddings (only adapters were looked at) all are transformer blocks.
    """
    names = {int(block): f"block {int(block)}" for block in blocks}
    return {**names, int(np.max(blocks)): "final norm, head", -1: "embeddings"} if -1 in names else names
