"""Lets controls decide before a step, and keeps what they decided."""

import time
from collections.abc import Sequence
from typing import TypeVar

import pandas as pd

from ontogeny.core.contracts import Context
from ontogeny.core.controls import Control, Decision
from ontogeny.data.batch_plans import change_shares
from ontogeny.looking.guard import untouched
from ontogeny.train.optimizer import set_layer_slope
from ontogeny.train.session import Session

T = TypeVar("T")


class ControlDecisions:
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

    def time(self, context: Context) -> dict[str, float]:
        """Seconds that one decision of each control takes at this state, by kind. Nothing is decided."""
        seconds = {}
        for control in self.controls:
            started = time.perf_counter()
            with untouched(context.model):
                control.decide(context, self.past[type(control).kind])
            seconds[type(control).kind] = time.perf_counter() - started
        return seconds

    @staticmethod
    def rows(kind: str, decision: Decision) -> dict[str, float]:
        """A decision as metrics, by name."""
        found = {} if decision.learning_rate is None else {"rate": decision.learning_rate}
        found |= {f"{_SHARE}{name}": share for name, share in (decision.replay or {}).items()}
        if decision.layer_slope is not None:
            found |= dict(zip(_ENDS, decision.layer_slope, strict=True))
        return {f"{kind}_{name}": value for name, value in {**found, **decision.seen}.items()}

    def apply(self, session: Session, since: int = 0) -> None:
        """Put in force what was decided: of several controls, what the last named in the recipe says.

        `since`: shares decided before that state are in force already.
        """
        for decisions in self.past.values():
            for one in decisions:
                if one.replay is not None and one.step >= since:
                    change_shares(session.plan, one.step, one.replay)
            session.decided_rate = _latest([one.learning_rate for one in decisions], session.decided_rate)
            slope = _latest([one.layer_slope for one in decisions], None)
            if slope is not None:
                set_layer_slope(session.optimizer, slope)


_SHARE = "share_"
_ENDS = ("first_block", "last_block")


def _latest(values: Sequence[T | None], otherwise: T | None) -> T | None:
    return next((value for value in reversed(values) if value is not None), otherwise)


def _read(kind: str, metrics: pd.DataFrame) -> list[Decision]:
    """A control's recorded decisions, in order of step."""
    names = metrics["name"].astype(str)
    mine = metrics[names.str.startswith(f"{kind}_") & (metrics["scope"].astype(str) == "train")]
    found = []
    for _, rows in mine.groupby("step", sort=True):
        values = zip(rows["name"].astype(str), rows["value"], strict=True)
        seen = {name.removeprefix(f"{kind}_"): float(value) for name, value in values}
        rate, shares = seen.pop("rate", None), [name for name in seen if name.startswith(_SHARE)]
        replay = {name.removeprefix(_SHARE): seen.pop(name) for name in shares} or None
        slope = (seen.pop(_ENDS[0]), seen.pop(_ENDS[1])) if _ENDS[0] in seen else None
        step = int(rows["step"].iloc[0])
        found.append(Decision(step=step, learning_rate=rate, replay=replay, layer_slope=slope, seen=seen))
    return found
