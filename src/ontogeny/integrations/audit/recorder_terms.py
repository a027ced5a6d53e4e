"""Loss terms as the loop names them: their values, and where their gradients point."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ontogeny.integrations.audit.recorder_leaves import LeafRecorder, written_by_hand
from ontogeny.integrations.audit.seen import NLL, LossTerms
from ontogeny.looking.guard import same_random_numbers

if TYPE_CHECKING:
    from torch import Tensor

GRADIENT_CHECKS = frozenset({"gradient_shares", "terms_in_conflict", "term_against_nll"})
"""Checks that terms are differentiated for."""
GRADIENT_LOOKS = 8
"""Looks with gradients at the beginning; afterwards only every `every`-th step has one."""
MOST_EVALUATIONS = 64
"""Looks at terms without gradients."""
MOST_NUMBERS = 2**22
"""Numbers of the tensors that gradients are computed for."""


class TermsRecorder:
    """Takes `terms`, `weights` and `total` out of what is watched, and keeps numbers of them, never the tensors."""

    def __init__(self, model: Any, kept: list[LossTerms], *, gradients: bool = True) -> None:
        self.model, self.kept, self.gradients = model, kept, gradients
        self.differentiating = False
        """Gradients that arrive now are the audit's own."""
        self._weights: dict[str, float] = {}
        self._training_weights: dict[str, float] = {}
        self._plain: tuple[Tensor, Tensor] | None = None
        self.leaves = LeafRecorder(model)

    def remember(self, logits: "Tensor | None", targets: "Tensor | None") -> None:
        """Keep logits [B, T, V] with their graph until the backward pass; targets int64 [B, T] hold -100 for none."""
        self._plain = None if logits is None or targets is None else (logits, targets)

    def release(self) -> None:
        """Let go of the graph."""
        self._plain = None

    def take(self, named: Mapping[str, Any], *, step: int, looking: bool, every: int) -> dict[str, Any]:
        """Keep what concerns terms; returns the rest."""
        import torch

        rest = dict(named)
        if (weights := rest.pop("weights", None)) is not None:
            self._weights = {name: float(weight) for name, weight in weights.items()}
        terms, total = rest.pop("terms", None), rest.pop("total", None)
        if terms is not None and torch.is_grad_enabled():
            self._training_weights = self._weights
        evaluations = sum(not one.learning for one in self.kept)
        if not looking or (evaluations >= MOST_EVALUATIONS and not torch.is_grad_enabled()):
            return rest
        if terms is not None:
            self.kept.append(self._seen(terms, step))
            looked = sum(bool(one.norms) for one in self.kept)
            if self.gradients and self.kept[-1].learning and (looked < GRADIENT_LOOKS or (step and step % every == 0)):
                self._differentiate(terms, self.kept[-1])
        if torch.is_grad_enabled() and (total is not None or terms is not None):
            weighted = [one for name, one in (terms or {}).items() if self._weights.get(name, 1.0)]
            self.leaves.see([*weighted, total])
        if total is not None and self.kept and self.kept[-1].total is None:
            self.kept[-1].total = float(total.detach() if hasattr(total, "detach") else total)
        return rest

    def _seen(self, terms: Mapping[str, Any], step: int) -> LossTerms:
        import torch

        learning = torch.is_grad_enabled()
        return LossTerms(
            step=step,
            learning=learning,
            values={name: float(term.detach() if hasattr(term, "detach") else term) for name, term in terms.items()},
            weights=dict(self._weights),
            training_weights={} if learning else dict(self._training_weights),
            detached=frozenset(name for name, term in terms.items() if not getattr(term, "requires_grad", False)),
        )

    def _differentiate(self, terms: Mapping[str, Any], into: LossTerms) -> None:
        attached = {name: term for name, term in terms.items() if name not in into.detached}
        if not attached:
            return
        into.by_hand = written_by_hand([*attached.values(), *(self._plain or ())])
        if into.by_hand:
            return
        parameters = some_of([p for p in self.model.parameters() if p.requires_grad])
        self.differentiating = True
        try:
            with same_random_numbers():
                if self._plain is not None:
                    attached[NLL] = _plain_nll(*self._plain)
                found = {name: _gradient(term, parameters) for name, term in attached.items()}
        except RuntimeError:  # a graph that cannot be walked twice, as under re-entrant checkpointing
            return
        finally:
            self.differentiating = False
        norms = {name: float(one.norm()) for name, one in found.items()}
        into.norms = norms
        names = list(found)
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                if norms[first] > 0 and norms[second] > 0 and math.isfinite(norms[first] * norms[second]):
                    into.cosines[first, second] = float(found[first] @ found[second]) / (norms[first] * norms[second])


def some_of(parameters: "Sequence[Tensor]") -> "list[Tensor]":
    """Tensors evenly spread over the model, of at most `MOST_NUMBERS` numbers in all."""
    small = [p for p in parameters if p.numel() <= MOST_NUMBERS]
    stride = 1
    while sum(p.numel() for p in small[::stride]) > MOST_NUMBERS:
        stride += 1
    return list(small[::stride])


def _gradient(term: "Tensor", parameters: "Sequence[Tensor]") -> "Tensor":
    """Of a term, as one float64 vector; 0 where it does not depend on a tensor. The graph stays."""
    import torch

    found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(p) if one is None else one).reshape(-1).double()
            for p, one in zip(parameters, found, strict=True)
        ]
    )


def plain_targets(given: Mapping[str, Any], logits: Any) -> "Tensor | None":
    """int64 [B, T]: labels where the model is given them, else its ids without padding; -100 for none.

    None where the ids are not those of the logits [B, T, V].
    """
    ids, mask, labels = (given.get(name) for name in ("input_ids", "attention_mask", "labels"))
    if ids is None or logits is None or ids.shape != logits.shape[:2] or given.get("decoder_input_ids") is not None:
        return None
    targets: Tensor = labels if labels is not None and labels.shape == ids.shape else ids
    return targets if mask is None or mask.shape != ids.shape else targets.masked_fill(mask == 0, -100)


def _plain_nll(logits: "Tensor", targets: "Tensor") -> "Tensor":
    from torch.nn import functional as F

    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets[:, 1:].flatten(), ignore_index=-100)
