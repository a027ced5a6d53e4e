"""Where two logs part, with the noise of both taken into account."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ontogeny.diagnosis.rules.stability import excess
from ontogeny.statistics import autocorrelation, robust
from ontogeny.store.history import History, Series

APART_SD = 3.0
SPIKE_SD = 6.0
LEAST = 10
SHARE_LEFT = 0.1
"""A parting lasts to the end and over at least a tenth of the common steps."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two series of one meaning, on common steps."""

    name: str
    steps: int
    """Steps at which both have a value (or the finer one was interpolated to the coarser one's)."""
    interpolated: bool
    equal: bool
    """Equal in every bit, at all common steps."""
    noise_sd: float
    """Robust sd of the difference about its own curve."""
    parted_at: int | None
    """Step from which the smoothed difference stays beyond 3 sd of its noise to the end; None if there is none."""
    final: robust.CurveEstimate
    """Second minus first over the last tenth, with a 95% interval."""
    level: float
    """Median of the first over the last tenth."""
    common_spikes: tuple[int, ...] = ()
    """Steps of spikes that both have: the data, not the optimisation."""
    own_spikes: tuple[tuple[int, ...], tuple[int, ...]] = field(default=((), ()))


def compare(one: History, other: History) -> list[Compared]:
    """Compare every series that both logs have, in their longest segments. Loss first, then by name."""
    first, second = (_longest(history) for history in (one, other))
    shared = [key for key in first if key in second]
    order = sorted(shared, key=lambda key: (key[1] != "loss", key[0] != "train", key))
    found = [_compare(f"{scope}/{name}", first[scope, name], second[scope, name]) for scope, name in order]
    return [entry for entry in found if entry is not None]


def _longest(history: History) -> Mapping[tuple[str, str], Series]:
    if not history.segments:
        return {}
    segment = max(history.segments, key=lambda one: sum(map(len, one)))
    return {(series.scope, series.name): series.clean() for series in segment}


def aligned(one: Series, other: Series) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Steps, both series' values there, and whether the finer one was interpolated to the other's steps."""
    steps, left, right = np.intersect1d(one.steps, other.steps, return_indices=True)
    if len(steps) >= LEAST or len(steps) >= 0.5 * min(len(one), len(other)):
        return steps, one.values[left], other.values[right], False
    coarse, fine, swapped = (one, other, False) if len(one) <= len(other) else (other, one, True)
    if len(fine) < 2:
        return steps, one.values[left], other.values[right], False
    inside = (coarse.steps >= fine.steps[0]) & (coarse.steps <= fine.steps[-1])
    at = coarse.steps[inside]
    values = coarse.values[inside], np.interp(at, fine.steps, fine.values)
    return at, values[1] if swapped else values[0], values[0] if swapped else values[1], True


def _compare(name: str, one: Series, other: Series) -> Compared | None:
    steps, left, right, interpolated = aligned(one, other)
    if len(steps) < 2:
        return None
    difference = right - left
    tail = robust.ends(difference)[1] if len(difference) >= 4 else difference
    equal = not interpolated and bool((difference == 0).all())
    noise = robust.noise(difference)
    low = one.name == "loss" and len(one) >= 100 and len(other) >= 100
    mine, theirs = (_spikes(one), _spikes(other)) if low else ((), ())
    near = max(int(np.median(np.diff(one.steps[:200]))), 1) * 3 if len(one) > 1 else 1
    common = tuple(step for step in mine if any(abs(step - their) <= near for their in theirs))
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
            tuple(step for step in mine if step not in common),
            tuple(step for step in theirs if all(abs(step - kept) > near for kept in common)),
        ),
    )


def _final(difference: np.ndarray, tail: np.ndarray) -> robust.CurveEstimate:
    """The mean over the tail; how its noise hangs together is told by the whole difference about its own curve."""
    if len(difference) < 50:
        return robust.geyer_mean(tail)
    rest = difference - robust.smooth(difference, max(len(difference) // 5, 5) | 1)
    return robust.geyer_mean(tail, autocorrelation.geyer_time(rest))


def _spikes(series: Series) -> tuple[int, ...]:
    """Steps at which a loss stands more than 6 sd above the median of the 50 before; the highest of neighbours."""
    above = excess(series)
    high = np.flatnonzero(above > SPIKE_SD)
    if not len(high):
        return ()
    groups = np.split(high, np.flatnonzero(np.diff(high) > 5) + 1)
    return tuple(int(series.steps[group[np.argmax(above[group])]]) for group in groups)


def _parting(steps: np.ndarray, difference: np.ndarray, noise: float) -> int | None:
    """The first step from which a running median of the difference stays on one side, beyond 3 of its standard errors.

    The window holds a fiftieth of the steps (5 to 101); the error of its median is 1.25 sd / sqrt(window), inflated by
    the root of the autocorrelation time of the difference. The whole is claimed only where the last tenth differs, too.
    """
    n = len(difference)
    if n < LEAST or not np.isfinite(noise):
        return None
    window = min(max(n // 50, 5), 101) | 1
    smooth = robust.smooth(difference, window)
    error = 1.25 * robust.spread(difference - smooth) / np.sqrt(window)
    rest = difference - robust.smooth(difference, max(n // 5, 5) | 1)
    error *= np.sqrt(autocorrelation.geyer_time(rest))
    floor = 1e-12 + 1e-9 * float(np.abs(difference).max())
    apart = np.abs(smooth) > APART_SD * error + floor
    last = _final(difference, robust.ends(difference)[1])
    if not apart[-1] or last.low <= 0 <= last.high:
        return None
    same_side = apart & (np.sign(smooth) == np.sign(smooth[-1]))
    start = int(np.flatnonzero(~same_side)[-1]) + 1 if not same_side.all() else 0
    start += int(np.argmax(difference[start:] != 0))  # a window reaches over steps at which nothing differs yet
    return int(steps[start]) if n - start >= SHARE_LEFT * n else None
