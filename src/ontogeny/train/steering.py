"""Puts what controls decided in force, in a training or in the objective alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from ontogeny.core.errors import OntogenyError
from ontogeny.data.batch_plans import change_shares
from ontogeny.objectives.compose import Objective
from ontogeny.train.parameter_groups import set_layer_slope
from ontogeny.train.session import Session


class SessionSteering:
    """`core.controls.Steering` of a training."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def set_learning_rate(self, rate: float) -> None:
        """The learning rate, in place of the scheduled one."""
        self._session.decided_rate = rate

    def set_replay(self, step: int, shares: Mapping[str, float]) -> None:
        """The share of each replay corpus in the batches from that step on."""
        change_shares(self._session.plan, step, shares)

    def set_layer_slope(self, first: float, last: float) -> None:
        """Multipliers of the first and the last block. Raises OntogenyError if the groups are not blocks."""
        if not any(control.by_block for control in self._session.train.controls):
            raise OntogenyError("the optimizer's groups are no blocks: set  by_block = True  in the control's class")
        set_layer_slope(self._session.optimizer, (first, last))

    def set_clip(self, norm: float | None) -> None:
        """The gradient norm to clip to; None does not clip."""
        self._session.clip = norm

    def set_term_weight(self, term: str, weight: float) -> None:
        """The weight of a loss term, in place of the scheduled one."""
        self._session.objective.set_weight(term, weight)

    def set_dropout(self, probability: float) -> None:
        """The probability of every dropout layer, and of the dropout that attention layers apply themselves."""
        from torch import nn

        for module in self._session.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = probability
            settings = vars(module)
            if isinstance(settings.get("attention_dropout"), float):
                settings["attention_dropout"] = probability

    @property
    def param_groups(self) -> Sequence[dict[str, Any]]:
        """The optimizer's groups."""
        return self._session.optimizer.param_groups


class ObjectiveSteering:
    """`core.controls.Steering` where only the objective is computed: the weights of terms alone matter."""

    param_groups: Sequence[dict[str, Any]] = ()

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def set_learning_rate(self, rate: float) -> None:
        """Of no effect."""

    def set_replay(self, step: int, shares: Mapping[str, float]) -> None:
        """Of no effect."""

    def set_layer_slope(self, first: float, last: float) -> None:
        """Of no effect."""

    def set_clip(self, norm: float | None) -> None:
        """Of no effect."""

    def set_term_weight(self, term: str, weight: float) -> None:
        """The weight of a loss term, in place of the scheduled one."""
        self._objective.set_weight(term, weight)

    def set_dropout(self, probability: float) -> None:
        """Of no effect: a look has no dropout."""
