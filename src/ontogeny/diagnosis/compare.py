"""Where two logs diverge beyond their noise."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ontogeny.diagnosis.rules.stability import excess
from ontogeny.statistics import autocorrelation, robust
from ontogeny.store.history import History, Series

APART_SD = 3.0
SPIKE_SD = 6.0
LEAST = 10
"""Fewest common steps at which a divergence is looked for."""
SHARE_LEFT = 0.1
"""A divergence lasts to the end, over at least this share of the common steps."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The same series of both logs, at common steps."""

    name: str
    steps: int
    """Steps at which both have a value, or to which the more finely logged one was interpolated."""
    interpolated: bool
    equal: bool
    """Equal in every bit at all common steps."""
    noise_sd: float
    """Robust sd of the difference about its smoothed curve."""
    parted_at: int | None
    """Step from which the smoothed difference stays beyond 3 sd of its noise, to the end; None if there is none."""
    final: robust.CurveEstimate
    """Second minus first over the last tenth, with a 95% interval."""
    level: float
    """Median of the first over the last tenth."""
    common_spikes: tuple[int, ...] = ()
    """Steps at which both logs have a spike: caused by the data, not by the optimisation."""
    own_spikes: tuple[tuple[int, ...], tuple[int, ...]] = field(default=((), ()))
    """Steps of spikes in the first log alone, and in the second alone."""


def compare(first: History, second: History) -> list[Compared]:
    """Compare every series that both logs have, in their longest segments. Loss first, then by name."""
    firsts, seconds = _longest_segment(first), _longest_segment(second)
    shared = [key for key in firsts if key in seconds]
    order = sorted(shared, key=lambda key: (key[1] != "loss", key[0] != "train", key))
    compared = [_compare(f"{scope}/{name}", firsts[scope, name], seconds[scope, name]) for scope, name in order]
    return [series for series in compared if series is not None]


def _longest_segment(history: History) -> Mapping[tuple[str, str], Series]:
    if not history.segments:
        return {}
    segment = max(history.segments, key=lambda segment: sum(map(len, segment)))
    return {(series.scope, series.name): series.clean() for series in segment}


def aligned(first: Series, second: Series) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Common steps, both series' values there, and whether the finer series was interpolated to the coarser's steps."""
    steps, left, right = np.intersect1d(first.steps, second.steps, return_indices=True)
    if len(steps) >= LEAST or len(steps) >= 0.5 * min(len(first), len(second)):
        return steps, first.values[left], second.values[right], False
    coarse, fine, swapped = (first, second, False) if len(first) <= len(second) else (second, first, True)
    if len(fine) < 2:
        return steps, first.values[left], second.values[right], False
    inside = (coarse.steps >= fine.steps[0]) & (coarse.steps <= fine.steps[-1])
    at = coarse.steps[inside]
    values = coarse.values[inside], np.interp(at, fine.steps, fine.values)
    return at, values[1] if swapped else values[0], values[0] if swapped else values[1], True


def _compare(name: str, first: Series, second: Series) -> Compared | None:
    steps, left, right, interpolated = aligned(first, second)
    if len(steps) < 2:
        return None
    difference = right - left
    tail = robust.ends(difference)[1] if len(difference) >= 4 else difference
    equal = not interpolated and bool((difference == 0).all())
    noise = robust.noise(difference)
    is_long_loss = first.name == "loss" and len(first) >= 100 and len(second) >= 100
    first_spikes, second_spikes = (_spikes(first), _spikes(second)) if is_long_loss else ((), ())
    # Two logs may place the same spike a few entries apart: allow three logging intervals.
    near = max(int(np.median(np.diff(first.steps[:200]))), 1) * 3 if len(first) > 1 else 1
    common = tuple(step for step in first_spikes if any(abs(step - other) <= near for other in second_spikes))
    return Compared(
        name=name,
        steps=len(steps),
        interpolated=interpolated,
        equal=equal,
        noise_sd=float(noise),
        parted_at=None if equal else _parting(steps, difference, noise),
        final=_final(difference, tail),
        level=float(np.median(left[-len(tail) :])),
        common_spikes=common,
        own_spikes=(
            tuple(step for step in first_spikes if step not in common),
            tuple(step for step in second_spikes if all(abs(step - shared) > near for shared in common)),
        ),
    )


def _final(difference: np.ndarray, tail: np.ndarray) -> robust.CurveEstimate:
    """The mean over the tail. Its autocorrelation time is that of the whole difference about its smoothed curve."""
    if len(difference) < 50:
        return robust.geyer_mean(tail)
    residual = difference - robust.smooth(difference, max(len(difference) // 5, 5) | 1)
    return robust.geyer_mean(tail, autocorrelation.geyer_time(residual))


def _spikes(series: Series) -> tuple[int, ...]:
    """Steps at which a loss is more than 6 sd above the median of the 50 before; of neighbours, the highest."""
    above = excess(series)
    high = np.flatnonzero(above > SPIKE_SD)
    if not len(high):
        return ()
    groups = np.split(high, np.flatnonzero(np.diff(high) > 5) + 1)
    return tuple(int(series.steps[group[np.argmax(above[group])]]) for group in groups)


def _parting(steps: np.ndarray, difference: np.ndarray, noise: float) -> int | None:
    """The first step from which a running median of the difference stays on one side, beyond 3 standard errors.

    The window holds a fiftieth of the steps (5 to 101). The standard error of its median is 1.25 sd / sqrt(window) x
    sqrt(autocorrelation time of the difference). None unless the mean over the last tenth differs from 0, too.
    """
    n = len(difference)
    if n < LEAST or not np.isfinite(noise):
        return None
    window = min(max(n // 50, 5), 101) | 1
    smooth = robust.smooth(difference, window)
    error = 1.25 * robust.spread(difference - smooth) / np.sqrt(window)
    residual = difference - robust.smooth(difference, max(n // 5, 5) | 1)
    error *= np.sqrt(autocorrelation.geyer_time(residual))
    floor = 1e-12 + 1e-9 * float(np.abs(difference).max())  # the noise of equal stretches is exactly 0
    apart = np.abs(smooth) > APART_SD * error + floor
    last = _final(difference, robust.ends(difference)[1])
    if not apart[-1] or last.low <= 0 <= last.high:
        return None
    same_side = apart & (np.sign(smooth) == np.sign(smooth[-1]))
    start = int(np.flatnonzero(~same_side)[-1]) + 1 if not same_side.all() else 0
    start += int(np.argmax(difference[start:] != 0))  # the window also covers steps at which nothing differs yet
    return int(steps[start]) if n - start >= SHARE_LEFT * n else None
