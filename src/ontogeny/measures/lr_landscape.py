"""The loss after one step, or a few, as a function of the learning rate."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from ontogeny.core.component import refusal
from ontogeny.core.errors import OntogenyError
from ontogeny.core.live import LiveTraining
from ontogeny.core.measures import ADDED_LATER, Context, Observation, StateMeasure
from ontogeny.core.optimizers import DirectionUnknownError
from ontogeny.core.terms import Unit
from ontogeny.looking.axes import variable
from ontogeny.looking.held_out import held_out, mean_nll
from ontogeny.looking.rate_search import RateSearch

if TYPE_CHECKING:
    from torch import Tensor

Losses = np.ndarray
"""float64 [batches]: one loss per batch."""


class LrLandscape(StateMeasure):
    """Losses at theta + rate x direction for log-spaced learning rates: the loss after the next step at each of them.

    Exact: one forward and backward pass on the batch of the next step; the optimizer's own direction at rate 1 (bias
    correction, momentum, decoupled decay, clipping, parameter groups); then one forward pass per rate. With `horizon`
    k > 1 real steps are taken at each rate, on the next k batches, and undone. Losses are those of evaluation mode:
    `train` is the objective per unit on the next batch, `new` and `general` the mean NLL per token of held-out passages
    (nats).

    `loss` [batch, learning_rate] and `loss_before` [batch]. `decrease` is (before - after) / before. `rate_for_target`:
    for each target, the smallest rate whose decrease *of new* reaches it (for a negative one: whose increase does; a
    loss that is not finite counts as an increase), refined by bisection in the logarithm between the rates tried;
    `decrease_at_target` is what was measured there, and `loss_at_target` [batch, target] the loss of every batch at
    that rate, which says what it costs general text; both are NaN where no rate reaches the target. Where a target may
    lie beyond `lowest` or `highest`, the search goes on there, by a factor of 1,000 at most (`looking.rate_search`),
    and before a decrease is declared out of reach, the peak between the rates is searched (golden section in the
    logarithm). A target that no rate reaches has the rate NaN if it is out of reach, since the largest decrease lies
    within what was tried; infinity if the decrease was still growing at the highest rate; 0 if it was at the lowest.
    `best_decrease` and `best_rate`: the largest decrease of new over all rates tried; NaN if no loss was finite.
    `decrease_at_schedule`: at the rate of the next step.

    With horizon 1 an optimizer that cannot tell its direction (`adafactor`) is not assessable: everything but
    `loss_before` is NaN, and the attribute `not_assessable` says why.

    Weights, optimizer, gradients and randomness are restored, bit for bit. Only in a training: a checkpoint made
    elsewhere has no optimizer. A recipe is refused whose `lowest` is not below `highest`, or that has a target of 0 or
    of 1 and more.
    """

    new: str = "novel"
    """Probe set of held-out text of the kind that is learned; never replayed text."""
    general: str | None = None
    """Probe set of general text, to measure what a rate costs there."""
    passages: int = Field(default=16, ge=1)
    """How many passages of either, the first ones."""
    rates: int = Field(default=32, ge=4)
    """How many learning rates."""
    lowest: float = Field(default=1e-6, gt=0)
    """The lowest of them."""
    highest: float = Field(default=1e-1, gt=0)
    """The highest."""
    targets: tuple[float, ...] = (0.01, 0.05, 0.10)
    """Relative decreases asked for, below 1; negative ones are increases."""
    horizon: int = Field(default=1, ge=1)
    """Steps taken at each rate: 1 is exact and cheap; more are real steps."""
    refine: int = Field(default=4, ge=0)
    """Halvings of the interval around a target's rate, and narrowings of that around the peak: a forward pass each."""

    probe_keys: ClassVar[tuple[str, ...]] = ("new", "general")
    live: ClassVar[bool] = True
    cost: ClassVar[str] = (
        "one backward and `rates` forward passes over up to three batches, up to 20 more where a target lies beyond "
        "them; a horizon k: k real steps each"
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.lowest < self.highest:
            raise refusal(f"lowest {self.lowest:g} is not below highest {self.highest:g}", "lowest")
        for i, target in enumerate(self.targets):
            if target == 0 or target >= 1:
                message = "a target is a decrease, as 0.01 for 1%, or an increase, as -0.01"
                raise refusal(f"{message}; found {target:g}", "targets", i)
        return self

    def look(self, context: Context) -> Observation:
        """Measure it at this state."""
        if context.training is None:
            raise OntogenyError(
                f"'{self.group}' needs the training itself (optimizer, next batch): put it into the recipe's measures"
            )
        batches = self._batches(context)
        before = _losses(context, batches)
        try:
            landscape = _Landscape(context, context.training, batches, self.horizon)
        except DirectionUnknownError as error:
            return self._not_assessable(list(batches), before, str(error))
        return self._measured(list(batches), before, landscape, context.training.learning_rate)

    def _measured(
        self, batches: Sequence[str], before: Losses, landscape: "_Landscape", scheduled_rate: float
    ) -> Observation:
        rates = self._rates()
        new = batches.index("new")
        tried: dict[float, Losses] = {}
        with landscape as losses_at:

            def gain(rate: float) -> float:
                tried[rate] = losses_at(rate)
                value = float((before[new] - tried[rate][new]) / before[new])
                return value if np.isfinite(value) else -np.inf

            losses = np.stack([losses_at(rate) for rate in rates], axis=1)
            tried |= {float(rate): losses[:, i] for i, rate in enumerate(rates)}
            scheduled = losses_at(scheduled_rate)
            decrease = (before[new] - losses[new]) / before[new]
            gains = np.where(np.isfinite(decrease), decrease, -np.inf)
            search = RateSearch(gain, rates, gains, targets=self.targets, refine=self.refine)
            reached = np.array([search.reach(target) for target in self.targets]).reshape(-1, 2)
        nowhere = np.full(len(before), np.nan)
        return self._observation(
            batches,
            before,
            losses,
            reached=reached,
            at_targets=np.array([tried.get(float(rate), nowhere) for rate in reached[:, 0]]).reshape(-1, len(before)).T,
            best=search.best if np.isfinite(search.best[1]) else (float("nan"), float("nan")),
            at_schedule=(before[new] - scheduled[new]) / before[new],
        )

    def _not_assessable(self, batches: Sequence[str], before: Losses, why: str) -> Observation:
        """The loss before the step, and NaN for everything after it."""
        nan = float("nan")
        observation = self._observation(
            batches,
            before,
            np.full((len(batches), self.rates), nan),
            reached=np.full((len(self.targets), 2), nan),
            at_targets=np.full((len(batches), len(self.targets)), nan),
            best=(nan, nan),
            at_schedule=nan,
        )
        observation.arrays.attrs["not_assessable"] = f"{why}; with a horizon above 1 real steps are taken"
        return observation

    def _observation(
        self,
        batches: Sequence[str],
        before: Losses,
        losses: np.ndarray,
        *,
        reached: np.ndarray,
        at_targets: np.ndarray,
        best: tuple[float, float],
        at_schedule: float,
    ) -> Observation:
        """`losses` float64 [batch, rate], `at_targets` float64 [batch, target]; `reached` float64 [target, 2] and
        `best` are pairs of rate and decrease.
        """
        import xarray as xr

        axes = ("batch", "learning_rate")
        decrease = (before[:, None] - losses) / before[:, None]
        variables = {
            "loss": variable(axes, losses, "nats", "loss after the step"),
            "loss_before": variable("batch", before, "nats", "loss before the step"),
            "decrease": variable(axes, decrease, "1", "relative decrease of the loss"),
            "rate_for_target": variable("target", reached[:, 0], "1", "smallest rate reaching it"),
            "decrease_at_target": variable("target", reached[:, 1], "1", "decrease measured there"),
            "loss_at_target": variable(
                ("batch", "target"), at_targets, "nats", "loss at the rate that reaches it", **{ADDED_LATER: 1}
            ),
            "best_decrease": variable((), best[1], "1", "largest relative decrease of new"),
            "best_rate": variable((), best[0], "1", "learning rate of the largest decrease of new"),
            "decrease_at_schedule": variable((), at_schedule, "1", "relative decrease of new at the next rate"),
        }
        coordinates = {
            "batch": np.array(batches, dtype=np.str_),
            "learning_rate": self._rates(),
            "target": np.array(self.targets),
        }
        return Observation(arrays=xr.Dataset(variables, coordinates, {"horizon": self.horizon}))

    def _rates(self) -> np.ndarray:
        return np.geomspace(self.lowest, self.highest, self.rates)

    def _batches(self, context: Context) -> "dict[str, dict[str, Tensor]]":
        """The next training batch, and held-out ones."""
        assert context.training is not None
        batches = {"train": context.training.next_batch()}
        for name, probe in (("new", self.new), ("general", self.general)):
            if probe is not None:
                batches[name] = held_out(context, probe, self.passages, self.group)
        return batches


class _Landscape:
    """Losses at a learning rate. On leaving, the weights are restored, bit for bit."""

    def __init__(
        self, context: Context, training: LiveTraining, batches: "Mapping[str, dict[str, Tensor]]", horizon: int
    ) -> None:
        """Raises DirectionUnknownError with horizon 1, if the optimizer cannot tell its direction."""
        self.context, self.training, self.batches, self.horizon = context, training, batches, horizon
        self.update = training.next_update() if horizon == 1 else []
        self.start = [parameter.detach().clone() for parameter, _ in self.update]

    def __enter__(self) -> Callable[[float], Losses]:
        return self._one_step if self.horizon == 1 else self._real_steps

    def __exit__(self, *error: object) -> None:
        for (parameter, _), before in zip(self.update, self.start, strict=True):
            parameter.data.copy_(before)

    def _one_step(self, rate: float) -> Losses:
        import torch

        parameters = [parameter.data for parameter, _ in self.update]
        torch._foreach_copy_(parameters, self.start)
        torch._foreach_add_(parameters, [direction for _, direction in self.update], alpha=rate)
        return _losses(self.context, self.batches)

    def _real_steps(self, rate: float) -> Losses:
        with self.training.trial() as trial:
            for _ in range(self.horizon):
                trial.step(rate)
            return _losses(self.context, self.batches)


def _losses(context: Context, batches: "Mapping[str, dict[str, Tensor]]") -> Losses:
    """The objective per unit on `train`, the mean NLL per token on the others, in evaluation mode."""
    import torch

    from ontogeny.objectives.compose import count_units

    losses = []
    context.model.eval()
    for name, batch in batches.items():
        if name != "train":
            losses.append(mean_nll(context.model, batch))
            continue
        with torch.no_grad():
            forward = context.objective.forward(context.model, batch)
            units: dict[Unit, float] = count_units(forward)
            loss, _ = context.objective.train_loss(forward, context.progress, units)
            losses.append(float(loss))
    return np.array(losses)
