"""Lets interventions change the weights before a step."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ontogeny.core.interventions import Change
from ontogeny.core.measures import Context
from ontogeny.looking.guard import untouched
from ontogeny.train.session import Session

if TYPE_CHECKING:
    from torch import Tensor


class WeightChanges:
    """The interventions of a training and the states at which each is due."""

    def __init__(self, session: Session) -> None:
        self.session = session
        total, per_epoch = session.total_steps, session.plan.steps_per_epoch
        self.due = [
            (intervention, intervention.at.states(total, per_epoch)) for intervention in session.train.interventions
        ]

    def is_due(self, step: int) -> bool:
        """Is anything changed at that state?"""
        return 0 < step < self.session.total_steps and any(step in states for _, states in self.due)

    def intervene(self, context: Callable[[], Context]) -> dict[str, float]:
        """Let the interventions that are due change the present state, one after the other; returns metrics by name."""
        step = self.session.step
        rows: dict[str, float] = {}
        if self.is_due(step):
            for intervention in (intervention for intervention, states in self.due if step in states):
                present = context()
                with untouched(present.model, also=present.objective.modules.values()):
                    change = intervention.apply(present)
                self._carry_out(change)
                rows |= {f"{intervention.kind}_{name}": value for name, value in change.values.items()}
        return rows

    def _carry_out(self, change: Change) -> None:
        import torch

        parameters = dict(self.session.model.named_parameters())
        with torch.no_grad():
            for name, value in change.weights.items():
                parameters[name].copy_(value)
            for name, mask in change.reset_moments.items():
                for moment in self.session.optimizer.state.get(parameters[name], {}).values():
                    if isinstance(moment, torch.Tensor):
                        _forget(moment, mask)


def _forget(moment: "Tensor", mask: "Tensor") -> None:
    """Set a moment to 0 where `mask` is True; the count of steps, which belongs to the whole tensor, stays.

    An entry that stands for a whole row or column (Adafactor: an axis of length 1) is set to 0 if all of it is.
    """
    if moment.ndim != mask.ndim or not moment.ndim:
        return
    for axis, (kept, full) in enumerate(zip(moment.shape, mask.shape, strict=True)):
        if kept == 1 != full:
            mask = mask.all(dim=axis, keepdim=True)
    if moment.shape == mask.shape:
        moment.masked_fill_(mask.to(moment.device), 0.0)
