"""Which way a layer's compression goes: flat, linear, saturating, U or inverted U. A U needs evidence on both sides."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.passages import PassageAnalysis, Passages
from ontogeny.core.analyses import RecordedRun, Result
from ontogeny.statistics.documents import LEAST_DOCUMENTS, halves_of_groups, means_by_document
from ontogeny.statistics.estimates import shortage
from ontogeny.statistics.intervals import MeanInterval, t_interval
from ontogeny.statistics.segmented import LEAST_SIDE, TwoLines, slopes_of_sides
from ontogeny.statistics.two_samples import group_difference

LEAST = 2 * LEAST_SIDE
"""Checkpoints below which no turn can be claimed."""
LEAST_BESIDE = 8
"""Trained and novel documents, below which no turn beside novel text is claimed: halves of fewer, compared by Welch's
t, claim too much, since the spread of two or three is not known."""
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
    """Of trained minus novel passages: slopes are compared by Welch's t, so that novel documents count as few."""

    def analyze(self, run: RecordedRun) -> Result:
        """Name every layer's shape."""
        return self.judge(self.passages(run))

    def judge(self, table: Passages) -> Result:
        """The same, from a table of passages."""
        trained = means_by_document(table.score[..., table.trained], table.document[table.trained])
        novel = None
        if self.against_novel:
            novel = means_by_document(table.score[..., ~table.trained], table.document[~table.trained])
        shapes = {"epoch": self._shapes(table.epoch, trained, novel)}
        shapes["log_epoch"] = self._shapes(np.log1p(table.epoch), trained, novel)
        sentences = [
            f"block {layer}: {by_epoch.name} over epochs, {by_log.name} over log epochs ({by_epoch.why})"
            for layer, by_epoch, by_log in zip(table.layer, shapes["epoch"], shapes["log_epoch"], strict=True)
        ]
        numbers = {"epoch": table.epoch, "layer": table.layer, "shapes": shapes, "n": trained.shape[-1]}
        verdict = _verdict(table.layer, shapes["epoch"])
        return Result(verdict=verdict, sentences=tuple(sentences), reading=_READING, numbers=numbers)

    def _shapes(self, x: np.ndarray, trained: np.ndarray, novel: np.ndarray | None) -> "list[CurveShape]":
        """Of each layer; `trained` and `novel` [C, layers, documents]."""
        layers = trained.shape[1]
        return [
            shape_of(
                x,
                trained[:, layer],
                np.random.default_rng((self.seed, layer)),
                tests=layers,
                beside=None if novel is None else novel[:, layer],
            )
            for layer in range(layers)
        ]


def _verdict(blocks: np.ndarray, shapes: "list[CurveShape]") -> str:
    """Of the layers that could be judged; those that could not are named, with what is lacking."""
    unmeasured = [int(b) for b, shape in zip(blocks, shapes, strict=True) if shape.name == "not assessable"]
    if len(unmeasured) == len(shapes):
        return "not assessable: compression is no number at some checkpoint in every layer"
    turns = [int(b) for b, shape in zip(blocks, shapes, strict=True) if shape.name in TURNS]
    lacking = dict.fromkeys(shape.lacks for shape in shapes if shape.lacks)
    if turns:
        verdict = f"a turn at blocks {turns} in this run; whether it recurs is not assessable with one seed"
    elif lacking:
        verdict = f"whether a layer turns is not assessable: lacks {next(iter(lacking))}"
    else:
        verdict = "no layer turns"
    return verdict + (f"; not measured: blocks {unmeasured}" if unmeasured else "")


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
    lacks: str = ""
    """What there is too little of to tell whether it turns, ready to print."""


def shape_of(
    x: np.ndarray, values: np.ndarray, random: np.random.Generator, tests: int = 1, beside: np.ndarray | None = None
) -> CurveShape:
    """The shape of a curve that many documents trace. `x` [C] rises, `values` is [C, documents].

    `tests`: how many curves are tested together, for Bonferroni. `beside` [C, other documents]: the shape is that of
    the first documents' mean minus theirs, and every test is Welch's of the two groups. (The mean of few documents,
    subtracted as if it were known, would bend all of the first alike.) With fewer than four in a group nothing is sure.
    A curve is not flat if its change, or its slope before the break in the direction of the change, is significant at
    half of the level.
    """
    level = LEVEL / tests
    values = values[:, np.isfinite(values).all(axis=0)]
    sizes = [values.shape[1]]
    if beside is not None:
        beside = beside[:, np.isfinite(beside).all(axis=0)]
        sizes.append(beside.shape[1])
    if not min(sizes):
        return CurveShape(name="not assessable", why=NOT_MEASURED, change=float("nan"), p_change=float("nan"))
    both = values if beside is None else np.concatenate([values, beside], axis=1)
    first = np.arange(both.shape[1]) < sizes[0]
    change = _mean(both[-1] - both[0], first)
    name: Name
    if lack := _lack(len(x), sizes):
        p = f", p = {change.p:.3g}" if np.isfinite(change.p) else ", without an interval"
        return CurveShape(
            name="linear" if change.p < level else "flat",
            why=f"a turn is not assessable: lacks {lack}; change {change.value:+.3f}{p}",
            change=change.value,
            p_change=change.p,
            lacks=lack,
        )
    groups = [np.flatnonzero(first), np.flatnonzero(~first)][: len(sizes)]
    choose, report = halves_of_groups(groups, random)
    lines = TwoLines(x)
    curve = both[:, choose[first[choose]]].mean(axis=1)
    if beside is not None:
        curve = curve - both[:, choose[~first[choose]]].mean(axis=1)
    at = int(lines.candidates[lines.best(curve)])
    slopes_before, slopes_after = slopes_of_sides(x, both[:, report], at)
    reported = first[report]
    before, after = _mean(slopes_before, reported), _mean(slopes_after, reported)
    name = "flat"
    if before.p < level and after.p < level and before.value * after.value < 0:
        name = "U" if before.value < 0 else "inverted U"
    elif min(change.p, before.p if before.value * change.value > 0 else 1.0) < level / 2:  # two ways not to be flat
        # Below 0: the slope after has less than half the size of that before, in the same direction.
        less = _mean(np.sign(before.value) * (slopes_after - 0.5 * slopes_before), reported)
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


def _lack(checkpoints: int, documents: list[int]) -> str:
    """What there is too little of for a turn, ready to print; `documents`: trained ones, and novel ones if any."""
    if checkpoints < LEAST:
        return shortage(LEAST, "checkpoint", checkpoints, f"measure at {LEAST} or more")
    for kind, n in zip(("trained", "novel"), documents, strict=False):
        least = LEAST_DOCUMENTS if len(documents) == 1 else LEAST_BESIDE
        if n < least:
            return shortage(least, f"{kind} document", n, f"take the {kind} probe set from more documents")
    return ""


def _mean(values: np.ndarray, first: np.ndarray) -> MeanInterval:
    """Of documents, or where some are not of the `first` group (bool [documents]), of these minus the others."""
    if first.all():
        return t_interval(values)
    difference = group_difference(values[first], values[~first])
    if min(difference.n) < LEAST_DOCUMENTS:
        difference = replace(difference, low=float("nan"), high=float("nan"), p=float("nan"))
    value = float(values[first].mean() - values[~first].mean())  # one document of a group has a mean, too
    return MeanInterval(value, difference.low, difference.high, difference.p)


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
