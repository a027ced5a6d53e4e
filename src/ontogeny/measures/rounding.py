"""How much of the next update is lost because the weights' precision cannot hold it."""

from typing import ClassVar

import numpy as np

from ontogeny.core.contracts import Context, Observation, StateMeasure
from ontogeny.core.errors import OntogenyError
from ontogeny.looking.axes import variable


class Rounding(StateMeasure):
    """Share of the next update that rounding takes away, from a real step at the next step's rate, taken back.

    An update far smaller than a weight's own spacing (2^-24 of its size in float32) leaves it as it is. With u the
    update as the optimizer means it (rate x direction, in float64) and d the difference that the step makes: `changed`,
    the share of trained weights with d != 0; `stuck`, of those with u != 0 the share with d = 0; `norm_lost` =
    ||u - d|| / ||u||, which also counts what is rounded up; and the `learning_rate`. NaN where nothing would move.
    Remedies: `train.weights: float64`, or a higher rate.
    """

    live: ClassVar[bool] = True
    cost: ClassVar[str] = "two backward passes on the next batch (the update as meant, and a real step taken back)"

    def look(self, context: Context) -> Observation:
        """Compare the step with what it should be. Raises OntogenyError without the training itself."""
        import xarray as xr

        if context.training is None:
            raise OntogenyError(
                f"'{self.group}' needs the training itself (optimizer, next batch): put it into the recipe's measures"
            )
        rate = context.training.learning_rate
        update = context.training.next_update()
        before = [parameter.detach().clone() for parameter, _ in update]
        sums = np.zeros(5)
        with context.training.trial() as trial:
            trial.step(rate)
            for (parameter, direction), was in zip(update, before, strict=True):
                meant, made = rate * direction.double(), parameter.detach().double() - was.double()
                due, moved = meant != 0, made != 0
                parts = (moved.sum(), due.sum(), (due & ~moved).sum(), (meant - made).square().sum())
                sums += [*map(float, parts), float(meant.square().sum())]
        changed, moves, stuck, lost, whole = sums
        weights = sum(parameter.numel() for parameter, _ in update)
        of_norm = np.sqrt(lost / whole) if whole else np.nan
        return Observation(
            arrays=xr.Dataset(
                {
                    "changed": variable((), changed / weights, "1", "share of trained weights that the step changes"),
                    "stuck": variable((), stuck / moves if moves else np.nan, "1", "share of updates lost to rounding"),
                    "norm_lost": variable((), of_norm, "1", "norm of what is lost, by the update's"),
                    "learning_rate": variable((), rate, "1", "learning rate of the next step"),
                }
            )
        )
