"""Learn from a teacher with another tokenizer: how likely it finds the same pieces of text."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from ontogeny.core.component import refusal
from ontogeny.core.names import Name
from ontogeny.core.terms import Forward, Term, TermNeed, Unit
from ontogeny.objectives.divergence import Direction, Divergence

if TYPE_CHECKING:
    from torch import Tensor

    from ontogeny.objectives.chunks import Chunks, Edges

SAMPLED = 8
"""In training, `bias` is measured at every so many-th end of a chunk."""
CERTAIN = -1e-6
"""The log probability of a chunk is not above this, so that 1 - p has a logarithm."""


class KdChunks(Term):
    """Divergence between the probabilities that teacher and student give to the same chunks of text.

    Both read the text in their own tokens. A chunk is text between two places where both have covered the same bytes.
    With p and q its probabilities, each the product over its tokens, the term is the sum over chunks of
    temperature x D([p^(1/temperature), rest] || [q^(1/temperature), rest]): approximate likelihood matching (Minixhofer
    et al. 2025, "Universal cross-tokenizer distillation via approximate likelihood matching", arXiv 2503.20083), here
    times the temperature, so that its size stays. In nats per byte of supervised text, so tokenizers compare; 0 where
    the student is the teacher.

    A product of token probabilities leaves out that the text may go on inside a longer token. So a chunk ends only
    where the teacher gives white space a probability above `boundary`, and p and q are those of the chunk *and* white
    space behind it, across which no token reaches (the paper's outcome chunk debiasing). Told besides, `<term>_bias`:
    the teacher's tokenization bias at the ends of chunks without that remedy, log p(the last token's bytes) -
    log p(the last token), in nats per byte; in training, measured at every 8th end.
    """

    teacher: Name = "teacher"
    """The companion that teaches; it may have a tokenizer of its own."""
    divergence: Direction = "forward"
    """forward: KL(p || q). reverse: KL(q || p). jensen_shannon: generalised, with `beta`."""
    beta: float | None = Field(default=None, gt=0, lt=1)
    """jensen_shannon only: the teacher's share of the mixture that both are compared with; by default 0.5."""
    temperature: float = Field(default=100.0, gt=0)
    """Probabilities are raised to 1 / temperature, so that long chunks still differ."""
    boundary: float | None = Field(default=0.1, gt=0, lt=1)
    """A chunk ends where the teacher's probability of white space is above this; null: wherever tokens of both end,
    without white space in the probabilities."""

    needs: ClassVar[frozenset[TermNeed]] = frozenset({"nll", "logits"})
    companion_needs: ClassVar[frozenset[TermNeed]] = frozenset()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.beta is not None and self.divergence != "jensen_shannon":
            raise refusal(f"'beta' means nothing to the {self.divergence} divergence, only to jensen_shannon", "beta")
        return self

    @property
    def needed(self) -> frozenset[TermNeed]:
        """The NLL; logits for white space behind a chunk."""
        return frozenset({"nll"}) if self.boundary is None else self.needs

    @property
    def companions(self) -> tuple[str, ...]:
        """The teacher."""
        return (self.teacher,)

    @property
    def details(self) -> tuple[str, ...]:
        """The teacher's tokenization bias."""
        return ("bias",)

    def value(self, forward: Forward) -> "tuple[Tensor, Unit]":
        """Sum over chunks; the unit is a byte of supervised text.

        Raises OntogenyError where no token is known to begin with white space, DataError without passages.
        """
        import torch

        edges, chunks = self._chunks(forward)
        ours, theirs = self._log_likelihoods(forward, edges, chunks)
        divergence = Divergence(direction=self.divergence, beta=0.5 if self.beta is None else self.beta)
        both = [torch.stack([log_p, log_rest(log_p)], dim=1) for log_p in self._tempered(theirs.to(ours.dtype), ours)]
        return self.temperature * divergence.values(both[0], both[1]).sum(), "bytes"

    def tell(self, value: "Tensor", forward: Forward) -> "Mapping[str, Tensor]":
        """`bias`, a sum over ends of chunks."""
        from ontogeny.objectives.chunks import extensions_of, flat_positions, tokenization_bias

        edges, chunks = self._chunks(forward)
        teacher = forward.companions[self.teacher]
        step = SAMPLED if forward.model.training else 1
        last_tokens = flat_positions(edges.row, edges.theirs - 1, teacher.input_ids)[chunks.end]
        bias = tokenization_bias(teacher, last_tokens[::step] - 1, extensions_of(teacher.token_bytes[1]))
        return {"bias": bias.sum() * (len(last_tokens) / max(len(bias), 1))}

    def _chunks(self, forward: Forward) -> "tuple[Edges, Chunks]":
        """The common edges, and the chunks between those that end one."""
        import numpy as np

        from ontogeny.objectives.chunks import (
            at_positions,
            chunks_between,
            edges_of,
            flat_positions,
            log_mass,
            white_space_ids,
        )

        teacher = forward.companions[self.teacher]
        edges = edges_of(forward.passages, teacher.passages)
        ends = np.ones(len(edges.row), dtype=bool)
        if self.boundary is not None:
            ids = white_space_ids(teacher.token_bytes[1], self.label, f"the companion '{self.teacher}'")
            candidates = edges.supervised.nonzero()[0]
            positions = flat_positions(edges.row, edges.theirs - 1, teacher.input_ids)[candidates]
            mass = at_positions(teacher, positions, lambda logits, _: log_mass(logits, ids)).exp()
            ends[candidates] = (mass > self.boundary).cpu().numpy()
        return edges, chunks_between(edges, ends)

    def _log_likelihoods(self, forward: Forward, edges: "Edges", chunks: "Chunks") -> "tuple[Tensor, Tensor]":
        """log q and log p of each chunk, and of white space behind it where `boundary` asks for it."""
        from ontogeny.objectives.chunks import (
            at_positions,
            flat_positions,
            log_mass,
            nll_of,
            sums_between,
            white_space_ids,
            wide,
        )

        teacher = forward.companions[self.teacher]
        rows = edges.row[chunks.end]
        ours = -sums_between(forward.nll, rows, edges.ours[chunks.begin], edges.ours[chunks.end])
        theirs = -sums_between(nll_of(teacher), rows, edges.theirs[chunks.begin], edges.theirs[chunks.end])
        if self.boundary is None:
            return ours, theirs
        our_ids = white_space_ids(teacher.token_bytes[0], self.label, "the student")
        their_ids = white_space_ids(teacher.token_bytes[1], self.label, f"the companion '{self.teacher}'")
        ends = flat_positions(edges.row, edges.ours - 1, forward.input_ids)[chunks.end]
        ours = ours + log_mass(wide(forward.logits.flatten(0, 1)[ends]), our_ids)
        ends = flat_positions(edges.row, edges.theirs - 1, teacher.input_ids)[chunks.end]
        return ours, theirs + at_positions(teacher, ends, lambda logits, _: log_mass(logits, their_ids))

    def _tempered(self, *log_likelihoods: "Tensor") -> "tuple[Tensor, ...]":
        return tuple((likelihood / self.temperature).clamp(max=CERTAIN) for likelihood in log_likelihoods)


def log_rest(log_p: "Tensor") -> "Tensor":
    """log(1 - p) from log p below 0, without losing digits at either end (Maechler 2012)."""
    near_0 = log_p.clamp(max=-0.6931).exp().neg().log1p()
    near_1 = log_p.clamp(min=-0.6932).expm1().neg().log()
    return near_0.where(log_p < -0.6931, near_1)
