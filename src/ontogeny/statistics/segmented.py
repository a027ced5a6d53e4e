"""Two connected straight lines: where they meet, and how steep each is."""

import numpy as np

LEAST_SIDE = 3
"""Points on each side of a break, the break itself counted on both."""


def slopes(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Least-squares slope of each column of `values` [n, ...] on x [n], per unit of x: float64 [...]."""
    centred = x - x.mean()
    # The first row is subtracted so that a constant column has a slope of exactly 0.
    return np.asarray(centred @ (values - values[:1]) / (centred @ centred))


def slopes_of_sides(x: np.ndarray, values: np.ndarray, at: int) -> tuple[np.ndarray, np.ndarray]:
    """Slopes of each column up to the point `at` and from it on, each side fitted by itself."""
    return slopes(x[: at + 1], values[: at + 1]), slopes(x[at:], values[at:])


class TwoLines:
    """Two lines that meet at one of the points of a grid, fitted by least squares to any number of curves on it.

    y = a + b x + c max(x - break, 0). The break is the point that leaves the least squares, among those with
    `LEAST_SIDE` points on each side (Hinkley 1971; Simonsohn, "Two lines", 2018). A break found so is no evidence of
    one: a line has a best break, too, and so has a smooth bend. Test it on data that did not choose it.
    """

    def __init__(self, x: np.ndarray) -> None:
        self.candidates = np.arange(LEAST_SIDE - 1, len(x) - LEAST_SIDE + 1)
        """Indices of the points at which the lines may meet, int64; none below 5 points."""
        designs = [np.stack([np.ones(len(x)), x, np.maximum(x - x[at], 0)], axis=1) for at in self.candidates]
        inverses = [np.linalg.pinv(design) for design in designs]
        # What a fit leaves is a matrix product, the same for every curve; so many curves cost one decomposition.
        self._residual_makers = np.array([np.eye(len(x)) - d @ i for d, i in zip(designs, inverses, strict=True)])
        self._bends = np.array([inverse[2] for inverse in inverses])

    def best(self, curve: np.ndarray) -> int:
        """Place, in `candidates`, of the break that fits a curve [n] best; the earliest of several."""
        return int(np.square(self._residual_makers @ curve).sum(axis=1).argmin())

    def bend(self, curve: np.ndarray, place: int) -> float:
        """Slope after the break minus slope before it, c, for the connected fit with that break."""
        return float(self._bends[place] @ curve)
