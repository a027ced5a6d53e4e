"""Learn from those of a teacher's layers, or experts, that a gate chooses."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator

from ontogeny.core.errors import OntogenyError
from ontogeny.core.names import Name
from ontogeny.core.schedule import Schedule, Scheduled
from ontogeny.core.terms import Forward, Term, TermContext, TermNeed, Unit

if TYPE_CHECKING:
    from torch import Tensor, nn

NEARNESS = 0.1
"""Cosines to the teacher's layers are divided by this before they become shares."""


class RoutingParts(NamedTuple):
    """Sums over supervised tokens, not yet weighted."""

    feature: "Tensor"
    balance: "Tensor"
    alignment: "Tensor"


class Routing(Term):
    """Distance of the student's state to a mixture of the teacher's layers, or experts, that a gate makes for it.

    The gate g = softmax(W s + b) reads the student's last state s at each position. Of the E layers (outputs of the
    blocks), or experts (their outputs in the teacher's last mixture of experts, chosen by its router or not), the
    `top_k` most probable are mixed by g, and the mixture m is compared. A sum over supervised tokens, at the position
    that predicts each, of the weighted parts

    - feature: the mean over the teacher's width of (projected s - m)^2;
    - balance: KL of the gate, averaged over a passage, from the even choice; 0 where all E are used alike, ln E where
      always the same one. (Load balance as in Fedus et al. 2022, "Switch transformers", but smooth, at least 0, and by
      passage, so that accumulation changes nothing.)
    - alignment: KL(r || g). Over experts r is what the teacher's own router does; over layers
      r = softmax(cos(projected s, layer) / 0.1): the gate shall choose what the state is like.

    No part is below 0; each is told as `<term>_feature`, `_balance`, `_alignment`, unweighted. Gate and projection are
    trained with the model and saved in checkpoints. Needs a teacher with the student's tokenizer.
    """

    teacher: Name = "teacher"
    """The companion that teaches."""
    over: Literal["layers", "experts"] = "layers"
    """What the gate chooses among; experts need a mixture of experts."""
    top_k: Scheduled = Schedule(shape="ramp", value=4.0, final=0.25)
    """How many are mixed, over training, rounded, at most all; by default it grows from 1 to 4."""
    feature: float = Field(default=1.0, ge=0)
    """Weight of the distance."""
    balance: float = Field(default=0.1, ge=0)
    """Weight of the load balance. Layers, unlike experts in training, do not get better by being chosen, so the gate
    may settle on one even so: see what `<term>_balance` tells."""
    alignment: float = Field(default=0.1, ge=0)
    """Weight of the gate's alignment."""

    needs: ClassVar[frozenset[TermNeed]] = frozenset({"hidden_states"})
    companion_needs: ClassVar[frozenset[TermNeed]] = frozenset({"hidden_states"})

    @field_validator("top_k")
    @classmethod
    def _at_least_one(cls, top_k: Schedule) -> Schedule:
        if top_k.least < 1:
            raise ValueError("top_k stays at 1 or more all through training: write value and final so, and no warmup")
        return top_k

    @property
    def companions(self) -> tuple[str, ...]:
        """The teacher."""
        return (self.teacher,)

    @property
    def details(self) -> tuple[str, ...]:
        """The parts."""
        return RoutingParts._fields

    @property
    def scale_changes(self) -> bool:
        """Where the number of those that are mixed changes."""
        return not self.top_k.is_constant

    def build(self, context: TermContext) -> "nn.Module":
        """Gate and projection. Raises OntogenyError for a teacher with other tokens, or without experts."""
        from torch import nn

        from ontogeny.objectives.layers import require_same_tokens
        from ontogeny.objectives.projection import projection

        require_same_tokens(context, self.teacher, self.label, "states")
        teacher = context.companions[self.teacher]
        if self.over == "experts" and not teacher.experts:
            raise OntogenyError(
                f"'{self.label}' chooses among experts, and the companion '{self.teacher}' has none: choose a mixture "
                "of experts, or write over: layers"
            )
        choices = teacher.blocks if self.over == "layers" else teacher.experts
        gate = nn.Linear(context.model.width, choices)
        return nn.ModuleDict({"gate": gate, "projection": projection(context.model.width, teacher.width)})

    def value(self, forward: Forward) -> "tuple[Tensor, Unit]":
        """Weighted sum of the parts, over supervised tokens."""
        parts = self._parts(forward)
        weighted = self.feature * parts.feature + self.balance * parts.balance + self.alignment * parts.alignment
        return weighted, "tokens"

    def tell(self, value: "Tensor", forward: Forward) -> "Mapping[str, Tensor]":
        """The parts, unweighted sums over supervised tokens."""
        return self._parts(forward)._asdict()

    def _parts(self, forward: Forward) -> RoutingParts:
        from ontogeny.objectives.divergence import kl
        from ontogeny.objectives.layers import predicting
        from ontogeny.objectives.tiled_divergence import log_of_mass

        gate, projection = self._modules(forward)
        positions = predicting(forward.supervised)
        state = forward.hidden_states[-1].flatten(0, 1)[positions]
        projected = projection(state)
        log_gate = gate(state).log_softmax(-1)
        choices, preferred = self._choices(forward, positions, projected)
        shares = self._top_shares(log_gate.exp(), forward)
        mixture = (shares[..., None] * choices).sum(1)
        feature = (projected - mixture).square().mean(-1).sum()
        rows = positions // forward.supervised.shape[1]
        alignment = kl(log_of_mass(preferred), log_gate).sum()
        return RoutingParts(feature, self._imbalance(log_gate.exp(), rows, len(forward.supervised)), alignment)

    @staticmethod
    def _modules(forward: Forward) -> "tuple[nn.Module, nn.Module]":
        """Gate and projection."""
        assert forward.module is not None
        modules = dict(forward.module.named_children())
        return modules["gate"], modules["projection"]

    def _choices(self, forward: Forward, positions: "Tensor", projected: "Tensor") -> "tuple[Tensor, Tensor]":
        """What the gate chooses among [n, E, D], and r [n, E]."""
        import torch
        from torch.nn import functional as F

        teacher = forward.companions[self.teacher]
        if self.over == "experts":
            outputs = teacher.experts.outputs.flatten(0, 1)[positions].to(projected.dtype)
            return outputs, teacher.experts.weights.flatten(0, 1)[positions].to(projected.dtype)
        layers = torch.stack([states.flatten(0, 1)[positions] for states in teacher.hidden_states[1:]], dim=1)
        layers = layers.to(projected.dtype)
        cosines = F.cosine_similarity(projected[:, None], layers, dim=-1)
        return layers, (cosines / NEARNESS).softmax(-1)

    def _top_shares(self, gate: "Tensor", forward: Forward) -> "Tensor":
        """The gate [n, E] with the `top_k` largest of each row alone, adding up to 1."""
        import torch

        progress = forward.progress
        k = min(int(self.top_k.at(progress.step, progress.total_steps) + 0.5), gate.shape[1])
        kept, places = gate.topk(k, dim=-1)
        return torch.zeros_like(gate).scatter(1, places, kept / kept.sum(-1, keepdim=True))

    @staticmethod
    def _imbalance(gate: "Tensor", rows: "Tensor", passages: int) -> "Tensor":
        """Sum over tokens of KL(mean gate of the token's passage || even), from [n, E] and each token's passage [n]."""
        import torch

        counts = torch.bincount(rows, minlength=passages)[:, None]
        means = gate.new_zeros((passages, gate.shape[1])).index_add(0, rows, gate) / counts.clamp(min=1)
        return (counts * torch.xlogy(means, means * gate.shape[1])).sum()
