"""A small training loop, written as people write them, with one switch for each way of getting it wrong."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional as F

VOCABULARY = 60
PAD = 0
END = 1


def make_model(*, seed: int = 0, dropout: float = 0.1, layers: int = 2) -> Any:
    """GPT-NeoX, d16."""
    from transformers import AutoModelForCausalLM, GPTNeoXConfig

    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        hidden_dropout=dropout,
        attention_dropout=dropout,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config)


def rows(batch: int, seed: int, *, length: int = 20, shortest: int = 12) -> dict[str, torch.Tensor]:
    """Right-padded rows of random tokens that end with the end-of-text token; labels as the model wants them."""
    random = torch.Generator().manual_seed(seed)
    lengths = torch.randint(shortest, length + 1, (batch,), generator=random)
    ids = torch.randint(2, VOCABULARY, (batch, length), generator=random)
    place = torch.arange(length)[None]
    ids = torch.where(place == lengths[:, None] - 1, END, ids)
    mask = (place < lengths[:, None]).long()
    ids = torch.where(mask.bool(), ids, PAD)
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.where(mask.bool(), ids, -100)}


def shifted_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """What is right: position t against token t + 1, mean over supervised tokens."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)


@dataclass(kw_only=True)
class Loop:
    """A training of some steps. Every field is a part that a fault replaces; as it stands, it is right."""

    model: Any = field(default_factory=make_model)
    steps: int = 12
    batch: int = 4
    accumulation: int = 1
    data: Callable[[int], dict[str, torch.Tensor]] | None = None
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = shifted_loss
    own_loss: bool = False
    """Let the model compute it."""
    optimizer: Callable[[Any], Any] = lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3)
    should_step: Callable[[int], bool] | None = None
    divide: bool = True
    clip: float | None = None

    def run(self, watcher: Callable[[Any, Any], AbstractContextManager[Any]] | None = None) -> Any:
        """Train; returns what the watcher gave."""
        torch.manual_seed(7)
        model, optimizer = self.model, self.optimizer(self.model)
        model.train()
        with watcher(model, optimizer) if watcher else nullcontext() as watched:
            for number, batch in enumerate(self._batches()):
                output = (
                    model(**batch)
                    if self.own_loss
                    else model(batch["input_ids"], attention_mask=batch["attention_mask"])
                )
                loss = output.loss if self.own_loss else self.loss(output.logits, batch["labels"])
                (loss / self.accumulation if self.divide else loss).backward()
                due = self.should_step or (lambda n: (n + 1) % self.accumulation == 0)
                if due(number):
                    if self.clip is not None:
                        torch.nn.utils.clip_grad_norm_(model.parameters(), self.clip)
                    optimizer.step()
                    optimizer.zero_grad()
        return watched

    def _batches(self) -> Iterator[dict[str, torch.Tensor]]:
        for number in range(self.steps * self.accumulation):
            yield self.data(number) if self.data else rows(self.batch, number)
