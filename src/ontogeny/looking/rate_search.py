"""Where the decrease of a loss reaches a target, as a function of the learning rate."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

BEYOND = 1000.0
"""Rates are looked for up to this factor above the highest and below the lowest of those tried first."""
ROUNDING = 1e-6
"""Relative changes of a float32 loss up to this may be rounding."""
_GOLDEN = (3 - 5**0.5) / 2
"""Golden section tries this share of the wider of two intervals next."""


class RateSearch:
    """Relative decreases of a loss at learning rates, and the smallest rate that reaches a target.

    The rates given are an equally spaced grid in the logarithm. Where a target may lie beyond one of its ends (the
    decrease still grows there, if only towards a second peak; or the lowest rate reaches it already), the grid is
    extended by its own spacing, at least doubling, until the decrease falls or the target is bracketed, by a factor of
    `BEYOND` at most. Then the largest decrease is narrowed down between the rates (golden section), and each target's
    rate (bisection), both in the logarithm.
    """

    def __init__(
        self,
        gain: Callable[[float], float],
        rates: NDArray[np.float64],
        gains: NDArray[np.float64],
        *,
        targets: Sequence[float],
        refine: int,
    ) -> None:
        """`gain(rate)`: the relative decrease at a rate, -inf where the loss is not finite; `gains`: those at `rates`,
        which ascend. `targets`: decreases asked for; negative ones are increases. `refine`: narrowings of each kind.
        """
        self._gain, self._targets, self._refine = gain, targets, refine
        self.rates, self.gains = rates, gains
        self._extend()
        if any(target > self.best[1] for target in targets):
            self._narrow_peak()

    @property
    def best(self) -> tuple[float, float]:
        """Rate of the largest decrease, and that decrease; -inf if no loss was finite."""
        place = int(self.gains.argmax())
        return float(self.rates[place]), float(self.gains[place])

    def reach(self, target: float) -> tuple[float, float]:
        """The smallest rate that reaches a target, and the decrease measured at it.

        Where none does, the decrease is NaN, and the rate says why: infinity if higher rates than those tried may, 0 if
        lower ones may, NaN if the largest decrease lies within what was tried: the target is out of reach.
        """
        enough = self._enough(target, self.gains)
        if not enough.any():
            return self._edge(target), float("nan")
        first = int(enough.argmax())
        rate, reached = float(self.rates[first]), float(self.gains[first])
        if first == 0:
            return rate, reached
        low, high = np.log(self.rates[first - 1]), np.log(rate)
        for _ in range(self._refine):
            middle = (low + high) / 2
            value = self._gain(float(np.exp(middle)))
            if self._enough(target, np.array(value)):
                high, rate, reached = middle, float(np.exp(middle)), value
            else:
                low = middle
        return rate, reached

    @staticmethod
    def _enough(target: float, gains: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Where is a target reached?"""
        return np.asarray(gains >= target if target > 0 else gains <= target)

    def _edge(self, target: float) -> float:
        """Why no rate reaches a target, as `reach` says it."""
        if target <= 0 or (self._grows_upwards and self.gains[-1] > ROUNDING):
            return float("inf")
        # A rate of 0 changes nothing, so where even the lowest rate lowers no loss, the best is at 0: that is no edge.
        if self._grows_downwards and (self.gains[0] > ROUNDING or not np.isfinite(self.gains[0])):
            return 0.0
        return float("nan")

    @property
    def _grows_upwards(self) -> bool:
        """Does the highest rate tried lower the loss, and more than the one before? Or is it the best of bad ones?"""
        best = self.gains.argmax() == len(self.gains) - 1
        return bool((best or self.gains[-1] > ROUNDING) and self.gains[-1] > self.gains[-2])

    @property
    def _grows_downwards(self) -> bool:
        """The same at the lowest one; where no loss is finite, lower rates are the ones to try."""
        lowest, following = self.gains[:2]
        if not np.isfinite(lowest):
            return bool(self.gains.argmax() == 0)
        return bool((self.gains.argmax() == 0 or lowest > ROUNDING) and lowest > following)

    def _extend(self) -> None:
        """Try rates beyond both ends as long as a target may lie there."""
        factor = max(float(self.rates[1] / self.rates[0]), 2.0)
        highest, lowest = self.rates[-1] * BEYOND * 1.001, self.rates[0] / BEYOND / 1.001
        while self._may_lie_above() and self.rates[-1] * factor <= highest:
            self._try(float(self.rates[-1] * factor))
        while self._may_lie_below() and self.rates[0] / factor >= lowest:
            self._try(float(self.rates[0] / factor))

    def _may_lie_above(self) -> bool:
        unreached = [target for target in self._targets if not self._enough(target, self.gains).any()]
        grows = self._grows_upwards or bool((np.abs(self.gains) <= ROUNDING).all())
        return any(target <= 0 or grows for target in unreached)

    def _may_lie_below(self) -> bool:
        at_lowest = any(self._enough(target, self.gains[0]) for target in self._targets)
        return at_lowest or (self._grows_downwards and any(target > self.gains[0] for target in self._targets))

    def _try(self, rate: float) -> None:
        """Measure one more rate."""
        self._keep(rate, self._gain(rate))

    def _keep(self, rate: float, value: float) -> None:
        place = int(np.searchsorted(self.rates, rate, side="right"))
        self.rates, self.gains = np.insert(self.rates, place, rate), np.insert(self.gains, place, value)

    def _narrow_peak(self) -> None:
        """Search the largest decrease between the neighbours of the best rate; keep where it was found."""
        best = int(self.gains.argmax())
        middle, top = float(np.log(self.rates[best])), float(self.gains[best])
        if best in (0, len(self.rates) - 1) or not np.isfinite(top):
            return
        left, right = (float(np.log(self.rates[best + offset])) for offset in (-1, 1))
        for _ in range(self._refine):
            wider = right if right - middle > middle - left else left
            place = middle + _GOLDEN * (wider - middle)
            value = self._gain(float(np.exp(place)))
            if value > top:
                left, right = (middle, right) if place > middle else (left, middle)
                middle, top = place, value
            else:
                left, right = (left, place) if place > middle else (place, right)
        if top > self.gains[best]:
            self._keep(float(np.exp(middle)), top)
