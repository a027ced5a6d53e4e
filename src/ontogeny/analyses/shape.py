"""Which way a layer's compression goes: flat, linear, saturating, U or inverted U. A U needs evidence on both sides."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.passages import PassageAnalysis
from ontogeny.core.analyses import RecordedRun, Result
from ontogeny.statistics.documents import LEAST_DOCUMENTS, halves_of_groups, means_by_document
from ontogeny.statistics.estimates import shortage
from ontogeny.statistics.intervals import MeanInterval, t_interval
from ontogeny.statistics.segmented import LEAST_SIDE, TwoLines, slopes_of_sides

LEAST = 2 * LEAST_SIDE
"""Checkpoints below which no turn can be claimed."""
LEVEL = 0.05
NOT_MEASURED = "not measured: it is no number in any document"

Name = Literal["flat", "linear", "saturating", "U", "inverted U", "not assessable"]
TURNS: tuple[Name, Name] = ("U", "inverted U")


class Shape(PassageAnalysis):
    """The shape of each layer's compression of the trained passages over epochs, and over log(1 + epoch).

    Two lines (Simonsohn, "Two lines", 2018): each document's own trajectory gets a slope before and one after a break;
    their means over documents are tested by t. The break is where two lines fit the mean curve of one half of the
    documents best, at least three checkpoints on each side; the slopes are tested on the other half. Opposite slopes,
    both significant (Bonferroni over layers), are a turn: U if it falls first. Otherwise: `saturating`, if the change
    is significant and the slope after the break, over log epochs or epochs, has less than half the size of that
    before, significantly; `linear`, if the change from first to last checkpoint is significant; else `flat`.

    All documents went through the same model, so what the run did by chance at a checkpoint is in all of them: a turn
    of one run is called so only if it recurs in other seeds (`recurs`). With fewer than six checkpoints it is *not
    assessable* whether there is a turn, and the simpler shape is given.
    """

    order: ClassVar[float] = 50

    against_novel: bool = Field(default=True)
    """Subtract the mean trajectory of the novel passages from each document's."""

    def analyze(self, run: RecordedRun) -> Result:
        """Name every layer's shape."""
        table = self.passages(run)
        trajectories = means_by_document(table.score[..., table.trained], table.document[table.trained])
        if self.against_novel:
            novel = means_by_document(table.score[..., ~table.trained], table.document[~table.trained])
            known = np.isfinite(novel)
            level = np.where(known, novel, 0).sum(axis=-1, keepdims=True)
            trajectories = trajectories - level / np.where(known.any(axis=-1), known.sum(axis=-1), np.nan)[..., None]
        shapes = {"epoch": self._shapes(table.epoch, trajectories)}
        shapes["log_epoch"] = self._shapes(np.log1p(table.epoch), trajectories)
        sentences = [
            f"block {layer}: {by_epoch.name} over epochs, {by_log.name} over log epochs ({by_epoch.why})"
            for layer, by_epoch, by_log in zip(table.layer, shapes["epoch"], shapes["log_epoch"], strict=True)
        ]
        turns = [int(b) for b, shape in zip(table.layer, shapes["epoch"], strict=True) if shape.name in TURNS]
        if turns:
            verdict = f"a turn at blocks {turns} in this run; whether it recurs is not assessable with one seed"
        elif len(table.epoch) >= LEAST:
            verdict = "no layer turns"
        else:
            lack = shortage(LEAST, "checkpoint", len(table.epoch), f"measure at {LEAST} or more")
            verdict = f"whether a layer turns is not assessable: lacks {lack}"
        unmeasured = [
            int(b) for b, shape in zip(table.layer, shapes["epoch"], strict=True) if shape.why == NOT_MEASURED
        ]
        if unmeasured:
            verdict += f"; not measured: blocks {unmeasured}"
        numbers = {"epoch": table.epoch, "layer": table.layer, "shapes": shapes, "n": trajectories.shape[-1]}
        return Result(verdict=verdict, sentences=tuple(sentences), reading=_READING, numbers=numbers)

    def _shapes(self, x: np.ndarray, trajectories: np.ndarray) -> "list[CurveShape]":
        """Of each layer; `trajectories` [C, layers, documents]."""
        layers = trajectories.shape[1]
        return [
            shape_of(x, trajectories[:, layer], np.random.default_rng((self.seed, layer)), tests=layers)
            for layer in range(layers)
        ]


@dataclass(frozen=True, kw_only=True)
class CurveShape:
    """The shape of one curve, and why it is called so."""

    name: Name
    why: str
    break_at: float = float("nan")
    """Where the lines meet, in units of x; NaN below six checkpoints."""
    before: float = float("nan")
    after: float = float("nan")
    """Mean slopes per unit of x on the documents that did not choose the break."""
    p_before: float = float("nan")
    p_after: float = float("nan")
    """Two-sided, uncorrected."""
    change: float
    """Last minus first, mean over documents."""
    p_change: float


def shape_of(x: np.ndarray, values: np.ndarray, random: np.random.Generator, tests: int = 1) -> CurveShape:
    """The shape of a curve that many documents trace. `x` [C] rises, `values` is [C, documents].

    `tests`: how many curves are tested together, for Bonferroni. A curve is not flat if its change, or its slope before
    the break in the direction of the change, is significant at half of the level.
    """
    level = LEVEL / tests
    values = values[:, np.isfinite(values).all(axis=0)]
    if not values.shape[1]:
        return CurveShape(name="not assessable", why=NOT_MEASURED, change=float("nan"), p_change=float("nan"))
    change = t_interval(values[-1] - values[0])
    changed = change.p < level
    name: Name
    if len(x) < LEAST or values.shape[1] < LEAST_DOCUMENTS:
        name = "linear" if changed else "flat"
        lack = shortage(LEAST, "checkpoint", len(x), f"measure at {LEAST} or more")
        if len(x) >= LEAST:
            lack = shortage(LEAST_DOCUMENTS, "document", values.shape[1], "train on more documents")
        p = f", p = {change.p:.3g}" if np.isfinite(change.p) else " of one document, without an interval"
        why = f"a turn is not assessable: lacks {lack}; change {change.value:+.3f}{p}"
        return CurveShape(name=name, why=why, change=change.value, p_change=change.p)
    choose, report = halves_of_groups([np.arange(values.shape[1])], random)
    lines = TwoLines(x)
    at = int(lines.candidates[lines.best(values[:, choose].mean(axis=1))])
    slopes_before, slopes_after = slopes_of_sides(x, values[:, report], at)
    before, after = t_interval(slopes_before), t_interval(slopes_after)
    name = "flat"
    if before.p < level and after.p < level and before.value * after.value < 0:
        name = "U" if before.value < 0 else "inverted U"
    elif min(change.p, before.p if before.value * change.value > 0 else 1.0) < level / 2:  # two ways not to be flat
        # Below 0: the slope after has less than half the size of that before, in the same direction.
        less = t_interval(np.sign(before.value) * (slopes_after - 0.5 * slopes_before))
        name = "saturating" if before.p < level and less.value < 0 and less.p < level else "linear"
    return CurveShape(
        name=name,
        why=f"slopes {_with_p(before)} and {_with_p(after)} around {x[at]:.3g}",
        break_at=float(x[at]),
        before=before.value,
        after=after.value,
        p_before=before.p,
        p_after=after.p,
        change=change.value,
        p_change=change.p,
    )


def _with_p(slope: MeanInterval) -> str:
    return f"{slope.value:+.3g} (p = {slope.p:.2g})"


def recurs(shapes: list[Name], least: int = 5) -> Name:
    """The shape over seeds: a turn, if at least 80% of five or more runs have it and none has the opposite one, which
    chance brings as often; *not assessable*, if some of fewer runs have one; else the most frequent simpler shape.
    """
    for turn, opposite in (TURNS, TURNS[::-1]):
        if len(shapes) >= least and shapes.count(turn) >= 0.8 * len(shapes) and opposite not in shapes:
            return turn
    if len(shapes) < least and any(shape in TURNS for shape in shapes):
        return "not assessable"
    simple: list[Name] = [shape for shape in shapes if shape in ("flat", "linear", "saturating")]
    return max(simple, key=simple.count) if simple else "not assessable"


_READING = (
    "A shape is named for the mean over documents. U: compression falls, then rises, each significantly on documents "
    "that had no part in choosing the turn. A curve that rises fast and levels off is saturating, not an inverted U, "
    "however well a parabola fits it. How often each shape is named where it is not, and found where it is, was "
    "simulated: docs/statistics.md."
)
