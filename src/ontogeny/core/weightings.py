"""Weightings: how the terms of an objective are weighed against one another, beyond the weights of the recipe."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from ontogeny.core.component import Component, Settings

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


class Weighting(Component):
    """Weighs the terms of an objective. With the recipe's weights w_i alone, the objective is sum w_i L_i.

    A weighting that learns builds a module, and gives a factor and an offset of each term: the objective is then
    sum (f_i w_i L_i + o_i) over the terms that have a weight. One that combines gradients says `separate`, and gives
    coefficients c_i: the step then follows sum c_i w_i g_i, while the objective stays what it was.
    """

    cost: ClassVar[str] = ""
    """What it adds to a step, in one sentence: shown by `--plan`."""
    separate: ClassVar[bool] = False
    """Does it need the gradient of each term by itself?"""
    learns: ClassVar[bool] = False
    """Are its factors learned? The objective then does not compare over training."""

    def check(self, recipe: Settings, *location: str | int) -> None:
        """Raise `core.component.refusal` if it is impossible in the recipe, a `core.recipe.Recipe`."""

    def build(self, labels: Sequence[str]) -> "nn.Module | None":
        """Trainable parts, for the terms in this order: registered with the optimizer and saved in checkpoints."""
        return None

    def factors(self, module: "nn.Module") -> "tuple[Tensor, Tensor]":
        """Factor and offset of each term, [n] each, with gradients. Asked only where `build` built a module."""
        raise NotImplementedError

    def coefficients(self, products: "np.ndarray", seed: int) -> "np.ndarray":
        """Of each gradient in the step, float64 [n]. Asked only where it is `separate`.

        `products`: float64 [n, n], of the weighted gradients of the terms that have a weight, over the model's
        parameters. `seed`: of this step, for what is random.
        """
        raise NotImplementedError


def effective(weights: Mapping[str, float], coefficients: Mapping[str, float]) -> dict[str, float]:
    """What each term is multiplied by in the step: its weight times its coefficient, 1 where it has none."""
    return {label: weight * coefficients.get(label, 1.0) for label, weight in weights.items()}
