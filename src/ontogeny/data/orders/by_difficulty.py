"""Easy or hard ones first, as the model finds them before it is trained."""

from typing import ClassVar, Literal

import numpy as np

from ontogeny.core.contracts import Examples, Order


class ByDifficulty(Order):
    """By mean NLL under the model that training starts from, ties in the order of the data; the same in every epoch.

    The model is run over all examples before the first step, and what it finds is kept with the run.
    """

    first: Literal["easy", "hard"] = "easy"
    """Which come first: low NLL, or high."""

    needs_nll: ClassVar[bool] = True

    def epoch(self, number: int, examples: Examples, seed: int) -> np.ndarray:
        """Indices by NLL, int64."""
        assert examples.nll is not None
        nll = examples.nll if self.first == "easy" else -examples.nll
        return np.argsort(nll, kind="stable").astype(np.int64)
