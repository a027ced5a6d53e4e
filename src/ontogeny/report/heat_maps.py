"""Heat maps over checkpoints, for figures."""

from collections.abc import Iterable, Sequence

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.report.charts import rounded

CELL_HEIGHT = 26
STEPS = alt.Axis(
    labelOverlap="greedy", labelSeparation=8, labelAngle=0, grid=False, domain=False, ticks=False, title="step"
)


def colour(value: str, title: str, scale: alt.Scale) -> alt.Color:
    """The colour of a cell, with the legend above the map."""
    legend = alt.Legend(
        orient="top",
        gradientLength=160,
        gradientThickness=8,
        titleOrient="left",
        offset=8,
        format=".2~g",
        labelFontSize=11,
    )
    return alt.Color(f"{value}:Q", title=title, scale=scale, legend=legend)


def block_map(
    frame: pd.DataFrame, value: str, title: str, more: Sequence[alt.Tooltip] = (), log: bool = False
) -> alt.Chart:
    """Cells by step and block; `frame` has the columns step, block, name (of the block) and `value`."""
    order = frame.drop_duplicates("block").sort_values("block", ascending=False)["name"].tolist()
    hover = [
        alt.Tooltip("name:N", title="block"),
        alt.Tooltip("step:O", title="step"),
        alt.Tooltip(f"{value}:Q", title=title, format=".4f"),
        *more,
    ]
    chart = alt.Chart(rounded(frame.drop(columns="block"), 4)).mark_rect()
    return chart.encode(
        alt.X("step:O", axis=STEPS),
        alt.Y("name:N", title=None, sort=order, axis=alt.Axis(grid=False)),
        colour(value, title, alt.Scale(type="log") if log else alt.Scale(zero=True)),
        tooltip=hover,
    ).properties(height=max(110, min(CELL_HEIGHT * len(order), 520)))


def block_names(blocks: np.ndarray) -> dict[int, str]:
    """Names of block indices: -1 holds the embeddings, the highest then final norm and output head.

    Without embeddings (only adapters were measured) all are transformer blocks.
    """
    names = {int(block): f"block {int(block)}" for block in blocks}
    return {**names, int(np.max(blocks)): "final norm, head", -1: "embeddings"} if -1 in names else names


def not_measured(blocks: np.ndarray, shown: Iterable[int]) -> str:
    """A sentence on blocks of which nothing can be drawn, to follow a caption; empty if all are shown."""
    drawn = {int(block) for block in shown}
    lost = [name for block, name in block_names(blocks).items() if block not in drawn]
    return f" Not measured, since it is no number at any checkpoint: {', '.join(lost)}." if lost else ""
