"""Schedules and cadences: pure functions of the step, so they have no state to save."""

import json
import math
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator
from pydantic_core import PydanticCustomError

from ontogeny.core.component import Settings, refusal
from ontogeny.core.errors import OntogenyError

Shape = Literal["constant", "linear", "cosine", "wsd", "cyclic", "piecewise", "ramp"]

_USES: dict[str, frozenset[str]] = {
    "constant": frozenset({"value", "warmup"}),
    "linear": frozenset({"value", "warmup", "final", "stairs"}),
    "cosine": frozenset({"value", "warmup", "final", "stairs"}),
    "ramp": frozenset({"value", "warmup", "final", "stairs"}),
    "wsd": frozenset({"value", "warmup", "final", "decay"}),
    "cyclic": frozenset({"value", "warmup", "final", "cycles"}),
    "piecewise": frozenset({"warmup", "points", "stairs"}),
}
"""The keys that each shape reads; any other key in a recipe is a mistake."""


class Schedule(Settings):
    """A value over training. A plain number in a recipe means constant.

    Step s of S steps, W of them warm-up, has progress p = (s - W) / (S - W): 0 right after warm-up, and less than 1 at
    the last step, S - 1, whose value is thus not quite the end of the curve, as in torch (`CosineAnnealingLR`) and
    transformers (`get_cosine_schedule_with_warmup`, `get_wsd_schedule`). Warm-up differs from transformers, where step
    0 has rate 0: ours rises as (s + 1) / (W + 1), so no step is wasted, and the first step after warm-up is the first
    at the full value.

    With floor = final * value:

    - constant: value.
    - linear: value + (floor - value) * p.
    - cosine: floor + (value - floor) * (1 + cos(pi p)) / 2.
    - wsd: value, then over the last `decay` of training linear to floor (warm-up, stable, decay).
    - cyclic: `cycles` triangles from floor up to value and back.
    - piecewise: linear interpolation of `points`, (p, value) pairs; constant before the first and after the last.
    - ramp: floor + (value - floor) * p.

    With `stairs` n the curve takes its values at p = 0, 1 / (n - 1), ..., 1 alone, each for an n-th of the steps after
    warm-up: value i while i <= n p < i + 1.
    """

    shape: Shape = "constant"
    """The curve."""
    value: float = 0.0
    """The peak value, in the unit of the scheduled quantity."""
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Share of training during which the value rises linearly from near 0 to the start of the curve."""
    final: float = Field(default=0.0, ge=0)
    """The floor, as a share of `value`: the end of linear, cosine and wsd, the start of ramp and cyclic."""
    decay: float = Field(default=0.2, gt=0, le=1)
    """wsd only: share of training spent decaying."""
    cycles: int = Field(default=4, ge=1)
    """cyclic only: number of triangles."""
    points: tuple[tuple[float, float], ...] = ()
    """piecewise only: (progress, value) pairs in rising order of progress."""
    stairs: int | None = Field(default=None, ge=2)
    """linear, cosine, ramp and piecewise: hold the curve at so many of its values, evenly spaced in progress."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        uses = _USES[self.shape]
        for key in sorted(self.model_fields_set - uses - {"shape"}):
            where = ", ".join(shape for shape, keys in _USES.items() if key in keys)
            raise refusal(f"'{key}' means nothing to shape '{self.shape}', only to {where}", key)
        if "value" in uses and "value" not in self.model_fields_set:
            raise ValueError(f"'value' is missing: the peak of the {self.shape} curve")
        if self.shape == "piecewise":
            progress = [point[0] for point in self.points]
            if len(progress) < 2 or progress != sorted(set(progress)):
                raise refusal("piecewise needs at least two points, in rising order of progress", "points")
            if progress[0] < 0 or progress[-1] > 1:
                message = f"progress runs from 0 to 1, found points from {progress[0]:g} to {progress[-1]:g}"
                raise refusal(message, "points")
        if self.shape == "wsd" and self.warmup + self.decay > 1:
            raise ValueError(f"wsd: warmup {self.warmup:g} and decay {self.decay:g} add up to more than 1")
        return self

    def at(self, step: int, total_steps: int) -> float:
        """Value for step `step` (from 0) of `total_steps` steps."""
        total = max(total_steps, 1)
        warm_steps = round(self.warmup * total)
        if step < warm_steps:
            return self._curve(0.0) * (step + 1) / (warm_steps + 1)
        if self.shape == "wsd":
            decay_steps = max(round(self.decay * total), 1)
            return self._line(self.value, self._floor, (step - (total - decay_steps)) / decay_steps)
        return self._curve((step - warm_steps) / max(total - warm_steps, 1))

    @property
    def least(self) -> float:
        """The smallest value over training, or what it tends to; 0 with warm-up, which begins near 0."""
        if self.warmup:
            return min(0.0, self.lowest)
        if self.shape == "piecewise":
            return min(value for _, value in self.points)
        return min(self.value, self.value if self.shape == "constant" else self._floor)

    @property
    def is_constant(self) -> bool:
        """Is it the same at every step?"""
        if self.shape == "piecewise":
            return not self.warmup and len({value for _, value in self.points}) == 1
        return not self.warmup and (self.shape == "constant" or self.final == 1 or self.value == 0)

    @property
    def values(self) -> tuple[float, ...] | None:
        """The values that it takes, each once, in order; None if it may take another at every step."""
        if self.is_constant:
            return (self._curve(0.0),)
        if self.stairs is None or self.warmup:
            return None
        return tuple(dict.fromkeys(self._curve(i / (self.stairs - 1)) for i in range(self.stairs)))

    @property
    def lowest(self) -> float:
        """A lower bound of the value over training."""
        if self.shape == "piecewise":
            return min(0.0, *(value for _, value in self.points))
        return min(0.0, self.value, self._floor)

    @property
    def _floor(self) -> float:
        return self.final * self.value

    @staticmethod
    def _line(start: float, end: float, share: float) -> float:
        return start + (end - start) * min(max(share, 0.0), 1.0)

    def _curve(self, p: float) -> float:
        p = min(p, 1.0)
        if self.stairs is not None:
            p = min(int(p * self.stairs), self.stairs - 1) / (self.stairs - 1)
        match self.shape:
            case "constant" | "wsd":
                return self.value
            case "linear":
                return self._line(self.value, self._floor, p)
            case "ramp":
                return self._line(self._floor, self.value, p)
            case "cosine":
                return self._line(self._floor, self.value, (1 + math.cos(math.pi * p)) / 2)
            case "cyclic":
                return self._line(self._floor, self.value, 1 - abs(2 * (p * self.cycles % 1.0) - 1))
            case "piecewise":
                return self._between_points(p)

    def _between_points(self, p: float) -> float:
        for (left, low), (right, high) in zip(self.points, self.points[1:], strict=False):
            if p <= right:
                return self._line(low, high, (p - left) / (right - left))
        return self.points[-1][1]


def _read(value: object) -> Schedule:
    """A schedule from its form in a recipe. Raises pydantic's errors."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Schedule(value=float(value))
    if isinstance(value, dict):
        return Schedule.model_validate_json(json.dumps(value))
    if isinstance(value, Schedule):
        return value
    raise PydanticCustomError("schedule_type", "expected a number, or a mapping such as {shape: cosine, value: 1e-3}")


def _write(schedule: Schedule) -> object:
    """The shortest form of a schedule in a recipe: a number if it is constant, else its settings without defaults."""
    if schedule == Schedule(value=schedule.value):
        return schedule.value
    kept = schedule.model_dump(mode="json", exclude_defaults=True)
    return {**kept, "value": schedule.value} if "value" in _USES[schedule.shape] else kept


Scheduled = Annotated[Schedule, BeforeValidator(_read, float | Schedule), PlainSerializer(_write)]
"""A schedule in a recipe: a number, or a mapping with a shape."""


MOST_STATES = 1_000_000
"""Of one cadence in one run."""


class Cadence(Settings):
    """When to do something, among the states 0 … total_steps. Give exactly one of the five.

    `every_steps`, `every_epochs` and `log_spaced` always include the first and the last state; `steps` and `epochs`
    mean exactly those that the run reaches.
    """

    every_steps: int | None = Field(default=None, ge=1)
    """At every n-th step."""
    every_epochs: float | None = Field(default=None, gt=0)
    """At every n-th epoch (fractions allowed)."""
    log_spaced: int | None = Field(default=None, ge=2)
    """About this many states after the first, evenly spaced on a logarithmic axis of steps."""
    steps: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """At exactly these steps."""
    epochs: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """At exactly these epochs."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(getattr(self, name) is not None for name in type(self).model_fields) != 1:
            raise ValueError(f"say exactly one of {', '.join(type(self).model_fields)}")
        return self

    def states(self, total_steps: int, steps_per_epoch: float) -> frozenset[int]:
        """The states (numbers of completed steps) at which it is due.

        An epoch that ends between two states is due at the later one. Raises OntogenyError for more than a million
        states.
        """
        self._refuse_many(total_steps, steps_per_epoch)

        def at_epoch(epoch: float) -> int:
            return math.ceil(round(epoch * steps_per_epoch, 9))

        due: Iterable[int]
        ends = {0, total_steps}
        if self.steps is not None:
            due, ends = self.steps, set()
        elif self.epochs is not None:
            due, ends = (at_epoch(e) for e in self.epochs), set()
        elif self.every_steps is not None:
            due = range(0, total_steps + 1, self.every_steps)
        elif self.every_epochs is not None:
            count = int(total_steps / (steps_per_epoch * self.every_epochs)) + 1
            due = (at_epoch(i * self.every_epochs) for i in range(count + 1))
        else:
            assert self.log_spaced is not None
            last = self.log_spaced - 1
            due = (round(max(total_steps, 1) ** (i / last)) for i in range(last + 1))
        return frozenset(step for step in {*due, *ends} if 0 <= step <= total_steps)

    def _refuse_many(self, total_steps: int, steps_per_epoch: float) -> None:
        """Raise OntogenyError for so many states that listing them would take memory and time without end."""
        every = self.every_steps or (self.every_epochs or math.inf) * steps_per_epoch
        count = self.log_spaced or total_steps / every
        if count > MOST_STATES:
            name = next(name for name in type(self).model_fields if getattr(self, name) is not None)
            raise OntogenyError(
                f"{name}: {getattr(self, name):g} means {count:.3g} states in {total_steps:,} steps: at most "
                f"{MOST_STATES:,}; write a larger number, or log_spaced"
            )
