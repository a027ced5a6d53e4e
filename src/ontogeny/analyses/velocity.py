"""How fast compression changes, and whether there is a point at which that changes."""

from typing import Any, ClassVar

import numpy as np

from ontogeny.analyses.recorded.passages import PassageAnalysis, Passages
from ontogeny.core.analyses import RecordedRun, Result
from ontogeny.statistics.documents import means_by_document
from ontogeny.statistics.intervals import percentile_interval
from ontogeny.statistics.segmented import TwoLines

LEAST_CHANGE_POINT = 8
"""Checkpoints."""
LEAST_DOCUMENTS = 5


class Velocity(PassageAnalysis):
    """First and second derivative of each layer's mean compression of trained passages over epochs.

    On the uneven grid of checkpoints: velocity by second-order differences that weigh both neighbours by their distance
    (exact for parabolas), acceleration from the same three points; ends have a one-sided velocity and no acceleration.
    Intervals are a bootstrap over documents. A change of sign counts only between points whose intervals exclude 0.
    `change_point`: with eight checkpoints or more, the epoch (on log(1 + epoch)) at which two connected lines fit best,
    with a document bootstrap; it is reported only if the interval of the change of slope excludes 0.
    """

    order: ClassVar[float] = 70

    def analyze(self, run: RecordedRun) -> Result:
        """Differentiate every layer."""
        return self.differentiate(self.passages(run))

    def differentiate(self, table: Passages) -> Result:
        """The same, from a table of passages."""
        random = np.random.default_rng(self.seed)
        trajectories = means_by_document(table.score[..., table.trained], table.document[table.trained])
        n, epoch = trajectories.shape[-1], table.epoch
        if len(epoch) < 3 or n < LEAST_DOCUMENTS:
            lack = f"not assessable: lacks 3 checkpoints and {LEAST_DOCUMENTS} documents"
            return Result(verdict=lack, sentences=(), reading=_READING, numbers={"epoch": epoch, "n": n})
        layers = range(len(table.layer))
        speed = np.array([velocity(epoch, trajectories[:, i].mean(axis=-1)) for i in layers])
        second = np.array([acceleration(epoch, trajectories[:, i].mean(axis=-1)) for i in layers])
        draws = random.integers(0, n, (1000, n))
        means = np.stack([trajectories[..., drawn].mean(axis=-1) for drawn in draws])
        low, high = percentile_interval(
            np.stack([np.stack([velocity(epoch, mean[:, i]) for mean in means]) for i in layers]), axis=1
        )
        turns = [int(count) for count in sign_changes(low, high)]
        enough = len(epoch) >= LEAST_CHANGE_POINT
        points = _change_points(np.log1p(epoch), trajectories, draws[:300]) if enough else []
        verdict = f"velocity changes its sign in {sum(count > 0 for count in turns)} of {len(turns)} layers"
        if not enough:
            verdict += f"; a change point is not assessable: lacks {LEAST_CHANGE_POINT} checkpoints"
        numbers = {
            "epoch": epoch,
            "layer": table.layer,
            "velocity": speed,
            "low": low,
            "high": high,
            "acceleration": second,
            "sign_changes": turns,
            "change_points": points,
            "n": n,
        }
        sentences = [_of_speed(b, i, numbers) for i, b in enumerate(table.layer)]
        sentences += [
            f"block {b}: its slope over log epochs changes at epoch {np.expm1(point[0]):.2g}, 95% "
            f"{np.expm1(point[1]):.2g} to {np.expm1(point[2]):.2g}"
            for b, point in zip(table.layer, points, strict=False)
            if point is not None
        ]
        return Result(verdict=verdict, sentences=tuple(sentences), reading=_READING, numbers=numbers)


def _of_speed(block: int, layer: int, numbers: dict[str, Any]) -> str:
    speed, low, high = (numbers[key][layer] for key in ("velocity", "low", "high"))
    at = int(np.abs(speed).argmax())
    return (
        f"block {block}: fastest at epoch {numbers['epoch'][at]:g}: {speed[at]:+.3g} nats per epoch, 95% "
        f"{low[at]:+.3g} to {high[at]:+.3g}; {numbers['sign_changes'][layer]} changes of sign that intervals bear out"
    )


def _change_points(
    x: np.ndarray, trajectories: np.ndarray, draws: np.ndarray
) -> list[tuple[float, float, float] | None]:
    """Each layer's change point and its interval, in units of x; None where no change of slope is sure."""
    lines = TwoLines(x)
    points: list[tuple[float, float, float] | None] = []
    for layer in range(trajectories.shape[1]):
        documents = trajectories[:, layer]
        at, bend = _knee(lines, x, documents.mean(axis=-1))
        drawn = np.array([_knee(lines, x, documents[:, ids].mean(axis=-1)) for ids in draws])
        (first, low), (last, high) = percentile_interval(drawn)
        points.append((at, float(first), float(last)) if low * high > 0 and bend else None)
    return points


def _knee(lines: TwoLines, x: np.ndarray, curve: np.ndarray) -> tuple[float, float]:
    """Where two connected lines fit best, and the change of slope there."""
    place = lines.best(curve)
    return float(x[lines.candidates[place]]), lines.bend(curve, place)


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
