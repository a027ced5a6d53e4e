"""How much of the next update is lost because the weights are rounded to their precision."""

from typing import ClassVar

import numpy as np

from ontogeny.core.errors import OntogenyError
from ontogeny.core.measures import Context, Observation, StateMeasure
from ontogeny.core.optimizers import DirectionUnknownError
from ontogeny.looking.axes import dataset, variable


class Rounding(StateMeasure):
    """Share of the next update that is lost to rounding, from a real step at the next learning rate, which is undone.

    An update far smaller than the spacing of numbers at a weight (2^-24 of its size in float32) leaves the weight
    unchanged. With u the exact update (learning rate x direction, in float64) and d the change that the step makes:
    `changed`, the share of trained weights with d != 0; `stuck`, the share with d = 0 among those with u != 0;
    `norm_lost` = ||u - d|| / ||u||, which includes updates that are rounded up; and the `learning_rate`. NaN if u is 0
    everywhere, and for an optimizer that cannot tell its direction (attribute `not_assessable`). Remedies:
    `train.weights: float64`, or a higher learning rate.
    """

    live: ClassVar[bool] = True
    cost: ClassVar[str] = "two backward passes on the next batch (the exact update, and a real step that is undone)"

    def look(self, context: Context) -> Observation:
        """Compare the step with the exact update. Raises OntogenyError without the training itself."""
        if context.training is None:
            raise OntogenyError(
                f"'{self.group}' needs the training itself (optimizer, next batch): put it into the recipe's measures"
            )
        rate = context.training.learning_rate
        unknown = {}
        try:
            update = context.training.next_update()
        except DirectionUnknownError as error:
            update, unknown = [], {"not_assessable": str(error)}
        before = [parameter.detach().clone() for parameter, _ in update]
        sums = np.zeros(5)
        with context.training.trial() as trial:
            trial.step(rate)
            for (parameter, direction), old in zip(update, before, strict=True):
                exact, made = rate * direction.double(), parameter.detach().double() - old.double()
                asked, changed = exact != 0, made != 0
                counts = (changed.sum(), asked.sum(), (asked & ~changed).sum())
                squares = ((exact - made).square().sum(), exact.square().sum())
                sums += [float(total) for total in (*counts, *squares)]
        n_changed, n_asked, n_stuck, lost_square, exact_square = sums
        weights = sum(parameter.numel() for parameter, _ in update)
        share_changed = n_changed / weights if weights else np.nan
        stuck = n_stuck / n_asked if n_asked else np.nan
        norm_lost = np.sqrt(lost_square / exact_square) if exact_square else np.nan
        variables = {
            "changed": variable((), share_changed, "1", "share of trained weights that the step changes"),
            "stuck": variable((), stuck, "1", "share of updates lost to rounding"),
            "norm_lost": variable((), norm_lost, "1", "norm of the lost part / norm of the update"),
            "learning_rate": variable((), rate, "1", "learning rate of the next step"),
        }
        return Observation(arrays=dataset(variables).assign_attrs(unknown))
