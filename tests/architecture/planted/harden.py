"""A control in one file that decides weight decay and dropout."""

from collections.abc import Sequence
from typing import ClassVar

from ontogeny.core.controls import Control, Decision, Steering
from ontogeny.core.measures import Context


class Harden(Control):
    """Raises weight decay and lowers dropout with the epochs."""

    cost: ClassVar[str] = "nothing"

    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        """Both from here on."""
        share = context.progress.share
        return Decision(step=context.progress.step, values={"decay": 0.1 + share, "dropout": 0.3 * (1 - share)})

    def put_in_force(self, decision: Decision, steering: Steering) -> None:
        """Set both; vectors do not decay."""
        for group in steering.param_groups:
            if group["weight_decay"]:
                group["weight_decay"] = decision.values["decay"]
        steering.set_dropout(decision.values["dropout"])
