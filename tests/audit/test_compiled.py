"""Loops over models that torch.compile has wrapped."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ontogeny.integrations.audit.session import Audit
from tests.audit.loops import VOCABULARY, rows, shifted_loss


@pytest.fixture(autouse=True)
def _compiled_anew() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Small(torch.nn.Module):
    """Embedding, a nonlinear layer and a head: quick to trace."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embedding = torch.nn.Embedding(VOCABULARY, 16)
            self.layer = torch.nn.Linear(16, 16)
            self.head = torch.nn.Linear(16, VOCABULARY)

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(torch.tanh(self.layer(self.embedding(input_ids))))
        return logits


def train(watched: str | None, loss: Any = shifted_loss, steps: int = 10, **watch: Any) -> tuple[list[float], Any]:
    """Losses, and the audit of the model inside, of what was compiled, or of none."""
    model = Small()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    audit = None
    if watched:
        audit = Audit(model if watched == "inside" else compiled, optimizer, quiet=True).watch(**watch)
        audit.start()
    losses = []
    for step in range(steps):
        batch = rows(4, step, shortest=20)
        value = loss(compiled(batch["input_ids"]), batch["labels"])
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(value.detach()))
    if audit is not None:
        audit.stop()
    return losses, audit


def copies(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Labels that are not shifted."""
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)


@pytest.mark.slow
def test_a_compiled_model_is_judged_and_trained_as_without() -> None:
    """In one graph (a hook inside it would break it), by position, and to the same losses."""
    expected, _ = train(None)
    losses, audit = train("compiled")
    assert losses == expected
    assert audit.report.mishaps == ()
    assert audit.report.findings == ()
    found = {one.rule for one in train("compiled", copies)[1].report.findings}
    assert "label_shift" in found


@pytest.mark.slow
def test_a_compiled_model_is_evaluated() -> None:
    compiled: list[Any] = []

    def evaluate() -> dict[str, float]:
        model = compiled[0].eval()
        batch = rows(4, 99, shortest=20)
        with torch.no_grad():
            return {"loss": float(shifted_loss(model(batch["input_ids"]), batch["labels"]))}

    model = torch.compile(Small(), backend="eager", fullgraph=True)
    compiled.append(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with Audit(model, optimizer, quiet=True).watch(evaluate=evaluate) as audit:
        for step in range(4):
            batch = rows(4, step, shortest=20)
            shifted_loss(model(batch["input_ids"]), batch["labels"]).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert audit.report.mishaps == ()
    assert "evaluation_leaves_alone" in {one.rule for one in audit.report.verdicts if one.verdict == "clear"}


def test_the_model_inside_is_not_heard_and_that_is_said() -> None:
    expected, _ = train(None)
    losses, audit = train("inside")
    assert losses == expected
    (mishap,) = audit.report.mishaps
    assert "torch.compile" in mishap
    assert audit.report.findings == ()
