"""Everything that one training needs in memory, put together from a recipe and, if it continues, a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.core.contracts import Place, Progress
from ontogeny.core.passages import Passage
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_train import Train
from ontogeny.data.batch_plans import Plan, make_plan
from ontogeny.models.weights import counted_flops_per_token, effective_weights, fingerprint, nonembedding_parameters
from ontogeny.objectives.compose import Objective
from ontogeny.train.allocator import keep_freed_memory
from ontogeny.train.anchors import Remembered
from ontogeny.train.optimizer import build_optimizer

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn
    from torch.optim import AdamW


@dataclass(kw_only=True)
class Session:
    """A training in progress. `step` is the only thing that moves, with the weights and the optimizer's moments."""

    train: Train
    model: Any
    """As saved and looked at."""
    wrapped: Any
    """As called in training: autocast, distributed."""
    modules: "nn.ModuleDict"
    """Trainable parts that terms brought."""
    optimizer: "AdamW"
    accelerator: "Accelerator"
    objective: Objective
    tokenizer: Any
    examples: Sequence[Passage]
    new_examples: int
    """So many of the examples are new text; replayed ones are behind them."""
    plan: Plan
    total_steps: int
    flops_per_token: float
    counted_flops_per_token: float
    step: int = 0
    decided_rate: float | None = None
    """What a control decided, instead of the schedule."""

    def progress(self, step: int | None = None) -> Progress:
        """Progress at a state; by default the present one."""
        at = self.step if step is None else step
        return Progress(step=at, total_steps=self.total_steps, epoch=self.plan.epoch_at(at))

    def learning_rate(self, step: int) -> float:
        """Learning rate of the update that leaves that state: as decided, or as scheduled."""
        if self.decided_rate is not None:
            return self.decided_rate
        return self.train.lr.at(step, self.total_steps)

    def place(self) -> Place:
        """Coordinates of the present state."""
        tokens = self.plan.tokens_through(self.step)
        return Place(
            step=self.step,
            epoch=self.plan.epoch_at(self.step),
            tokens_seen=tokens,
            flops=self.flops_per_token * tokens,
            flops_counted=self.counted_flops_per_token * tokens,
            weights_sha256=fingerprint(effective_weights(self.model)),
        )


def open_session(
    recipe: Recipe,
    *,
    model: Any,
    tokenizer: Any,
    examples: Sequence[Passage],
    replay: Mapping[str, tuple[range, float]] | None = None,
    nll: np.ndarray | None = None,
    remembered: Remembered | None = None,
    total_steps: int | None = None,
) -> Session:
    """Put model, optimizer, order and objective together, at step 0.

    `replay`: `data.prepare.Prepared.replay`; `nll`: of every example, where the order needs it;
    `remembered`: what penalties know of the start.
    """
    from torch import nn

    train = recipe.train
    assert train is not None
    accelerator = make_accelerator(train.precision)
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    device = accelerator.device
    held = {term: {key: t.to(device) for key, t in one.items()} for term, one in (remembered or {}).items()}
    objective = Objective(recipe.objective, held)
    modules = nn.ModuleDict(objective.modules())
    if train.weights == "float64":
        modules.double()
    flops_counted = counted_flops_per_token(model, recipe.data.length)
    model.to(accelerator.device)
    modules.to(accelerator.device)
    optimizer = build_optimizer(model, modules.values(), train)
    plan = make_plan(train, [len(example) for example in examples], replay or {}, nll)
    return Session(
        train=train,
        model=model,
        wrapped=accelerator.prepare(model),
        modules=modules,
        optimizer=optimizer,
        accelerator=accelerator,
        objective=objective,
        tokenizer=tokenizer,
        examples=examples,
        new_examples=min((part.start for part, _ in (replay or {}).values()), default=len(examples)),
        plan=plan,
        total_steps=total_steps or plan.steps_for(train),
        flops_per_token=6.0 * nonembedding_parameters(model),
        counted_flops_per_token=flops_counted,
    )


def to_device(model: Any) -> Any:
    """Move a model to where training would put it, so that a look afterwards computes as a live one did."""
    return model.to(make_accelerator("fp32").device)


def make_accelerator(precision: str) -> "Accelerator":
    """A fresh Accelerator. Its state is shared by the process and remembers the precision of the last one."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    return Accelerator(mixed_precision="bf16" if precision == "bf16" else "no")
