"""Decisions are recorded and read back by kind, and put in force in the order in which they were made."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from ontogeny.core.controls import Control, Decision, Steering
from ontogeny.core.errors import OntogenyError
from ontogeny.core.measures import Context
from ontogeny.train.control_decisions import ControlDecisions


class _Rate(Control):
    """Decides a rate that it is given."""

    rate: float = 1.0

    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        return Decision(step=context.progress.step, values={"rate": self.rate} if self.rate else {})

    def put_in_force(self, decision: Decision, steering: Steering) -> None:
        steering.set_learning_rate(decision.values["rate"])


class _Clip(_Rate):
    """Called `clip`."""


class _ClipNorm(_Rate):
    """Called `clip_norm`."""


_Clip.kind, _ClipNorm.kind = "clip", "clip_norm"


def _metrics(*rows: tuple[int, str, float], scope: str = "train") -> pd.DataFrame:
    return pd.DataFrame(
        [(step, name, scope, value) for step, name, value in rows], columns=["step", "name", "scope", "value"]
    )


def _context(step: int) -> Any:
    """What a decision is guarded by: the state, the model and the modules of the objective."""
    return SimpleNamespace(
        progress=SimpleNamespace(step=step), model=torch.nn.Linear(1, 1), objective=SimpleNamespace(modules={})
    )


def _rates(decisions: ControlDecisions, since: int = 0) -> list[float]:
    """The rates that are set, in order."""
    rates: list[float] = []
    steering: Any = SimpleNamespace(set_learning_rate=rates.append)
    decisions.put_in_force(steering, since)
    return rates


def test_each_control_reads_its_own() -> None:
    """Where one kind begins with the name of another; other metrics and other scopes are nobody's decision."""
    rows = [(0, "clip_rate", 1.0), (0, "clip_norm_rate", 2.0), (3, "clip_norm_rate", 3.0), (3, "learning_rate", 9.0)]
    metrics = pd.concat([_metrics(*rows), _metrics((0, "clip_rate", 7.0), scope="timing")])
    decisions = ControlDecisions([_Clip(), _ClipNorm()], metrics)
    assert decisions.past == {
        "clip": [Decision(step=0, values={"rate": 1.0})],
        "clip_norm": [Decision(step=0, values={"rate": 2.0}), Decision(step=3, values={"rate": 3.0})],
    }


def test_the_latest_decision_holds_and_of_one_state_that_of_the_last_control() -> None:
    rows = [(0, "clip_rate", 1.0), (2, "clip_rate", 3.0), (0, "clip_norm_rate", 2.0), (1, "clip_norm_rate", 4.0)]
    decisions = ControlDecisions([_Clip(), _ClipNorm()], _metrics(*rows))
    assert _rates(decisions) == [1.0, 2.0, 4.0, 3.0]
    assert _rates(decisions, since=1) == [4.0, 3.0]
    assert _rates(decisions, since=3) == []


def test_what_is_decided_is_what_is_read_back() -> None:
    context = _context(step=4)
    decisions = ControlDecisions([_Clip(rate=0.1 + 0.2, every=2)], _metrics())
    ((kind, decision),) = decisions.decide(context)
    rows = [(decision.step, name, value) for name, value in ControlDecisions.rows(kind, decision).items()]
    assert rows == [(4, "clip_rate", 0.1 + 0.2)]
    assert ControlDecisions([_Clip()], _metrics(*rows)).past == decisions.past
    context.progress.step = 5
    assert decisions.decide(context) == []


def test_a_decision_without_values_is_refused() -> None:
    with pytest.raises(OntogenyError, match="the control 'clip' decided without values"):
        ControlDecisions([_Clip(rate=0.0)], _metrics()).decide(_context(step=0))


class _Meddler(_Rate):
    """Leaves the model and the objective's module in evaluation mode, with a gradient."""

    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        for module in (context.model, *context.objective.modules.values()):
            module.eval()
            next(module.parameters()).grad = torch.ones(1, 1)
        return super().decide(context, past)


def test_a_decision_leaves_the_model_and_the_objectives_modules_as_they_were() -> None:
    context = _context(step=0)
    context.objective.modules["projection"] = torch.nn.Linear(1, 1)
    decisions = ControlDecisions([_Meddler()], _metrics())
    decisions.decide(context)
    decisions.time(context)
    for module in (context.model, context.objective.modules["projection"]):
        assert module.training
        assert next(module.parameters()).grad is None
