"""What an audit wrote down of a training: plain numbers and arrays, so that checks are pure functions of them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ontogeny.integrations.audit.observed import Adapters, DistillationRecord, Markers, Reread, Reruns
from ontogeny.integrations.audit.seen import Evaluated, Follows, GenerationPasses, LossTerms, SchedulerPlan, SpecialIds


@dataclass(frozen=True, kw_only=True)
class GradientTargets:
    """What a loss pulls each position towards, read off the gradient at the logits, whoever computed the loss.

    Of a cross entropy with weight w the gradient at a position's logits is w x (probabilities - one-hot target), so
    that its lowest entry names the target and its size the weight. Shapes: B rows, T positions.
    """

    ids: np.ndarray
    """int64 [B, T]: token that position t is to predict; -1 where no gradient arrives."""
    weight: np.ndarray
    """float64 [B, T]: its weight in the loss, 1 / count for a mean over count tokens; 0 where no gradient arrives."""
    misfit: float
    """Difference between the gradient and that of a cross entropy, as a share of it, over some positions."""
    of_probabilities: float = float("inf")
    """How evenly weighted the positions are if the loss is a cross entropy of probabilities p in place of logits: its
    gradient is p (u - p . u) times a weight, u = softmax(p) - one-hot target. Spread of these weights over that of
    `weight`, which then goes with p; infinite where the gradient is no such one, or `weight` is even."""

    def equals(self, other: "GradientTargets | None") -> bool:
        """Are they the same to the last bit?"""
        return other is not None and all(
            np.array_equal(getattr(self, one), getattr(other, one)) for one in ("ids", "weight")
        )


@dataclass(kw_only=True)
class ForwardRecord:
    """One forward pass in training, with its backward pass."""

    step: int
    """Optimizer steps taken before it."""
    training: bool
    """Mode of the model."""
    input_ids: np.ndarray | None = None
    """int64 [B, T]."""
    attention_mask: np.ndarray | None = None
    """int64 [B, T]; None where none was given."""
    labels: np.ndarray | None = None
    """int64 [B, T], where the model was given them."""
    position_ids: np.ndarray | None = None
    loss: float | None = None
    """What the model returned as its loss."""
    nll: np.ndarray | None = None
    """float64 [B, T]: of each token given the ones before it, whether it is supervised or not; NaN at position 0."""
    vocabulary: int = 0
    """Width of the logits."""
    targets: GradientTargets | None = None
    backward: bool = False
    """Has a gradient arrived at its output?"""
    backward_pass: int | None = None
    """Number of its backward pass, the same for all forward passes of one loss; None if unknown."""
    accumulated: bool = False
    """Did that pass add to gradients? `torch.autograd.grad` does not. Only where it was looked at."""
    cleared: bool = False
    """Were the gradients cleared when its backward pass began? Told of the first forward pass that it reaches."""

    @property
    def time_first(self) -> bool:
        """Are its axes [T, B]? Then nine in ten targets are the tokens below, and not those to the right."""
        if self.input_ids is None or self.targets is None:
            return False
        pulled, ids = self.targets.ids, self.input_ids
        below, right = pulled[:-1] >= 0, pulled[:, :-1] >= 0
        hits = int((below & (pulled[:-1] == ids[1:])).sum()), int((right & (pulled[:, :-1] == ids[:, 1:])).sum())
        return hits[0] > 0.9 * below.sum() and hits[1] < 0.5 * right.sum()


@dataclass(kw_only=True)
class Step:
    """One optimizer step."""

    number: int
    """From 0."""
    backwards: int
    """Backward passes since the step before it."""
    learning_rates: tuple[float, ...]
    """Of the parameter groups, as used."""
    grad_norm: float = float("nan")
    """Global L2 norm of the gradients as the optimizer gets them, after clipping; NaN if not looked at."""
    without_gradient: tuple[str, ...] = ()
    """Tensors of the model whose gradient is None or all zero; empty if not looked at."""
    scheduled: int | None = None
    """Scheduler steps taken before it; None without a scheduler that counts them."""
    loss_scale: float = 1.0
    """What the loss was multiplied by before `backward`, and its gradients were divided by again: a GradScaler's."""
    rescaled: float = float("nan")
    """Gradients as the optimizer got them, as a share of what `backward` left, at some tensors; NaN if not looked at.
    A GradScaler's division and clipping are in it."""
    took_again: bool | None = None
    """Were the gradients of the step before it still there, and added to? None if not looked at."""
    since_cleared: int | None = None
    """Of its backward passes, those after gradients were last cleared; None if not looked at."""
    negligible: tuple[str, ...] = ()
    """Tensors whose gradient is above 0 and below a millionth of the whole: rounding, where theory says 0."""


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """The model's tensors by name."""

    trainable: frozenset[str]
    """With `requires_grad`."""
    optimized: frozenset[str]
    """In a group of the optimizer."""
    moved: frozenset[str]
    """Whose bits have changed between the beginning and the end of the audit."""
    strays: tuple[str, ...] = ()
    """Outside the model: what watched losses have a gradient for, did not move, and is in no known optimizer."""
    frozen_at_start: frozenset[str] = frozenset()
    """Without `requires_grad` when the audit began."""
    optimizers: int = 1
    """How many there are: gradients are looked at when the first one steps."""
    narrow: frozenset[str] = frozenset()
    """Of 16 bits or fewer."""
    change: float = float("nan")
    """Norm of what all trainable ones have changed by, as a share of their norm, over some numbers of each."""


@dataclass(kw_only=True)
class Recording:
    """Everything that checks may look at."""

    forwards: list[ForwardRecord] = field(default_factory=list)
    """Those that were looked at in detail, in order."""
    forwards_in_training: int = 0
    """All of them, with gradients."""
    backwards: int = 0
    steps: list[Step] = field(default_factory=list)
    """All, in order; details only of some."""
    tensors: Tensors | None = None
    schedule: SchedulerPlan | None = None
    """Of the scheduler that is watched."""
    hears_steps: bool = True
    """Does the optimizer tell of its steps? One that is no torch optimizer, nor wraps one, does not."""
    optimizer: str = ""
    """Name of the class of the first one, inside wrappers."""
    dropout: bool = False
    """Has the model dropout that is not 0?"""
    tokenizer: Any = None
    watched: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)
    """What the user named in `watch`: by name, (optimizer steps taken before, value)."""
    terms: list[LossTerms] = field(default_factory=list)
    """Of the looked-at forward passes whose terms were watched."""
    averages: list[Follows] = field(default_factory=list)
    """How the averaged weights followed, where `ema` is watched."""
    evaluated: Evaluated | None = None
    """Where `evaluate` is watched and the loop has ended."""
    generation: GenerationPasses = field(default_factory=GenerationPasses)
    special: SpecialIds | None = None
    """Once the audit has ended."""
    markers: Markers = field(default_factory=Markers)
    reruns: Reruns = field(default_factory=Reruns)
    reread: Reread = field(default_factory=Reread)
    distillation: DistillationRecord = field(default_factory=DistillationRecord)
    adapters: Adapters = field(default_factory=Adapters)
    mishaps: list[str] = field(default_factory=list)
    """What went wrong inside the audit: where, and the error's line. The run went on."""

    def latest(self, name: str) -> Any:
        """What was watched last under that name; None if nothing was."""
        values = self.watched.get(name)
        return values[-1][1] if values else None
