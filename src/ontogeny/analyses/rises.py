"""Why does the loss rise at times? Steps that overshoot, separated from batches that are harder."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.core.errors import StoreError

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """What `lr_landscape` recorded at L states that a step follows."""

    rates: np.ndarray
    """float64 [R]: learning rates tried, rising."""
    decrease: dict[str, np.ndarray]
    """float64 [L, R] by batch: relative decrease of the loss after one step; `train` is the step's own batch."""
    scheduled: np.ndarray
    """float64 [L]: the rate that the step had."""
    change: np.ndarray
    """float64 [L]: training loss of the next step on its batch minus that of this step on its own; relative."""


class Rises(Analysis):
    """At the measured steps: was the rate above the one from which the loss rises, and below the best one?

    Break-even is the lowest rate at which a step no longer lowers the loss, by linear interpolation between the rates
    tried (and rate 0, where nothing changes); the best is the rate tried with the largest decrease.
    Both for `train`, the step's own batch, and `new`, held-out text. The training loss of two steps is that of two
    batches: if it rose from one to the next, the change is split into the step's effect on its own batch, and the rest,
    the difference between the batches. Counts describe one run: its steps are no independent sample, so intervals
    need several seeds.
    """

    section: ClassVar[str] = "forgetting"

    def analyze(self, run: RecordedRun) -> Result:
        """Read the landscape and judge."""
        return self.judge(landscape_of(run))

    def judge(self, landscape: Landscape) -> Result:
        """The same, from a landscape."""
        states = len(landscape.scheduled)
        numbers: dict[str, Any] = {"looks": states}
        sentences = []
        for name, decrease in landscape.decrease.items():
            even = np.array([break_even(landscape.rates, at_state) for at_state in decrease])
            best = landscape.rates[decrease.argmax(axis=1)]
            above = int((landscape.scheduled > even).sum())
            ratio = float(np.median(landscape.scheduled / best))
            numbers[name] = {
                "above": above,
                "share": above / states,
                "of_best": ratio,
                "break_even": even,
                "best": best,
            }
            sentences.append(
                f"{_NAMES.get(name, name)}: the rate was above break-even at {above} of {states} looked-at steps; in "
                f"the median it was {ratio:.2g} times the best rate"
            )
        own = -np.array(
            [
                np.interp(rate, [0, *landscape.rates], [0, *decrease], right=np.nan)
                for rate, decrease in zip(landscape.scheduled, landscape.decrease["train"], strict=True)
            ]
        )
        rose = landscape.change > 0
        rises, overshot = int(rose.sum()), int((own[rose] > 0).sum())
        numbers |= {"rose": rises, "overshot": overshot, "own": own, "change": landscape.change}
        sentences.append(
            f"the training loss was higher at the next step at {rises} of {states}; at {overshot} of these "
            "the step had raised the loss of its own batch, at the others the next batch was a harder one"
        )
        return Result(verdict=_verdict(numbers), sentences=tuple(sentences), reading=_READING, numbers=numbers)


def break_even(rates: np.ndarray, decrease: np.ndarray) -> float:
    """The lowest rate at which the loss no longer falls; infinite if it falls at every rate tried."""
    x, y = np.array([0, *rates]), np.array([0, *decrease])
    not_falling = np.flatnonzero(y[1:] <= 0)
    if not len(not_falling):
        return float("inf")
    i = int(not_falling[0]) + 1
    return float(x[i - 1] + (x[i] - x[i - 1]) * y[i - 1] / (y[i - 1] - y[i])) if y[i - 1] > 0 else 0.0


def landscape_of(run: RecordedRun) -> Landscape:
    """Read it. Raises StoreError naming what the run lacks."""
    data = next((data for name in run.measures if _is_landscape(data := run.measure(name))), None)
    if data is None:
        raise StoreError(f"{run.path} has no measure 'lr_landscape' of one step: add it to the recipe's measures")
    rate, loss = (run.series(name, "train").set_index("step")["value"] for name in ("learning_rate", "loss"))
    steps = data.step.values
    kept = [i for i in np.argsort(steps) if steps[i] in rate.index and {steps[i], steps[i] + 1} <= set(loss.index)]
    if not kept:
        raise StoreError(f"{run.path}: no step follows the states at which 'lr_landscape' looked")
    at = steps[kept]
    before, after = loss.loc[at].to_numpy(float), loss.loc[at + 1].to_numpy(float)
    batches = [str(name) for name in data.batch.values if name != "general"]
    return Landscape(
        rates=data.learning_rate.values.astype(np.float64),
        scheduled=rate.loc[at].to_numpy(float),
        change=(after - before) / before,
        decrease={name: data["decrease"].sel(batch=name).values[kept].astype(np.float64) for name in batches},
    )


def _is_landscape(data: "xr.Dataset") -> bool:
    return bool(data.attrs.get("kind") == "lr_landscape" and data.attrs.get("horizon") == 1)


def _verdict(numbers: dict[str, Any]) -> str:
    if not numbers["rose"]:
        return "the training loss fell at every looked-at step"
    if not numbers["overshot"]:
        return f"the training loss rose at {numbers['rose']} looked-at steps, at none because its step was too large"
    return f"of {numbers['rose']} rises of the training loss, {numbers['overshot']} came with a step that was too large"


_NAMES = {"train": "the step's own batch", "new": "held-out new text"}
_READING = (
    "Above break-even a step makes the loss worse at once. Below it a rise of the training loss from one step to the "
    "next is that the next batch is harder, which no rate prevents. The landscape is of single steps: that a rate is "
    "fine now does not mean that it is fine to keep."
)
