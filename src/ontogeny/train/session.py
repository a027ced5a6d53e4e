"""Everything that one training needs in memory, put together from a recipe and, if it continues, a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.core.errors import DataError, OntogenyError
from ontogeny.core.passages import Passage, side_widths
from ontogeny.core.progress import Place, Progress
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_train import Train
from ontogeny.core.terms import TermContext
from ontogeny.data.batch_plans import BatchPlan, make_plan
from ontogeny.models.body_and_head import shape_of, sides_taken
from ontogeny.models.companions import Companion
from ontogeny.models.weights import counted_flops_per_token, effective_weights, fingerprint, nonembedding_parameters
from ontogeny.objectives.compose import Anchors, Objective
from ontogeny.store.cached_targets import TargetShard
from ontogeny.train.allocator import keep_freed_memory
from ontogeny.train.parameter_groups import parameter_groups

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import nn
    from torch.optim import Optimizer
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


@dataclass(kw_only=True)
class Session:
    """A training in progress. `step` is the only thing that moves, with the weights and the optimizer's moments."""

    train: Train
    model: "PreTrainedModel"
    """As saved and looked at."""
    wrapped: Any
    """As called in training: autocast, distributed."""
    modules: "nn.ModuleDict"
    """Trainable parts that terms brought."""
    optimizer: "Optimizer"
    accelerator: "Accelerator"
    objective: Objective
    tokenizer: "PreTrainedTokenizerFast"
    examples: Sequence[Passage]
    new_examples: int
    """So many of the examples are new text; replayed ones are behind them."""
    plan: BatchPlan
    total_steps: int
    flops_per_token: float
    counted_flops_per_token: float
    step: int = 0
    decided_rate: float | None = None
    """What a control decided, instead of the schedule."""
    clip: float | None
    """Gradient norm to clip to: the recipe's, or what a control decided; None does not clip."""

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
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerFast",
    examples: Sequence[Passage],
    replay: Mapping[str, tuple[range, float]] | None = None,
    nll: np.ndarray | None = None,
    anchors: Anchors | None = None,
    companions: Mapping[str, Companion] | None = None,
    targets: Mapping[str, TargetShard] | None = None,
    total_steps: int | None = None,
) -> Session:
    """Put model, optimizer, order and objective together, at step 0.

    `replay`: `data.prepare.Prepared.replay`; `nll`: of every example, where the order needs it; `anchors`: what terms
    keep of the start; `companions`: frozen models that terms read; `targets`: caches of theirs, which steps read.
    Raises DataError where side inputs that passages carry, and those that the model and the terms declare, are not the
    same.
    """
    from torch import nn

    train = recipe.train
    assert train is not None
    accelerator = make_accelerator(train.precision)
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    device = accelerator.device
    objective = Objective(recipe.objective, on_device(anchors or {}, device), companions, recipe.weighting, targets)
    for companion in objective.companions.values():
        companion.model.to(device)
    widths = side_widths(examples)
    check_sides(widths, model, objective, "data.train")
    check_whole_batches(objective, accelerator.num_processes)
    check_own_text(train, objective, examples)
    objective.prepare(model)
    objective.build(term_context(model, objective.companions, widths, train.seed))
    modules = nn.ModuleDict(objective.modules)
    flops_counted = counted_flops_per_token(model, recipe.data.length)
    model.to(accelerator.device)
    modules.to(accelerator.device, torch_dtype(train.weights))
    optimizer = train.optimizer.build(parameter_groups(model, modules, train))
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
        clip=train.clip,
    )


def check_whole_batches(objective: Objective, processes: int) -> None:
    """Raise OntogenyError if a term or the weighting needs the whole batch, and processes have a part of it each."""
    for term in objective.terms:
        if term.whole_batch and processes > 1:
            raise OntogenyError(
                f"'{term.label}' compares the passages of a batch with one another, and {processes} processes cut it "
                "into pieces: train in one process"
            )
    if objective.weighting.separate and processes > 1:
        raise OntogenyError(
            f"weighting: {objective.weighting.kind} compares the gradients of the whole step, and {processes} "
            "processes have a part of it each: train in one process"
        )


def check_own_text(train: Train, objective: Objective, examples: Sequence[Passage]) -> None:
    """Raise DataError if train.on_policy has nothing to write, or writes what a companion or the model cannot read."""
    if train.on_policy is None:
        return
    for name, companion in objective.companions.items():
        if companion.tokenizer is not None:
            raise DataError(
                f"train.on_policy: the companion '{name}' has a tokenizer of its own, and what the student writes need "
                "not be text: choose one with the student's tokenizer"
            )
    if any(passage.sides for passage in examples):
        raise DataError("train.on_policy: the passages carry side inputs, which own text would not: leave out one")
    longest = max(map(len, examples), default=0)
    if longest <= train.on_policy.prompt:
        raise DataError(
            f"train.on_policy.prompt: a prompt of {train.on_policy.prompt} tokens leaves nothing to write, since the "
            f"longest passage of data.train has {longest}: write less than that"
        )


def torch_dtype(weights: str) -> "torch.dtype":
    """`float32` or `float64` as torch names it."""
    import torch

    return torch.float64 if weights == "float64" else torch.float32


def on_device(anchors: Anchors, device: "torch.device") -> Anchors:
    """Anchors where the model computes."""
    return {label: {key: tensor.to(device) for key, tensor in kept.items()} for label, kept in anchors.items()}


def term_context(
    model: "PreTrainedModel", companions: Mapping[str, Companion], sides: Mapping[str, int], seed: int
) -> TermContext:
    """What terms know when they build their trainable parts."""
    shapes = {name: companion.shape for name, companion in companions.items()}
    own = frozenset(name for name, companion in companions.items() if companion.tokenizer is not None)
    return TermContext(model=shape_of(model), companions=shapes, own_tokens=own, sides=sides, seed=seed)


def check_sides(carried: Mapping[str, int], model: "PreTrainedModel", objective: Objective, where: str) -> None:
    """Raise DataError unless passages carry the side inputs that the model and the terms read, and no others."""
    taken = dict(sides_taken(model))
    for companion in objective.companions.values():
        taken |= sides_taken(companion.model)
    read = {*taken, *objective.sides}
    for name in sorted(set(carried) - read):
        raise DataError(
            f"the passages of {where} carry the side input '{name}', which neither the model nor a loss term reads: "
            "choose a model or a term that does, or a corpus without it"
        )
    for name in sorted(read - set(carried)):
        who = "the model" if name in taken else "a loss term"
        raise DataError(f"{who} reads the side input '{name}', which the passages of {where} do not carry")
    for name, width in taken.items():
        if carried[name] != width:
            raise DataError(f"the side input '{name}' has width {carried[name]}, the model takes {width}")


def to_device(model: "PreTrainedModel") -> "PreTrainedModel":
    """Move a model to where training would put it, so that a look afterwards computes as a live one did."""
    return model.to(make_accelerator("fp32").device)


def make_accelerator(precision: str) -> "Accelerator":
    """A fresh Accelerator. Its state is shared by the process and remembers the precision of the last one."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    return Accelerator(mixed_precision="bf16" if precision == "bf16" else "no")
