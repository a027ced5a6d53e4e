"""What listeners beside the recorder wrote down: plain numbers and arrays."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Markers:
    """Token ids that mark begin and end of a text, and padding: the tokenizer's, or else the config's."""

    begin: int | None = None
    ends: frozenset[int] = frozenset()
    pad: int | None = None


@dataclass(frozen=True, kw_only=True)
class OutputDifference:
    """Two runs of the model over the same tokens, which should agree."""

    nats: float
    """Mean of |NLL in one - NLL in the other| over the tokens."""
    tokens: int
    tolerance: float
    """What rounding explains, from the precision of the weights, in nats."""

    @property
    def large(self) -> bool:
        """More than rounding explains."""
        return not self.nats <= self.tolerance


@dataclass(kw_only=True)
class Reruns:
    """The model run again, at the end of the audit, on a batch that it was trained on. None: not done."""

    lacks: str = "the end of an audit with a looked-at batch of token ids"
    """Why nothing was run again."""
    alone: OutputDifference | None = None
    """Each row alone and without padding, against the same row in its batch."""
    future: OutputDifference | None = None
    """Tokens that are learned, against the same with later ones replaced."""
    drops_out: str | None = None
    """A function of torch that has dropped something out in evaluation mode."""
    evaluated: OutputDifference | None = None
    """The same of a batch that `watch(evaluate=…)` gave the model."""
    padded: OutputDifference | None = None
    """The batch with further padding, against the batch as it was."""
    padded_lacks: str = ""
    """Why it was not padded further, where other things were run again."""
    packed: OutputDifference | None = None
    """Second documents of rows, with the first one replaced, against the same with the true one."""
    positions_begin_anew: bool = False
    """Do the packed rows' position ids begin anew at each document?"""
    reloaded: OutputDifference | None = None
    """The model saved and loaded, against the live one."""
    reload_error: str = ""
    """First line of the error with which what was saved does not load."""
    reload_lacks: str = "the end of an audit with a looked-at batch of token ids"


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What validation texts have in common with training texts."""

    texts: int
    """Validation texts that were looked at."""
    exact: int
    """Of them, those that stand in the training texts."""
    exact_share: float
    """Share of validation's words that stand in these; each text counts once."""
    exact_different: int
    """Of them, those that differ."""
    longest_exact: int
    """Words of the longest of them."""
    grams: int
    """Different runs of 13 words in validation."""
    rate: float
    """Share of these that stand in the training texts."""
    example: str


@dataclass(kw_only=True)
class Reread:
    """What functions and texts that the user named gave at the end of the audit."""

    shared: Shared | None = None

    next_batches: list[tuple[int, list[str], list[str]]] = field(default_factory=list)
    """Step, ids that training saw then, ids that a training resumed there would see."""
    own_rank: np.ndarray | None = None
    """float64 [n]: rank of its own text among all n, 1 is the nearest; ties count half."""


@dataclass(frozen=True, kw_only=True)
class TeacherPass:
    """One forward pass of the teacher at a looked-at step."""

    step: int
    dropout: bool
    """Was anything that differs between training and evaluation (dropout, batch norm) in train mode?"""
    input_ids: np.ndarray | None
    width: int
    """Of its logits."""


@dataclass(frozen=True, kw_only=True)
class LogitPair:
    """Student's and teacher's logits of one micro-batch, at positions evenly spread over it. n positions."""

    step: int
    length: int
    """Positions of a row of the batch."""
    student: np.ndarray
    """float32 [n, V]."""
    teacher: np.ndarray | None
    """float32 [n, V']: as the teacher gave them."""
    target: np.ndarray | None
    """float32 [n, V'']: as the user says that they are compared with the student's (`teacher_logits`).

    One that is a place shorter than the student's stands at the student's first places."""
    target_trainable: bool
    """Does a gradient flow into the target?"""
    ahead: bool = False
    """Is the target one place shorter than the student's logits, and made of the teacher's second place and on? Then
    the teacher's logits here are those."""
    ends_pulled: bool | None = None
    """Does a gradient arrive at the student's last place, in rows that reach it? None: none does, or it is unknown."""
    references: dict[str, float]
    """The mean over valid positions of divergences times temperature squared, by name; empty for unequal widths."""


@dataclass(kw_only=True)
class DistillationRecord:
    """What was seen of a teacher."""

    same_module: bool = False
    """Is the teacher the student itself (an adapter switched off, say)?"""
    passes: list[TeacherPass] = field(default_factory=list)
    gradients: int = 0
    """Backward passes that reached the teacher's logits."""
    moved: bool | None = None
    """Have its weights changed? None before the end."""
    is_average: bool = False
    """Is it watched as the average of the trained weights, too?"""
    pairs: list[LogitPair] = field(default_factory=list)
    at_equality: float | None = None
    """Norm of `kd_function`'s gradient where student and teacher agree, as a share of that where they do not."""


@dataclass(frozen=True, kw_only=True)
class Injection:
    """Injected vectors of one forward pass."""

    step: int
    vectors: int
    reached: int
    """Vectors that stand exactly at their position."""
    elsewhere: int
    """Vectors that stand at another position than theirs, in any row."""
    hidden: int
    """Positions of vectors that the attention mask hides."""


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A branch and the residual that it is added to, at one forward pass."""

    step: int
    name: str
    ratio: float
    """Root mean square of the branch's output / that of the residual."""


@dataclass(kw_only=True)
class Adapters:
    """What was seen of adapters and of frozen tensors."""

    unfrozen: set[str] = field(default_factory=set)
    """Tensors that had requires_grad at some time."""
    moved_frozen: set[str] = field(default_factory=set)
    """Of them, those that an optimizer has moved while they had not."""
    averages: set[str] = field(default_factory=set)
    """Tensors that never had it, and that follow a trained one, as a moving average does."""

    injections: list[Injection] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    runs: int = 0
    """Runs of the watched adapter at looked-at steps."""
    repeated: int = 0
    """Of them, runs on an input that it had met in the same step."""
    disagreeing: int = 0
    """Of them, with another output than before."""
