"""What was seen of loss terms, an evaluation, averaged weights and generation: plain numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

NLL = "next-token NLL"
"""Under this name stands the plain loss of the language model among gradients of terms."""
LEAST_ROW = 8
"""Tokens that a row must have to be recognised."""


@dataclass(kw_only=True)
class LossTerms:
    """The terms of one loss, as they were watched."""

    step: int
    """Optimizer steps taken before it."""
    learning: bool
    """Were gradients enabled? In an evaluation they are not."""
    values: dict[str, float]
    """Unweighted."""
    weights: dict[str, float]
    """Empty where none were watched."""
    total: float | None = None
    training_weights: dict[str, float] = field(default_factory=dict)
    """Where gradients are disabled: the weights of the last loss with gradients."""
    detached: frozenset[str] = frozenset()
    """Terms that no gradient can flow through."""
    norms: dict[str, float] = field(default_factory=dict)
    """L2 norm of each unweighted term's gradient over some of the trainable tensors; empty if not computed."""
    by_hand: str = ""
    """Name of a `torch.autograd.Function` in their graph, which is why no gradients were computed; "" if there is none.
    """
    cosines: dict[tuple[str, str], float] = field(default_factory=dict)
    """Between the gradients of two terms, or of a term and `NLL`; only where both are above 0."""


@dataclass(frozen=True, kw_only=True)
class SchedulerPlan:
    """What a learning-rate scheduler plans."""

    kind: str
    """Name of its class."""
    begins: int
    """Steps that it had taken when it was first watched."""
    steps_before: int
    """Optimizer steps of the audit at that time."""
    horizon: int | None
    """Steps of its own after which it ends; None where it does not say."""
    for_each_step: bool
    """Is it made to step beside the optimizer? False where it may as well step once per epoch."""


@dataclass(frozen=True, kw_only=True)
class EvaluationPass:
    """A forward pass without gradients over whole rows."""

    training: bool
    """Mode of the model."""
    averaged: bool
    """Was it the averaged model (`watch(ema=…)`)?"""
    labelled: bool
    """Was the model given labels? If not, all tokens that are not padding count."""
    nll: float
    """Sum over the tokens that count, in nats."""
    tokens: int
    rows: tuple[int, ...]
    """A number for the tokens of each row, equal for equal rows; 0 for rows of fewer than `LEAST_ROW` tokens."""

    @property
    def mean(self) -> float:
        """NLL per token."""
        return self.nll / self.tokens


@dataclass(kw_only=True)
class Evaluated:
    """What one call of `watch(evaluate=…)` did."""

    numbers: dict[str, float] = field(default_factory=dict)
    """What it returned."""
    passes: list[EvaluationPass] = field(default_factory=list)
    foreign_weights: bool = False
    """Did the model hold other weights than the trained ones while it was evaluated?"""
    changed: tuple[str, ...] = ()
    """Parameters and buffers whose bits differ afterwards, by more than rounding."""
    rounded: tuple[str, ...] = ()
    """Parameters whose last bits alone differ: moved to an average and back, say."""
    gradients: tuple[str, ...] = ()
    """Parameters that have a gradient afterwards, and had none."""
    modes: tuple[str, ...] = ()
    """Modules that it left in another mode than the one it met; the model itself is ''."""
    reseeded: tuple[str, ...] = ()
    """Generators whose seed it has set and not put back: torch, numpy, random."""
    sizes: tuple[int, int] | None = None
    """Two batch sizes at which it was carried out, where it takes one; `numbers` are those of the first."""
    at_other_size: dict[str, float] = field(default_factory=dict)
    """What it returned at the second."""

    def round(self) -> list[EvaluationPass]:
        """The passes of one model without those over all its rows once more, as for an accuracy beside the loss.

        So two or three rounds over several batches in the same order, or passes without labels over the rows of those
        with labels. One batch again and again is none.
        """
        passes = [one for one in self.passes if one.averaged == self.passes[0].averaged]
        labelled, others = ([one for one in passes if one.labelled is has] for has in (True, False))
        if labelled and [one.rows for one in labelled] == [one.rows for one in others]:
            passes = labelled
        for rounds in (2, 3):
            count = len(passes) // rounds
            if count > 1 and [one.rows for one in passes] == rounds * [one.rows for one in passes[:count]]:
                return passes[:count]
        return passes

    @property
    def tokens(self) -> int:
        """Tokens that count."""
        return sum(one.tokens for one in self.passes)

    @property
    def token_mean(self) -> float:
        """NLL per token over everything evaluated, in nats; NaN if nothing was seen."""
        return sum(one.nll for one in self.passes) / self.tokens if self.tokens else math.nan

    @property
    def batch_mean(self) -> float:
        """Mean of the batches' means, in nats."""
        means = [one.mean for one in self.passes if one.tokens]
        return float(np.mean(means)) if means else math.nan

    @property
    def row_mean(self) -> float:
        """Mean of the batches' means, weighted by their rows, in nats."""
        counted = [one for one in self.passes if one.tokens]
        return float(np.average([p.mean for p in counted], weights=[len(p.rows) for p in counted])) if counted else 0.0


@dataclass(frozen=True, kw_only=True)
class Follows:
    """One step of an exponential moving average: average' = decay x average + (1 - decay) x weights."""

    step: int
    decay: float


@dataclass(kw_only=True)
class GenerationPasses:
    """What was seen of generation."""

    batches: int = 0
    """Forward passes of one token per row, over several rows with an attention mask."""
    padded: int = 0
    """Of these, with padding in a row."""
    padded_right: int = 0
    """Of these, with padding behind the prompt's tokens."""
    passes: int = 0
    """Forward passes without gradients, before the audit ended, without those that are part of a training step."""
    passes_in_training_mode: int = 0
    """Of these, in training mode."""
    came_back: bool = False
    """Has a pass in evaluation mode been followed by one with gradients in training mode?"""


@dataclass(frozen=True, kw_only=True)
class SpecialIds:
    """Token ids that mean something, as model, generation and tokenizer have them."""

    given: Mapping[tuple[str, str], tuple[int, ...]]
    """(`config` | `generation_config` | `tokenizer`, `eos` | `bos` | `pad`) -> ids; absent where None."""
    ordinary: Mapping[int, str] = field(default_factory=dict)
    """Those of them that the tokenizer has as ordinary tokens -> the token."""
    size: int = 0
    """Of the tokenizer, with added tokens; 0 without one."""
    last_ordinary: int = -1
    """Highest id without added tokens."""
    encoder_decoder: bool = False

    def of(self, name: str) -> frozenset[int]:
        """All ids of that name, wherever they stand."""
        return frozenset(i for (_, which), ids in self.given.items() if which == name for i in ids)
