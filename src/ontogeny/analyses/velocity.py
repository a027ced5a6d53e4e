"""How fast compression changes, and whether there is a point at which that changes."""

import numpy as np

from ontogeny.analyses.recorded.passages import PassageAnalysis, Passages
from ontogeny.core.analyses import RecordedRun, Result
from ontogeny.statistics import by_document as stats

LEAST_CHANGE_POINT = 8


class Velocity(PassageAnalysis):
    """First and second derivative of each layer's mean compression of trained passages over epochs.

    On the uneven grid of checkpoints: velocity by second-order differences that weigh both neighbours by their distance
    (exact for parabolas), acceleration from the same three points; ends have a one-sided velocity and no acceleration.
    Intervals are a bootstrap over documents. A change of sign counts only between points whose intervals exclude 0.
    `change_point`: with eight checkpoints or more, the epoch (on log(1 + epoch)) at which two connected lines fit best,
    with a document bootstrap; it is reported only if the slopes differ, on that interval, by more than their error.
    """

    def analyze(self, run: RecordedRun) -> Result:
        """Differentiate every layer."""
        return self.differentiate(self.passages(run))

    def differentiate(self, table: Passages) -> Result:
        """The same, from passages laid side by side."""
        random = np.random.default_rng(self.seed)
        own = stats.by_document(table.score[..., table.trained], table.document[table.trained])
        n = own.shape[-1]
        epoch = table.epoch
        if len(epoch) < 3 or n < 5:
            return Result(
                verdict="not assessable: lacks 3 checkpoints and 5 documents",
                sentences=(),
                reading=_READING,
                numbers={"epoch": epoch, "n": n},
            )
        speed = np.array([velocity(epoch, own[:, i].mean(axis=-1)) for i in range(len(table.layer))])
        second = np.array([acceleration(epoch, own[:, i].mean(axis=-1)) for i in range(len(table.layer))])
        draws = random.integers(0, n, (1000, n))
        means = np.stack([own[..., one].mean(axis=-1) for one in draws])
        drawn = np.stack([np.stack([velocity(epoch, row[:, i]) for row in means]) for i in range(len(table.layer))])
        low, high = np.quantile(drawn, [0.025, 0.975], axis=1)
        turns = [int(one) for one in sign_changes(low, high)]
        sentences = [
            f"block {b}: fastest at epoch {epoch[at]:g}: {speed[i, at]:+.3g} nats per epoch, 95% {low[i, at]:+.3g} to "
            f"{high[i, at]:+.3g}; {turns[i]} changes of sign that intervals bear out"
            for i, b in enumerate(table.layer)
            for at in [int(np.abs(speed[i]).argmax())]
        ]
        points = self._change_points(np.log1p(epoch), own, draws[:300]) if len(epoch) >= LEAST_CHANGE_POINT else []
        sentences += [
            f"block {b}: its slope over log epochs changes at epoch {np.expm1(p[0]):.2g}, 95% {np.expm1(p[1]):.2g} to "
            f"{np.expm1(p[2]):.2g}"
            for b, p in zip(table.layer, points, strict=False)
            if p is not None
        ]
        verdict = f"velocity changes its sign in {sum(one > 0 for one in turns)} of {len(turns)} layers"
        if not points:
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
        return Result(verdict=verdict, sentences=tuple(sentences), reading=_READING, numbers=numbers)

    @staticmethod
    def _change_points(x: np.ndarray, own: np.ndarray, draws: np.ndarray) -> list[tuple[float, float, float] | None]:
        found: list[tuple[float, float, float] | None] = []
        for layer in range(own.shape[1]):
            at, bend = knee(x, own[:, layer].mean(axis=-1))
            drawn = np.array([knee(x, own[:, layer][:, one].mean(axis=-1)) for one in draws])
            low, high = np.quantile(drawn[:, 1], [0.025, 0.975])
            where = np.quantile(drawn[:, 0], [0.025, 0.975])
            found.append((at, float(where[0]), float(where[1])) if low * high > 0 and bend else None)
        return found


def velocity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """First derivative on an uneven grid, float64 [C]; exact for parabolas inside, one-sided at the ends."""
    return np.asarray(np.gradient(y, x))


def acceleration(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Second derivative of the parabola through each point and its neighbours; NaN at the ends."""
    left, right = np.diff(x)[:-1], np.diff(x)[1:]
    slopes = np.diff(y) / np.diff(x)
    found = np.full(len(x), np.nan)
    found[1:-1] = 2 * np.diff(slopes) / (left + right)
    return found


def sign_changes(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """How often each row's velocity turns, counting only points whose interval excludes 0: int [rows]."""
    sign = np.where(low > 0, 1, np.where(high < 0, -1, 0))
    return np.array([int((np.diff(row[row != 0]) != 0).sum()) for row in sign])


def knee(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Where two connected lines fit best (at a point with two others or more on each side), and the change of slope."""
    best = (np.inf, x[0], 0.0)
    for at in range(2, len(x) - 2):
        design = np.stack([np.ones(len(x)), x, np.maximum(x - x[at], 0)], axis=1)
        weights = np.linalg.lstsq(design, y, rcond=None)[0]
        rest = y - design @ weights
        best = min(best, (float(rest @ rest), float(x[at]), float(weights[2])))
    return best[1], best[2]


_READING = (
    "A velocity between two checkpoints far apart is an average over what happened there. The grid decides what can "
    "be seen: a turn between two checkpoints leaves no trace. Documents went through one model; see other seeds before "
    "naming a phase."
)
