"""How fast compression changes, and whether there is a point at which that changes."""

from typing import Any, ClassVar

import numpy as np

from ontogeny.analyses.recorded.passages import PassageAnalysis, Passages
from ontogeny.core.analyses import RecordedRun, Result
from ontogeny.statistics.corrections import bonferroni
from ontogeny.statistics.documents import means_by_document
from ontogeny.statistics.estimates import counted, shortage
from ontogeny.statistics.intervals import percentile_interval, t_interval
from ontogeny.statistics.segmented import TwoLines
from ontogeny.statistics.simultaneous import simultaneous_band

LEAST_CHECKPOINTS = 3
LEAST_CHANGE_POINT = 8
"""Checkpoints."""
LEAST_DOCUMENTS = 8
LEVEL = 0.05


class Velocity(PassageAnalysis):
    """First and second derivative of each layer's mean compression of trained passages over epochs.

    On the uneven grid of checkpoints: velocity by second-order differences that weigh both neighbours by their distance
    (exact for parabolas), acceleration from the same three points; ends have a one-sided velocity and no acceleration.
    Bands hold the velocities of all layers at all checkpoints together (`simultaneous.simultaneous_band`, over
    documents); a change of sign counts only between points whose bands exclude 0. `change_point`: with eight
    checkpoints or more, the epoch (on log(1 + epoch)) at which two connected lines fit best. It is chosen on one half
    of the documents and the change of slope there tested on the other, both ways, corrected over both and over layers;
    it is reported only if that is significant, with the middle 95% of what resampled documents choose.
    """

    order: ClassVar[float] = 70

    def analyze(self, run: RecordedRun) -> Result:
        """Differentiate every layer."""
        return self.differentiate(self.passages(run))

    def differentiate(self, table: Passages) -> Result:
        """The same, from a table of passages."""
        random = np.random.default_rng(self.seed)
        trajectories = means_by_document(table.score[..., table.trained], table.document[table.trained])
        trajectories = trajectories[..., np.isfinite(trajectories).any(axis=(0, 1))]
        n, epoch = trajectories.shape[-1], table.epoch
        if len(epoch) < LEAST_CHECKPOINTS or n < LEAST_DOCUMENTS:
            few = shortage(LEAST_DOCUMENTS, "trained document", n, "take the trained probe set from more documents")
            if len(epoch) < LEAST_CHECKPOINTS:
                few = shortage(LEAST_CHECKPOINTS, "checkpoint", len(epoch), f"measure at {LEAST_CHECKPOINTS} or more")
            return Result(
                verdict=f"not assessable: lacks {few}", sentences=(), reading=_READING, numbers={"epoch": epoch, "n": n}
            )
        whole = np.isfinite(trajectories).all(axis=(0, 2))
        if not whole.any():
            lack = "not assessable: compression is no number at some checkpoint in every layer"
            return Result(verdict=lack, sentences=(), reading=_READING, numbers={"epoch": epoch, "n": n})
        layer, trajectories = table.layer[whole], trajectories[:, whole]
        trajectories = trajectories - trajectories[:1]  # so that what does not move has a velocity of exactly 0
        by_document = np.moveaxis(np.gradient(trajectories, epoch, axis=0), (2, 1), (0, 1))  # [documents, layers, C]
        speed, low, high = simultaneous_band(by_document, random)
        second = np.array([acceleration(epoch, trajectories[:, i].mean(axis=-1)) for i in range(len(layer))])
        turns = [int(count) for count in sign_changes(low, high)]
        enough = len(epoch) >= LEAST_CHANGE_POINT
        points = _change_points(np.log1p(epoch), trajectories, random) if enough else []
        verdict = f"velocity changes its sign in {sum(count > 0 for count in turns)} of {len(turns)} layers"
        if not enough:
            remedy = f"measure at {LEAST_CHANGE_POINT} or more"
            few = shortage(LEAST_CHANGE_POINT, "checkpoint", len(epoch), remedy)
            verdict += f"; a change point is not assessable: lacks {few}"
        numbers = {
            "epoch": epoch,
            "layer": layer,
            "velocity": speed,
            "low": low,
            "high": high,
            "acceleration": second,
            "sign_changes": turns,
            "change_points": points,
            "n": n,
        }
        sentences = [_of_speed(b, i, numbers) for i, b in enumerate(layer)]
        if not whole.all():
            lacking = ", ".join(map(str, table.layer[~whole]))
            sentences.append(f"left out, since compression is no number there at some checkpoint: block {lacking}")
        sentences += [
            f"block {b}: its slope over log epochs changes at epoch {np.expm1(point[0]):.2g}, 95% "
            f"{np.expm1(point[1]):.2g} to {np.expm1(point[2]):.2g}"
            for b, point in zip(layer, points, strict=False)
            if point is not None
        ]
        return Result(verdict=verdict, sentences=tuple(sentences), reading=_READING, numbers=numbers)


def _of_speed(block: int, layer: int, numbers: dict[str, Any]) -> str:
    speed, low, high = (numbers[key][layer] for key in ("velocity", "low", "high"))
    at = int(np.abs(speed).argmax())
    turns = counted(numbers["sign_changes"][layer], "change")
    return (
        f"block {block}: fastest at epoch {numbers['epoch'][at]:g}: {speed[at]:+.3g} nats per epoch, 95% band "
        f"{low[at]:+.3g} to {high[at]:+.3g}; {turns} of sign that the bands bear out"
    )


def _change_points(
    x: np.ndarray, trajectories: np.ndarray, random: np.random.Generator
) -> list[tuple[float, float, float] | None]:
    """Each layer's change point and its interval, in units of x; None where no change of slope is sure."""
    lines = TwoLines(x)
    n = trajectories.shape[-1]
    halves = np.array_split(random.permutation(n), 2)
    p = np.array([_p_of_bend(lines, trajectories[:, layer], halves) for layer in range(trajectories.shape[1])])
    points: list[tuple[float, float, float] | None] = []
    for layer, corrected in enumerate(bonferroni(p, len(p))):
        if not corrected < LEVEL:
            points.append(None)
            continue
        documents = trajectories[:, layer]
        at = _knee(lines, x, documents.mean(axis=-1))
        drawn = [_knee(lines, x, documents[:, random.integers(0, n, n)].mean(axis=-1)) for _ in range(300)]
        low, high = percentile_interval(np.array(drawn))
        points.append((at, float(low), float(high)))
    return points


def _p_of_bend(lines: TwoLines, documents: np.ndarray, halves: list[np.ndarray]) -> float:
    """P that slopes are the same before and after the knee that other documents choose; `documents` [C, D]."""
    p_values = []
    for choosing, testing in (halves, halves[::-1]):
        place = lines.best(documents[:, choosing].mean(axis=-1))
        p_values.append(t_interval(np.array([lines.bend(curve, place) for curve in documents[:, testing].T])).p)
    return min(1.0, 2 * min(p_values))


def _knee(lines: TwoLines, x: np.ndarray, curve: np.ndarray) -> float:
    """Where two connected lines fit best."""
    return float(x[lines.candidates[lines.best(curve)]])


def velocity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """First derivative on an uneven grid, float64 [C]; exact for parabolas inside, one-sided at the ends."""
    return np.asarray(np.gradient(y, x))


def acceleration(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Second derivative of the parabola through each point and its neighbours; NaN at the ends."""
    left, right = np.diff(x)[:-1], np.diff(x)[1:]
    slopes = np.diff(y) / np.diff(x)
    second = np.full(len(x), np.nan)
    second[1:-1] = 2 * np.diff(slopes) / (left + right)
    return second


def sign_changes(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """How often each row's velocity turns, counting only points whose interval excludes 0: int [rows]."""
    sign = np.where(low > 0, 1, np.where(high < 0, -1, 0))
    return np.array([int((np.diff(row[row != 0]) != 0).sum()) for row in sign])


_READING = (
    "A velocity between two checkpoints far apart is an average over what happened there. The grid decides what can "
    "be seen: a turn between two checkpoints leaves no trace. Documents went through one model; see other seeds before "
    "naming a phase."
)
