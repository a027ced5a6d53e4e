"""The landscape of learning rates in words: which rate reaches a target, and what it costs general text."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ontogeny.store.run_group import RunGroup, RunView

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, kw_only=True)
class TargetAnswer:
    """One row: a target, the smallest rate that reaches it, and what that rate does to general text."""

    target: str
    rate: str
    general: str


@dataclass(frozen=True, kw_only=True)
class LandscapeAnswer:
    """What one step from one state can do."""

    title: str
    """Run and measure, where there are several."""
    summary: str
    """Step 0: best 3.0e-3, 1% out of reach."""
    rows: tuple[TargetAnswer, ...]
    general: bool
    """Was general text measured?"""


def landscapes_of(runs: RunGroup) -> "Iterator[tuple[RunView, str, xr.Dataset]]":
    """(run, name of the measure, its data) of every learning-rate landscape."""
    for run in runs.runs:
        for name in run.measures:
            landscape = run.measure(name)
            if landscape.attrs.get("kind") == "lr_landscape" and "not_assessable" not in landscape.attrs:
                yield run, name, landscape


def landscape_title(what: str, run: RunView, name: str, runs: RunGroup) -> str:
    """`what`, followed by the measure's name if it has its own and by the run's where there are several."""
    parts = [what, name if name != "lr_landscape" else "", run.name if len(runs.runs) > 1 else ""]
    return " · ".join(part for part in parts if part)


def landscape_answers(runs: RunGroup) -> list[LandscapeAnswer]:
    """Of every landscape with targets, at its first and its last checkpoint."""
    answers = []
    for run, name, landscape in landscapes_of(runs):
        count = landscape.sizes.get("checkpoint", 0)
        if not count or not landscape.sizes.get("target", 0):
            continue
        order = np.argsort(landscape["step"].values)
        for at in dict.fromkeys((int(order[0]), int(order[-1]))):
            title = landscape_title("", run, name, runs)
            answers.append(_answer(landscape.isel(checkpoint=at), title))
    return answers


def rate_in_words(rate: float) -> str:
    """A learning rate with two digits: 3.0e-3."""
    digits, power = f"{rate:.1e}".split("e")
    return f"{digits}e{int(power)}"


def _answer(state: "xr.Dataset", title: str) -> LandscapeAnswer:
    targets = [float(target) for target in state["target"].values]
    rates = [float(rate) for rate in state["rate_for_target"].values]
    best_rate, best = float(state["best_rate"]), float(state["best_decrease"])
    highest = float(state["learning_rate"].values[-1])
    ends_there = "loss_at_target" not in state and bool(np.isclose(best_rate, highest, rtol=1e-9, atol=0))
    words = [_reached(target, rate, ends_there) for target, rate in zip(targets, rates, strict=True)]
    parts = [f"best {rate_in_words(best_rate)} ({_change(-best)})" if best > 0 else "no rate lowers the loss"]
    parts += [
        f"{_target(target)} {word}"
        for target, rate, word in zip(targets, rates, words, strict=True)
        if not _found(rate)
    ]
    general = "general" in list(map(str, state["batch"].values))
    return LandscapeAnswer(
        title=title,
        summary=f"Step {int(state['step']):,}: {'; '.join(parts)}.",
        rows=tuple(
            TargetAnswer(target=_target(target), rate=word, general=_cost(state, i) if general else "")
            for i, (target, word) in enumerate(zip(targets, words, strict=True))
        ),
        general=general,
    )


def _found(rate: float) -> bool:
    return bool(np.isfinite(rate) and rate > 0)


def _reached(target: float, rate: float, ends_there: bool) -> str:
    """A target's rate, or why there is none.

    `ends_there`: by a version that told no edge and looked no further than its grid, at whose end the decrease is best.
    """
    if _found(rate):
        return rate_in_words(rate)
    if target < 0:
        return "not reached at any rate tried"
    if np.isposinf(rate):
        return "not reached, still growing at the highest rate tried"
    if rate == 0:
        return "not reached, still growing at the lowest rate tried"
    return "not reached, the highest rate is the best" if ends_there else "out of reach"


def _target(target: float) -> str:
    return f"{100 * abs(target):g}%" if target > 0 else f"{100 * abs(target):g}% more"


def _cost(state: "xr.Dataset", place: int) -> str:
    """How much general text's loss changes at the rate of a target, given by its place.

    As measured there; of an earlier version, which kept only the rates of the grid, between those; from 0 up to its
    lowest.
    """
    rate = float(state["rate_for_target"][place])
    if not _found(rate):
        return "–"
    if "loss_at_target" in state:
        before = float(state["loss_before"].sel(batch="general"))
        return _change(float(state["loss_at_target"].sel(batch="general")[place]) / before - 1)
    grid = state["learning_rate"].values.astype(float)
    change = -state["decrease"].sel(batch="general").values.astype(float)
    if rate > grid[-1] * (1 + 1e-9):
        return f"not recorded above {rate_in_words(float(grid[-1]))}"
    if rate < grid[0]:
        return _change(float(change[0] * rate / grid[0]))
    return _change(float(np.interp(np.log(rate), np.log(grid), change)))


def _change(relative: float) -> str:
    """A relative change of a loss with its sign and two digits: +0.31%, +1200%."""
    if not np.isfinite(relative):
        return "not a number"
    digits = np.format_float_positional(float(f"{100 * relative:.2g}"), trim="-", sign=True)
    return f"{digits}%".replace("-", "−")
