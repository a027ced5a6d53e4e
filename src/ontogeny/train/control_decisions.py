"""Lets controls decide before a step, and records, reads back and puts in force what they decided."""

import time
from collections.abc import Sequence

import pandas as pd

from ontogeny.core.controls import Control, Decision, Steering
from ontogeny.core.errors import OntogenyError
from ontogeny.core.measures import Context
from ontogeny.looking.guard import untouched


class ControlDecisions:
    """The controls of a training and their decisions so far."""

    def __init__(self, controls: Sequence[Control], metrics: pd.DataFrame) -> None:
        """`metrics`: those of the run up to the present state; earlier decisions are read from them."""
        self.controls = tuple(controls)
        self.past = _read([control.kind for control in self.controls], metrics)

    def decide(self, context: Context) -> list[tuple[str, Decision]]:
        """Ask the controls that are due; returns their decisions, by kind.

        Raises OntogenyError for a decision that could not be read back, because it has no values.
        """
        made = []
        for control in self.controls:
            if context.progress.step % control.every:
                continue
            with untouched(context.model, also=context.objective.modules.values()):
                decision = control.decide(context, self.past[control.kind])
            if not decision.values and decision.stop is None:
                raise OntogenyError(
                    f"the control '{control.kind}' decided without values: none of it would be recorded"
                )
            self.past[control.kind].append(decision)
            made.append((control.kind, decision))
        return made

    def time(self, context: Context) -> dict[str, float]:
        """Seconds that one decision of each control takes at this state, by kind. Nothing is decided."""
        seconds = {}
        for control in self.controls:
            started = time.perf_counter()
            with untouched(context.model, also=context.objective.modules.values()):
                control.decide(context, self.past[control.kind])
            seconds[control.kind] = time.perf_counter() - started
        return seconds

    @staticmethod
    def rows(kind: str, decision: Decision) -> dict[str, float]:
        """A decision as metrics, by name."""
        return {f"{kind}_{name}": value for name, value in decision.values.items()}

    def put_in_force(self, steering: Steering, since: int = 0) -> None:
        """Set what was decided at state `since` and later, in the order in which it was decided.

        So the latest decision about a setting holds; of several at one state, that of the control named last.
        """
        decisions = [
            (decision.step, place, decision)
            for place, control in enumerate(self.controls)
            for decision in _since(self.past[control.kind], since)
        ]
        for _, place, decision in sorted(decisions, key=lambda entry: entry[:2]):
            self.controls[place].put_in_force(decision, steering)


def _since(decisions: Sequence[Decision], step: int) -> list[Decision]:
    """The last ones, from that step on. From the end, since the list grows with every decision."""
    first = len(decisions)
    while first and decisions[first - 1].step >= step:
        first -= 1
    return list(decisions[first:])


def _read(kinds: Sequence[str], metrics: pd.DataFrame) -> dict[str, list[Decision]]:
    """Recorded decisions by kind, in order of step."""
    decisions: dict[str, list[Decision]] = {kind: [] for kind in kinds}
    rows = metrics[metrics["scope"].astype(str) == "train"]
    owners = rows["name"].astype(str).map(lambda name: _owner(name, kinds))
    for kind in kinds:
        for step, own in rows[owners == kind].groupby("step", sort=True):
            names = own["name"].astype(str).str.removeprefix(f"{kind}_")
            values = dict(zip(names, map(float, own["value"]), strict=True))
            decisions[kind].append(Decision(step=int(str(step)), values=values))
    return decisions


def _owner(name: str, kinds: Sequence[str]) -> str:
    """The kind that recorded a metric: of `clip` and `clip_norm`, the latter recorded `clip_norm_value`."""
    return max((kind for kind in kinds if name.startswith(f"{kind}_")), key=len, default="")
