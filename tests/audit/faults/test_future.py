"""Models that see what they are to predict, each beside the same one that does not."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ontogeny.integrations.audit.session import Audit
from tests.audit.judging import silent, unbroken
from tests.audit.loops import VOCABULARY, rows


class Attends(nn.Module):
    """Attention over all places, or those before, or (a prefix model) all of the first `prefix` and those before."""

    def __init__(self, *, causal: bool, prefix: int = 0) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(VOCABULARY, 16), nn.Embedding(64, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out, self.causal, self.prefix = nn.Linear(16, VOCABULARY), causal, prefix

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        length = ids.shape[1]
        hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
        hidden[: self.prefix, : self.prefix] = False
        embedded = self.embed(ids) + self.place(torch.arange(length))
        out: torch.Tensor = self.out(self.body(embedded, hidden if self.causal else None))
        return out


def trained(model: nn.Module, *, prompt: int = 0, masked: bool = False) -> Any:
    """Next tokens behind a prompt are learned, of rows that are padded on the right; or some that are masked out."""
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with Audit(model, optimizer, quiet=True) as audit:
        for number in range(12):
            batch = rows(4, number, length=24, shortest=24 if masked else 20)
            ids, labels = batch["input_ids"], batch["labels"]
            if masked:
                hidden = (torch.rand(ids.shape) < 0.3) & (labels != -100)
                logits, goal = model(torch.where(hidden, 2, ids)), torch.where(hidden, labels, -100)
            else:
                goal = labels[:, 1:].clone()
                goal[:, : max(prompt - 1, 0)] = -100
                logits = model(ids)[:, :-1]
            F.cross_entropy(logits.flatten(0, 1), goal.flatten(), ignore_index=-100).backward()
            optimizer.step()
            optimizer.zero_grad()
    unbroken(audit)
    return audit


def test_no_causal_mask() -> None:
    found = {one.rule: one for one in trained(Attends(causal=False)).report.findings}
    assert set(found) == {"sees_the_future"}
    silent(trained(Attends(causal=True)), "sees_the_future", "row_depends_on_batch")


@pytest.mark.parametrize(("prefix", "sees"), [(8, False), (20, True)])
def test_a_prompt_that_is_seen_as_a_whole(prefix: int, *, sees: bool) -> None:
    """Of eight tokens; a model that sees twenty sees what it is to predict."""
    audit = trained(Attends(causal=True, prefix=prefix), prompt=8)
    assert {one.rule for one in audit.report.findings} == ({"sees_the_future"} if sees else set())


def test_masked_tokens_are_not_next_ones() -> None:
    """Rows of one length without a mask: that padding would be seen says nothing of a loop that never pads."""
    audit = trained(Attends(causal=False), masked=True)
    lacks = {one.rule: getattr(one, "lacks", "") for one in audit.report.verdicts}
    assert audit.report.findings == ()
    assert "next tokens" in lacks["sees_the_future"]
    assert lacks["row_depends_on_padding"] == "a batch that is padded on the right, or has an attention mask"
