"""A small evaluation, written as people write them, with one switch for each way of getting it wrong."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from tests.audit.loops import rows


@dataclass(kw_only=True)
class Evaluation:
    """NLL over some rows of unequal length. Every field is a part that a fault replaces; as it stands, it is right."""

    model: Any
    batches: int = 5
    batch: int = 4
    mode: bool = False
    gradients: bool = False
    by_batch: bool = False
    """Mean of the batches' means."""
    again: int = 0
    """Batches that are evaluated a second time."""
    seed: int | None = None
    before: Callable[[], Any] | None = None
    """What else the evaluation does."""
    after: Callable[[dict[str, float]], Mapping[str, float]] | None = None
    """What it makes of its numbers."""

    def data(self) -> Iterator[dict[str, torch.Tensor]]:
        """The longer the later, so that batches do not weigh alike."""
        for number in (*range(self.batches), *range(self.again)):
            # Rows of 10 to 60 tokens.
            yield rows(self.batch, 1000 + number, length=10 * (number + 1) + 10, shortest=10 * (number + 1))

    def __call__(self) -> Mapping[str, float]:
        if self.seed is not None:
            torch.manual_seed(self.seed)
        if self.before is not None:
            self.before()
        was = self.model.training
        self.model.train(self.mode)
        sums, counts = [], []
        with torch.set_grad_enabled(self.gradients):
            for batch in self.data():
                logits = self.model(**batch).logits
                loss = F.cross_entropy(
                    logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=-100, reduction="sum"
                )
                if self.gradients:
                    loss.backward()
                sums.append(float(loss.detach()))
                counts.append(int((batch["labels"][:, 1:] != -100).sum()))
        self.model.train(was)
        means = [total / count for total, count in zip(sums, counts, strict=True)]
        nll = sum(means) / len(means) if self.by_batch else sum(sums) / sum(counts)
        numbers = {"eval_loss": nll, "perplexity": math.exp(nll)}
        return self.after(numbers) if self.after is not None else numbers
