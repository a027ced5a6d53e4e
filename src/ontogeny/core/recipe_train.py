"""The part of a recipe that says how training goes: how long, with what step, in which order."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ontogeny.core.cached_targets import CachedTargets
from ontogeny.core.component import Settings, refusal
from ontogeny.core.names import Name, NonNegative
from ontogeny.core.recipe_kinds import OPTIMIZERS, ORDERS, AnyControl, AnyIntervention, AnyOptimizer, AnyOrder
from ontogeny.core.schedule import Schedule, Scheduled

LONGEST = {"steps": 10**10, "epochs": 10**10, "tokens": 10**15}
"""Lengths of training that no machine reaches: beyond them is a slip of the hand, told before anything is read."""


class Lora(Settings):
    """Low-rank adapters through peft; everything else is frozen."""

    rank: int = Field(default=8, ge=1)
    """Rank of the update."""
    alpha: float = Field(default=16.0, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    targets: tuple[str, ...] | None = None
    """Names of the adapted modules; by default all linear layers of the blocks."""


class OnPolicy(Settings):
    """Rows that the student continues itself before the step: it learns where it errs, not where the data is.

    Generalised knowledge distillation (Agarwal et al. 2024, "On-policy distillation of language models"). Prompts are
    the beginnings of the batch's passages; what is written ends with the passage's length, or the end-of-text token.
    """

    share: float = Field(gt=0, le=1)
    """Of the rows of every batch; exact over steps, up to one row."""
    prompt: int = Field(default=32, ge=1)
    """Tokens of the passage that stand; shorter passages stay as they are. They are then no targets."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits before sampling; 1 is the student's own distribution."""


class Mixing(Settings):
    """How replayed text is mixed in."""

    counts: Literal["exact", "expected"] = "exact"
    """exact: after every step each corpus has its share, up to one example. expected: drawn anew for every batch."""
    by: Literal["examples", "tokens"] = "examples"
    """What shares are shares of."""
    budget: Literal["compute", "new"] = "compute"
    """What epochs and tokens count. compute: training is as long as it would be without replay, and sees less new text.
    new: it sees as much new text, and is longer."""
    percentage_window: float | None = Field(default=None, gt=0, le=100)
    """With data.train rolling: every step has one window, of so many per cent of max_tokens; replay fills the rest."""
    max_tokens: int | None = Field(default=None, ge=2)
    """With percentage_window: tokens that a step has at most."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.counts == "expected" and self.by == "tokens":
            raise ValueError("expected shares are of examples: write counts: exact to mix by tokens")
        if (self.percentage_window is None) != (self.max_tokens is None):
            lacks = "max_tokens" if self.max_tokens is None else "percentage_window"
            raise ValueError(
                f"percentage_window and max_tokens come together: {lacks} is missing; write both, for instance "
                "{percentage_window: 25, max_tokens: 1024}"
            )
        if self.percentage_window is not None and self.counts == "expected":
            raise refusal("with percentage_window every step has its window: write counts: exact", "counts")
        return self

    @property
    def window(self) -> int | None:
        """Tokens of a step's window, where max_tokens and percentage_window say so."""
        if self.percentage_window is None or self.max_tokens is None:
            return None
        return round(self.max_tokens * self.percentage_window / 100)


class Train(Settings):
    """How long, with what step."""

    added_later: ClassVar[frozenset[str]] = frozenset({"on_policy", "cached_targets"})

    seed: int = 0
    """Initial weights, order and dropout are drawn from it."""
    steps: int | None = Field(default=None, ge=1)
    """Length in optimizer steps. Say exactly one of steps, epochs, tokens."""
    epochs: float | None = Field(default=None, gt=0)
    """Length in epochs."""
    tokens: int | None = Field(default=None, ge=1)
    """Length in tokens; the last step is the one that reaches it."""
    batch: int = Field(default=8, ge=1)
    """Passages per optimizer step, over all micro-batches and processes."""
    accumulate: int = Field(default=1, ge=1)
    """Micro-batches per optimizer step."""
    order: AnyOrder = Field(default_factory=lambda: ORDERS.make("shuffled"))
    """Which passage stands where; by default shuffled anew in every epoch."""
    on_policy: OnPolicy | None = None
    """Continue a share of the rows by the student itself; by default none."""
    cached_targets: dict[Name, CachedTargets] = Field(default={})
    """Companions whose next-token distributions steps read from a cache on disk, by name: {teacher: {top_k: 64}}."""
    mixing: Mixing = Mixing()
    """How data.replay is mixed in."""
    repeats: int = Field(default=1, ge=1)
    """How often each batch is trained on in a row; an epoch has as many more steps."""
    lr: Scheduled = Field(default=Schedule(value=1e-3))
    """Learning rate."""
    layer_slope: tuple[NonNegative, NonNegative] | None = None
    """Learning-rate multipliers of the first and the last block, linear in between.

    Embeddings get the first, the head the last.
    """
    optimizer: AnyOptimizer = Field(default_factory=lambda: OPTIMIZERS.make("adamw"))
    """What a step does with the gradient; by default adamw, and so if there are settings without a kind."""
    clip: float | None = Field(default=1.0, gt=0)
    """Global gradient norm is clipped to this; null means never."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast; weights and optimizer stay in float32."""
    weights: Literal["float32", "float64"] = "float32"
    """Model and optimizer are kept and computed in it: float64 holds updates at rates that float32 rounds away."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout of the model; by default as its configuration says."""
    controls: tuple[AnyControl, ...] = ()
    """What sets the learning rate and other settings on the way, in place of the recipe's, and ends training."""
    interventions: tuple[AnyIntervention, ...] = ()
    """What changes the weights between steps."""
    lora: Lora | None = None
    """Train low-rank adapters instead of the weights."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if [self.steps, self.epochs, self.tokens].count(None) != 2:
            raise ValueError("say exactly one of steps, epochs, tokens")
        for name, most in LONGEST.items():
            if (asked := getattr(self, name)) is not None and asked > most:
                raise refusal(f"a training has at most {most:,} {name}, found {asked:,.15g}", name)
        if self.lr.lowest < 0:
            raise refusal(f"a learning rate is at least 0, found {self.lr.lowest:g}", "lr")
        if self.batch % self.accumulate:
            raise refusal(f"batch {self.batch} cannot be cut into {self.accumulate} equal micro-batches", "accumulate")
        for i, intervention in enumerate(self.interventions):
            if self.lora is not None:
                raise refusal(f"'{intervention.kind}' changes the weights, which lora freezes", "interventions", i)
            if intervention.kind in [earlier.kind for earlier in self.interventions[:i]]:
                raise refusal(f"a second '{intervention.kind}': give the first one all states", "interventions", i)
        if self.weights == "float64" and self.precision == "bf16":
            raise refusal("bf16 would compute in bfloat16 what float64 is to hold: leave out one of them", "weights")
        for i, control in enumerate(self.controls):
            if control.kind in [earlier.kind for earlier in self.controls[:i]]:
                message = f"a second control is a '{control.kind}': what is recorded of them would be mixed up"
                raise refusal(message, "controls", i)
        return self
