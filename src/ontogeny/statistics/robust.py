"""Statistics for short, noisy, autocorrelated curves. numpy alone; random numbers from a fixed seed, so pure."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

TO_SD = 1.4826
"""Median absolute deviation to standard deviation, for normal noise: 1 / Phi^-1(3/4)."""
_DRAWS = 400


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate with a 95% interval."""

    value: float
    low: float
    high: float
    n: int


def spread(values: np.ndarray) -> float:
    """Robust standard deviation: 1.4826 x median absolute deviation from the median. NaN of nothing."""
    return float(TO_SD * np.median(np.abs(values - np.median(values)))) if len(values) else float("nan")


def noise(values: np.ndarray) -> float:
    """Robust sd of the noise about a smooth curve, from second differences x[i-1] - 2 x[i] + x[i+1], over sqrt(6).

    A straight trend drops out. Positive autocorrelation makes it too small, never too large. NaN below 4 points.
    """
    if len(values) < 4:
        return float("nan")
    second = values[2:] - 2 * values[1:-1] + values[:-2]
    return float(TO_SD * np.median(np.abs(second)) / np.sqrt(6.0))


def before(values: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Median and robust sd of the `window` values before each one; NaN for the first `window`. Both float64 [n]."""
    middle, width = median_before(values, window), np.full(len(values), np.nan)
    for start, windows in _windows(values, window):
        stop = start + len(windows)
        width[start:stop] = TO_SD * np.median(np.abs(windows - middle[start:stop, None]), axis=1)
    return middle, width


def median_before(values: np.ndarray, window: int) -> np.ndarray:
    """Median of the `window` values before each one; NaN for the first `window`. float64 [n]."""
    middle = np.full(len(values), np.nan)
    for start, windows in _windows(values, window):
        middle[start : start + len(windows)] = np.median(windows, axis=1)
    return middle


def _windows(values: np.ndarray, window: int) -> Iterator[tuple[int, np.ndarray]]:
    """The `window` values before each one, [rows, window], in pieces of bounded memory; where each piece begins."""
    for start in range(window, len(values), 16_384):
        stop = min(start + 16_384, len(values))
        yield start, np.lib.stride_tricks.sliding_window_view(values[start - window : stop - 1], window)


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred running median over an odd `window`, shortened at the ends. float64 [n]."""
    half = max(window // 2, 0)
    if half == 0 or len(values) < 3:
        return values.astype(np.float64)
    padded = np.concatenate([np.full(half, np.nan), values, np.full(half, np.nan)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    return np.nanmedian(windows, axis=1)


def ends(values: np.ndarray, share: float = 0.1, least: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last `share` of a curve, at least `least` values each (fewer if it is shorter than both)."""
    count = min(max(int(len(values) * share), least), len(values) // 2)
    return values[:count], values[len(values) - count :]


def autocorrelation_time(values: np.ndarray) -> float:
    """Integrated autocorrelation time 1 + 2 sum rho_k, of what remains about a straight line; at least 1.

    Summed while the pair rho_2k + rho_2k+1 is positive (Geyer, "Practical Markov chain Monte Carlo", 1992).
    """
    n = len(values)
    if n < 8:
        return 1.0
    x = np.arange(n)
    rest = values - np.polyval(np.polyfit(x, values, 1), x)
    variance = float(np.dot(rest, rest))
    if variance <= 0:
        return 1.0
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(rest, size)
    rho = np.fft.irfft(spectrum * np.conj(spectrum), size)[: n // 2] / variance
    total = -1.0
    for first, second in zip(rho[0::2], rho[1::2], strict=False):
        if first + second <= 0:
            break
        total += 2 * (first + second)
    return max(total, 1.0)


def mean(values: np.ndarray, time: float | None = None) -> Estimate:
    """Mean with a 95% interval from the effective sample size n / t, t the autocorrelation time.

    `time` is t where a longer series tells it; else it is estimated from these values (8 or more), and made longer by
    1 + 2 t / n, since a short series hides its slow part. The variance about the sample's own mean is too small by
    1 - t / n, and the quantile is Student's. In simulation (AR(1), 600 draws each) the interval covers 97% at n = 20
    without autocorrelation, 87% with a coefficient of 0.5, 61% with 0.9; at n = 400 95%, 94%, 92%.
    """
    n = len(values)
    if n < 2:
        value = float(values[0]) if n else float("nan")
        return Estimate(value=value, low=float("-inf"), high=float("inf"), n=n)
    if time is None:
        time = autocorrelation_time(values)
        time *= 1 + 2 * time / n if n >= 8 else 1.0
    effective = max(n / time, 2.0)
    variance = float(np.var(values)) / max(1 - time / n, 0.2)
    half = student_width(effective - 1) * float(np.sqrt(variance / effective))
    value = float(values.mean())
    return Estimate(value=value, low=value - half, high=value + half, n=n)


def student_width(degrees: float) -> float:
    """The 97.5% quantile of Student's t, to about 2% for 2 degrees of freedom or more."""
    degrees = max(degrees, 1.0)
    return 1.96 + 2.4 / degrees + 5.0 / degrees**2


def difference(later: np.ndarray, earlier: np.ndarray) -> Estimate:
    """Mean of `later` minus mean of `earlier`, errors of both from their effective sample sizes."""
    one, other = mean(later), mean(earlier)
    value = one.value - other.value
    half = float(np.hypot((one.high - one.low) / 2, (other.high - other.low) / 2))
    return Estimate(value=value, low=value - half, high=value + half, n=min(one.n, other.n))


def trend(steps: np.ndarray, values: np.ndarray) -> Estimate:
    """Total change along a straight line (least squares) from the first to the last step, with a 95% interval.

    The slope's error is inflated by the square root of the residuals' autocorrelation time. NaN below 4 points.
    """
    n = len(values)
    if n < 4 or steps[-1] == steps[0]:
        return Estimate(value=float("nan"), low=float("-inf"), high=float("inf"), n=n)
    x = (steps - steps[0]) / (steps[-1] - steps[0])
    slope, intercept = np.polyfit(x, values, 1)
    rest = values - slope * x - intercept
    error = np.sqrt(np.dot(rest, rest) / (n - 2) / np.dot(x - x.mean(), x - x.mean()))
    error *= np.sqrt(autocorrelation_time(rest))
    width = student_width(n - 2)
    return Estimate(value=float(slope), low=float(slope - width * error), high=float(slope + width * error), n=n)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, ties averaged. float64 [n]."""
    order = np.argsort(values, kind="stable")
    ranked = np.empty(len(values))
    ranked[order] = np.arange(len(values))
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    sums = np.zeros(len(counts))
    np.add.at(sums, inverse, ranked)
    return np.asarray(sums[inverse] / counts[inverse])


def change_correlation(one: np.ndarray, other: np.ndarray) -> Estimate:
    """Spearman correlation of the *changes* of two curves (two random walks correlate; their steps do not).

    Interval by Fisher's z with variance 1.06 / (n - 3) for n changes (Fieller et al., 1957). Below 6 points the
    interval is [-1, 1].
    """
    first, second = ranks(np.diff(one)), ranks(np.diff(other))
    n = len(first)
    if n < 5 or np.std(first) == 0 or np.std(second) == 0:
        return Estimate(value=float("nan"), low=-1.0, high=1.0, n=n)
    r = float(np.clip(np.corrcoef(first, second)[0, 1], -0.999999, 0.999999))
    half = 1.96 * np.sqrt(1.06 / (n - 3))
    return Estimate(value=r, low=float(np.tanh(np.arctanh(r) - half)), high=float(np.tanh(np.arctanh(r) + half)), n=n)


def block_permutation(values: np.ndarray, at: int, block: int | None = None) -> float:
    """P-value of a difference in means before and after index `at`, under permutation of whole blocks.

    Blocks keep the autocorrelation inside them; by default they are as long as twice its time, which is taken from the
    two sides apart (the difference that is tested would look like autocorrelation). Two-sided, with the
    observed arrangement counted: (1 + exceedances) / (1 + 400). 1 where fewer than 4 blocks stand on a side.
    """
    apart = max(autocorrelation_time(values[:at]), autocorrelation_time(values[at:]))
    size = block or max(int(2 * apart), 1)
    usable = values[: len(values) // size * size].reshape(-1, size).mean(axis=1)
    split = at // size
    if split < 4 or len(usable) - split < 4:
        return 1.0
    observed = abs(usable[split:].mean() - usable[:split].mean())
    generator = np.random.default_rng(0)
    drawn = np.array([generator.permutation(usable) for _ in range(_DRAWS)])
    differences = np.abs(drawn[:, split:].mean(axis=1) - drawn[:, :split].mean(axis=1))
    return float((1 + np.sum(differences >= observed * (1 - 1e-12))) / (1 + _DRAWS))
