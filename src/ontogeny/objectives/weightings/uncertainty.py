"""Weights that are learned with the model, by how large each term stays."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from ontogeny.core.component import Settings, refusal
from ontogeny.core.recipe import Recipe
from ontogeny.core.weightings import Weighting

if TYPE_CHECKING:
    from torch import Tensor, nn


class Uncertainty(Weighting):
    """Each term L_i has a learned s_i: the objective is sum (exp(-s_i) w_i L_i + s_i / 2) over terms with a weight.

    Homoscedastic uncertainty with s = log sigma^2 (Kendall, Gal & Cipolla 2018, "Multi-task learning using uncertainty
    to weigh losses", equation 10, the form for cross-entropies). At the best s_i, exp(-s_i) = 1 / (2 w_i L_i): a term
    that can be made small gets a large weight, whether it helps the others or not. So w_i matters only where training
    starts, with s_i = 0; and a term that falls to 0, as a divergence can, takes over. The objective can be negative.

    s_i moves at the training's learning rate, without weight decay, and is part of the gradient norm that is clipped.
    """

    cost: ClassVar[str] = "one number for each term beside the model"
    learns: ClassVar[bool] = True

    def check(self, recipe: Settings, *location: str | int) -> None:
        """Refuse weights below 0: the larger such a term, the larger its factor would grow."""
        assert isinstance(recipe, Recipe)
        for i, term in enumerate(recipe.objective):
            if term.weight.lowest < 0:
                message = f"uncertainty weighs terms that are to fall, and '{term.label}' has a weight below 0"
                raise refusal(f"{message}: write 0 or more, or weighting: fixed", "objective", i, "weight")

    def build(self, labels: Sequence[str]) -> "nn.Module":
        """`log_variance` [n], float32, all 0."""
        import torch

        module = torch.nn.Module()
        module.log_variance = torch.nn.Parameter(torch.zeros(len(labels)))
        return module

    def factors(self, module: "nn.Module") -> "tuple[Tensor, Tensor]":
        """exp(-s) and s / 2."""
        log_variance = module.get_parameter("log_variance")
        return (-log_variance).exp(), log_variance / 2
