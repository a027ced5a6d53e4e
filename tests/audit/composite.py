"""A loss of several terms that tells the audit of them, as a loop with such a loss does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ontogeny.integrations.audit.session import Audit
from tests.audit.loops import shifted_loss

Term = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def z_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean squared log of the partition function (PaLM's auxiliary loss)."""
    return logits.logsumexp(-1).square()[labels != -100].mean()


@dataclass(kw_only=True)
class Composite:
    """weight x term, added up. `added` are other weights than the ones that are watched, for a fault."""

    terms: Mapping[str, Term] = field(default_factory=lambda: {"lm": shifted_loss, "z": z_loss})
    weights: Mapping[str, float] = field(default_factory=lambda: {"lm": 1.0, "z": 0.05})
    added: Mapping[str, float] | None = None
    audit: Audit | None = None

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        values = {name: term(logits, labels) for name, term in self.terms.items()}
        used = self.added or self.weights
        total = torch.stack([used[name] * value for name, value in values.items()]).sum()
        if self.audit is not None:
            self.audit.watch(terms=values, weights=self.weights, total=total)
        return total

    def hear(self, audit: Audit, _: Any) -> None:
        """Give it the audit, once there is one."""
        self.audit = audit
