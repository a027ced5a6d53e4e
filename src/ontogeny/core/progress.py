"""Where training stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where training stands at state `step`."""

    step: int
    total_steps: int
    epoch: float

    @property
    def share(self) -> float:
        """Progress in [0, 1]."""
        return min(self.step / self.total_steps, 1.0) if self.total_steps else 0.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """The coordinates of one model state on a run's time axis."""

    step: int
    epoch: float
    tokens_seen: int
    """Tokens that went through the model in training, prompts included, padding not."""
    flops: float
    """6 N D: 6 x non-embedding parameters x tokens seen."""
    flops_counted: float
    """FLOPs of forward and backward passes as counted operator by operator, per token x tokens seen; NaN if unknown."""
    weights_sha256: str
    """Fingerprint of the effective weights: names, dtypes, shapes and bytes, LoRA merged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepEvent:
    """One optimizer step: the update that led from state `step` to state `step + 1`."""

    step: int
    progress: Progress
    loss: float
    """The composed objective on the step's batch, before the update (nats per unit)."""
    terms: Mapping[str, float]
    """Each term that was computed, unweighted, by name; one of weight 0 is not."""
    learning_rate: float
    grad_norm: float
    """Global L2 norm of the gradient before clipping."""
    tokens: int
    """Tokens in the step's batch, padding excluded."""
    supervised_tokens: int
    """Tokens that counted as targets in the step's batch."""
    tokens_seen: int
    """Tokens after the step."""
    example_ids: tuple[int, ...]
    seconds: float
    """Wall-clock time of the step, data included, what consumers do with the event excluded."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of all terms, by name."""
    details: Mapping[str, float] = field(default_factory=dict)
    """What terms tell besides their value, by the name of its metric."""
