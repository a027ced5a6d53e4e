"""Lets controls decide before a step, and keeps what they decided."""

from collections.abc import Sequence

import pandas as pd

from ontogeny.core.contracts import Context
from ontogeny.core.controls import Control, Decision
from ontogeny.train.guard import untouched


class Deciding:
    """The controls of a training and their decisions so far; what is in force is a function of these."""

    def __init__(self, controls: Sequence[Control], metrics: pd.DataFrame) -> None:
        """`metrics`: those of the run up to the present state, from which the past is read."""
        self.controls = tuple(controls)
        self.past = {type(one).kind: _read(type(one).kind, metrics) for one in controls}

    def decide(self, context: Context) -> list[tuple[str, Decision]]:
        """Ask the controls that are due; returns what they decided, by kind."""
        made = []
        for control in self.controls:
            if context.progress.step % control.every:
                continue
            kind = type(control).kind
            with untouched(context.model):
                decision = control.decide(context, self.past[kind])
            self.past[kind].append(decision)
            made.append((kind, decision))
        return made

    @staticmethod
    def rows(kind: str, decision: Decision) -> dict[str, float]:
        """A decision as metrics, by name."""
        rate = {} if decision.learning_rate is None else {"rate": decision.learning_rate}
        return {f"{kind}_{name}": value for name, value in {**rate, **decision.seen}.items()}

    @property
    def learning_rate(self) -> float | None:
        """In force: the latest decision that names one; of several controls the last named in the recipe."""
        found = None
        for decisions in self.past.values():
            named = [one.learning_rate for one in decisions if one.learning_rate is not None]
            found = named[-1] if named else found
        return found


def _read(kind: str, metrics: pd.DataFrame) -> list[Decision]:
    """A control's recorded decisions, in order of step."""
    names = metrics["name"].astype(str)
    mine = metrics[names.str.startswith(f"{kind}_") & (metrics["scope"].astype(str) == "train")]
    found = []
    for _, rows in mine.groupby("step", sort=True):
        values = zip(rows["name"].astype(str), rows["value"], strict=True)
        seen = {name.removeprefix(f"{kind}_"): float(value) for name, value in values}
        found.append(Decision(step=int(rows["step"].iloc[0]), learning_rate=seen.pop("rate", None), seen=seen))
    return found
