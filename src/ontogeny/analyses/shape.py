"""Which way a layer's compression goes: flat, linear, saturating, U or inverted U. A U needs evidence on both sides."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.passages import PassageAnalysis
from ontogeny.core.analyses import RecordedRun, Result
from ontogeny.statistics import by_document as stats

LEAST_SIDE = 3
LEAST = 2 * LEAST_SIDE
"""Checkpoints below which no turn can be claimed."""
LEVEL = 0.05

Name = Literal["flat", "linear", "saturating", "U", "inverted U", "not assessable"]


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

    against_novel: bool = Field(default=True)
    """Take the mean trajectory of the novel passages off each document's."""

    def analyze(self, run: RecordedRun) -> Result:
        """Name every layer's shape."""
        table = self.passages(run)
        mine = stats.by_document(table.score[..., table.trained], table.document[table.trained])
        if self.against_novel:
            mine = mine - table.score[..., ~table.trained].mean(axis=-1)[..., None]
        found = {}
        for name, x in (("epoch", table.epoch), ("log_epoch", np.log1p(table.epoch))):
            found[name] = [
                shape_of(x, mine[:, layer], np.random.default_rng((self.seed, layer)), tests=len(table.layer))
                for layer in range(len(table.layer))
            ]
        sentences = [
            f"block {layer}: {one.name} over epochs, {other.name} over log epochs ({one.why})"
            for layer, one, other in zip(table.layer, found["epoch"], found["log_epoch"], strict=True)
        ]
        turns = [int(b) for b, one in zip(table.layer, found["epoch"], strict=True) if one.name in ("U", "inverted U")]
        verdict = (
            f"a turn at blocks {turns} in this run; whether it recurs is not assessable with one seed"
            if turns
            else "no layer turns"
            if len(table.epoch) >= LEAST
            else f"whether a layer turns is not assessable: lacks {LEAST} checkpoints, it has {len(table.epoch)}"
        )
        numbers = {"epoch": table.epoch, "layer": table.layer, "shapes": found, "n": mine.shape[-1]}
        return Result(verdict=verdict, sentences=tuple(sentences), reading=_READING, numbers=numbers)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The shape of one curve, and why it is called so."""

    name: Name
    why: str
    break_at: float
    """Where the lines meet, in units of x; NaN below six checkpoints."""
    before: float
    after: float
    """Mean slopes per unit of x on the documents that did not choose the break."""
    p_before: float
    p_after: float
    """Two-sided, uncorrected."""
    change: float
    """Last minus first, mean over documents."""
    p_change: float


def shape_of(x: np.ndarray, values: np.ndarray, random: np.random.Generator, tests: int = 1) -> Found:
    """The shape of a curve that many documents trace. `x` [C] rises, `values` is [C, documents]."""
    level = LEVEL / tests
    values = values[:, np.isfinite(values).all(axis=0)]
    change, _, _, p_change = stats.mean_interval(values[-1] - values[0])
    moved = p_change < level
    nan = float("nan")
    if len(x) < LEAST or values.shape[1] < 4:
        name: Name = "linear" if moved else "flat"
        lack = f"{LEAST} checkpoints" if len(x) < LEAST else "4 documents"
        return Found(
            name=name,
            why=f"a turn is not assessable: lacks {lack}; change {change:+.3f}, p = {p_change:.3g}",
            break_at=nan,
            before=nan,
            after=nan,
            p_before=nan,
            p_after=nan,
            change=change,
            p_change=p_change,
        )
    choose, report = stats.halves([np.arange(values.shape[1])], random)
    at = _break(x, values[:, choose].mean(axis=1))
    slopes = _slopes(x, values[:, report], at)
    (before, _, _, p_before), (after, _, _, p_after) = (stats.mean_interval(one) for one in slopes)
    both = p_before < level and p_after < level
    name = "flat"
    if both and before * after < 0:
        name = "U" if before < 0 else "inverted U"
    elif moved or (p_before < level and before * change > 0):
        less = stats.mean_interval(np.sign(before) * (slopes[1] - 0.5 * slopes[0]))
        name = "saturating" if p_before < level and less[0] < 0 and less[3] < level else "linear"
    why = f"slopes {before:+.3g} (p = {p_before:.2g}) and {after:+.3g} (p = {p_after:.2g}) around {x[at]:.3g}"
    return Found(
        name=name,
        why=why,
        break_at=float(x[at]),
        before=before,
        after=after,
        p_before=p_before,
        p_after=p_after,
        change=change,
        p_change=p_change,
    )


def recurs(shapes: list[Name], least: int = 5) -> Name:
    """The shape over seeds: that which a turn has in all but at most one fifth of at least five runs; else *not
    assessable* with fewer, or the most frequent simpler shape.
    """
    simple: list[Name] = [one for one in shapes if one in ("flat", "linear", "saturating")]
    turns: list[Name] = ["U", "inverted U"]
    for turn in turns:
        if len(shapes) >= least and shapes.count(turn) >= 0.8 * len(shapes):
            return turn
    if len(shapes) < least and any(one in turns for one in shapes):
        return "not assessable"
    return max(simple, key=simple.count) if simple else "not assessable"


def _break(x: np.ndarray, curve: np.ndarray) -> int:
    """The checkpoint at which two connected lines, three checkpoints or more on each side, fit the curve best."""
    best, at = np.inf, LEAST_SIDE - 1
    for i in range(LEAST_SIDE - 1, len(x) - LEAST_SIDE + 1):
        design = np.stack([np.ones(len(x)), x, np.maximum(x - x[i], 0)], axis=1)
        rest = curve - design @ np.linalg.lstsq(design, curve, rcond=None)[0]
        if float(rest @ rest) < best:
            best, at = float(rest @ rest), i
    return at


def _slopes(x: np.ndarray, values: np.ndarray, at: int) -> tuple[np.ndarray, np.ndarray]:
    """Each document's slope up to the break and from it on, by least squares of each side alone: [documents] each."""
    found = []
    for part in (slice(0, at + 1), slice(at, len(x))):
        centred = x[part] - x[part].mean()
        found.append(centred @ values[part] / (centred @ centred))
    return found[0], found[1]


_READING = (
    "A shape is named for the mean over documents. U: compression falls, then rises, each significantly on documents "
    "that had no part in choosing the turn. A curve that rises fast and levels off is saturating, not an inverted U, "
    "however well a parabola fits it. How often each shape is named where it is not, and found where it is, was "
    "simulated: docs/statistics.md."
)
