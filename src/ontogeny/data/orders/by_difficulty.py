"""A curriculum by difficulty: a model's loss on each example before training."""

from typing import ClassVar, Literal

import numpy as np

from ontogeny.core.orders import Examples, Order


class ByDifficulty(Order):
    """By mean NLL per token under the model that training starts from, or a companion; the same in every epoch.

    Ties stand in data order. The model is evaluated on all examples before the first step, and the result is saved with
    the run. Before training, a model made from scratch knows nothing of difficulty: let a companion judge.
    """

    first: Literal["easy", "hard"] = "easy"
    """Which examples come first: those with low NLL, or with high."""

    by: str | None = None
    """Name of the companion that judges, such as a teacher; by default the model that training starts from."""

    needs_nll: ClassVar[bool] = True
    added_later: ClassVar[frozenset[str]] = frozenset({"by"})

    @property
    def judge(self) -> str | None:
        """The companion whose NLL it reads."""
        return self.by

    def epoch(self, number: int, examples: Examples, seed: int) -> np.ndarray:
        """Indices sorted by NLL, int64."""
        assert examples.nll is not None
        nll = examples.nll if self.first == "easy" else -examples.nll
        return np.argsort(nll, kind="stable").astype(np.int64)
