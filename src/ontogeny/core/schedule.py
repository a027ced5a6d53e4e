"""Schedules and cadences: pure functions of the step, so that nothing about them has to be saved."""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Schedule(BaseModel):
    """A value over training, as a function of progress in [0, 1]. A plain number means constant.

    Shapes, with p the progress after warm-up in [0, 1] and `floor` = final * value:
    constant: value. linear: from value to floor. cosine: floor + (value - floor) * (1 + cos(pi p)) / 2.
    wsd: value until 1 - decay, then linear to floor. cyclic: triangle between floor and value, `cycles` times,
    starting low. piecewise: linear between `points`, (progress, value) pairs. ramp: from floor up to value.
    """

    model_config = _STRICT

    shape: Literal["constant", "linear", "cosine", "wsd", "cyclic", "piecewise", "ramp"] = "constant"
    """Which curve."""
    value: float = 0.0
    """The peak value, in the unit of what is scheduled."""
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Share of training during which the value rises linearly from 0 (the first step gets value / warm-up steps)."""
    final: float = Field(default=0.0, ge=0)
    """Where the curve ends, as a share of `value`."""
    decay: float = Field(default=0.2, gt=0, le=1)
    """wsd only: share of training spent decaying."""
    cycles: int = Field(default=4, ge=1)
    """cyclic only: how many triangles."""
    points: tuple[tuple[float, float], ...] = ()
    """piecewise only: (progress, value) pairs in order of progress."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unused = {"decay": "wsd", "cycles": "cyclic", "points": "piecewise"}
        for key, shape in unused.items():
            if key in self.model_fields_set and self.shape != shape:
                raise ValueError(f"'{key}' belongs to shape '{shape}', not to '{self.shape}'")
        if self.shape == "piecewise":
            at = [point[0] for point in self.points]
            if len(at) < 2 or at != sorted(set(at)):
                raise ValueError("piecewise needs at least two points, in rising order of progress")
        if self.shape == "wsd" and self.warmup + self.decay > 1:
            raise ValueError("wsd: warmup + decay must not exceed 1")
        return self

    def at(self, step: int, total_steps: int) -> float:
        """Value for the update that leaves state `step`, of `total_steps` updates in all."""
        total = max(total_steps, 1)
        warm_steps = round(self.warmup * total)
        if step < warm_steps:
            return self._curve(0.0) * (step + 1) / warm_steps
        if self.shape == "wsd":
            return self._wsd(step, total)
        span = max(total - warm_steps - 1, 1)
        return self._curve(min(max((step - warm_steps) / span, 0.0), 1.0))

    def _wsd(self, step: int, total: int) -> float:
        decay_steps = max(round(self.decay * total), 1)
        into = min(max(step + 1 - (total - decay_steps), 0) / decay_steps, 1.0)
        return self.value * (1 - into * (1 - self.final))

    def _curve(self, p: float) -> float:
        floor = self.final * self.value
        match self.shape:
            case "constant" | "wsd":
                return self.value
            case "linear":
                return self.value + (floor - self.value) * p
            case "ramp":
                return floor + (self.value - floor) * p
            case "cosine":
                return floor + (self.value - floor) * (1 + math.cos(math.pi * p)) / 2
            case "cyclic":
                phase = (p * self.cycles) % 1.0
                return floor + (self.value - floor) * (1 - abs(2 * phase - 1))
            case "piecewise":
                return _interpolate(self.points, p)


def _interpolate(points: tuple[tuple[float, float], ...], p: float) -> float:
    if p <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in zip(points, points[1:], strict=False):
        if p <= right:
            return low + (high - low) * (p - left) / (right - left)
    return points[-1][1]


def _number_is_constant(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Schedule(value=float(value))
    return value


def _constant_is_number(value: Schedule) -> Any:
    return value.value if value == Schedule(value=value.value) else value.model_dump(mode="json", exclude_defaults=True)


Scheduled = Annotated[Schedule, BeforeValidator(_number_is_constant, float | Schedule), PlainSerializer(_constant_is_number)]
"""A schedule in a recipe: a number, or a mapping with a shape."""


class Cadence(BaseModel):
    """When to do something, over the states 0 … total_steps. Say exactly one of the five.

    `every_steps`, `every_epochs` and `log_spaced` always include the first and the last state.
    """

    model_config = _STRICT

    every_steps: int | None = Field(default=None, ge=1)
    """At every n-th step."""
    every_epochs: float | None = Field(default=None, gt=0)
    """At every n-th epoch (fractions allowed)."""
    log_spaced: int | None = Field(default=None, ge=2)
    """About this many states, evenly spaced on a logarithmic axis of steps."""
    steps: tuple[int, ...] | None = None
    """At exactly these steps."""
    epochs: tuple[float, ...] | None = None
    """At exactly these epochs."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("say exactly one of every_steps, every_epochs, log_spaced, steps, epochs")
        return self

    def states(self, total_steps: int, steps_per_epoch: float) -> frozenset[int]:
        """The states (numbers of completed updates) at which it is due."""

        def at_epoch(epoch: float) -> int:
            return math.ceil(round(epoch * steps_per_epoch, 9))

        chosen: Iterable[int]
        ends = {0, total_steps}
        if self.steps is not None:
            chosen, ends = self.steps, set()
        elif self.epochs is not None:
            chosen, ends = (at_epoch(e) for e in self.epochs), set()
        elif self.every_steps is not None:
            chosen = range(0, total_steps + 1, self.every_steps)
        elif self.every_epochs is not None:
            count = int(total_steps / (steps_per_epoch * self.every_epochs)) + 1
            chosen = (at_epoch(i * self.every_epochs) for i in range(count + 1))
        else:
            assert self.log_spaced is not None
            last = self.log_spaced - 1
            chosen = (round(math.exp(math.log(max(total_steps, 1)) * i / last)) for i in range(last + 1))
        return frozenset(step for step in {*chosen, *ends} if 0 <= step <= total_steps)
