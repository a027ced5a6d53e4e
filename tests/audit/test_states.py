"""Models that keep a state, draw numbers or are given more than ids: not run again, and as they were after it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ontogeny.integrations.audit.session import Audit
from tests.audit.families import Plain
from tests.audit.judging import silent, unbroken
from tests.audit.loops import VOCABULARY, rows, shifted_loss


class Base(nn.Module):
    """Of no known architecture; `between` is what a forward pass does beside its work, in evaluation mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.body = nn.Embedding(VOCABULARY, 16), nn.GRU(16, 16, batch_first=True)
        self.out = nn.Linear(16, VOCABULARY)

    def between(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden

    def forward(self, idx: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.out(self.between(self.body(self.embed(idx))[0]))
        return out


class Remembers(Base):
    state: torch.Tensor | None = None

    def forward(self, idx: torch.Tensor) -> torch.Tensor:
        if self.state is None or self.state.shape[1] != len(idx):
            self.state = torch.zeros(1, len(idx), 16)
        hidden, state = self.body(self.embed(idx), self.state)
        self.state = state.detach()
        out: torch.Tensor = self.out(hidden)
        return out


class Observes(Base):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("largest", torch.ones(()))

    def between(self, hidden: torch.Tensor) -> torch.Tensor:
        self.largest.lerp_(3 * hidden.detach().abs().max(), 0.1)
        return hidden / self.largest


class Samples(Base):
    def between(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + torch.randn_like(hidden)


class Drops(Base):
    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.always = always

    def between(self, hidden: torch.Tensor) -> torch.Tensor:
        return F.dropout(hidden, 0.1, training=self.always or self.training)


def trained(make: Callable[[], nn.Module], *, watched: bool) -> tuple[list[bytes], Audit | None]:
    """Ten steps with the audit or without it, and five more after it."""
    torch.manual_seed(0)
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    audit = Audit(model, optimizer, quiet=True) if watched else None
    if audit is not None:
        audit.start()
    for number in range(15):
        if number == 10 and audit is not None:
            audit.stop()
        batch = rows(4, number, shortest=20)
        shifted_loss(model(batch["input_ids"]), batch["labels"]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return [one.detach().numpy().tobytes() for one in (*model.parameters(), *model.buffers())], audit


@pytest.mark.slow
@pytest.mark.parametrize("make", [Remembers, Observes, Samples])
def test_a_forward_pass_that_is_not_the_same_twice(make: Callable[[], nn.Module]) -> None:
    weights, audit = trained(make, watched=True)
    assert weights == trained(make, watched=False)[0]
    assert audit is not None
    silent(audit)
    lacks = {one.rule: getattr(one, "lacks", "") for one in audit.report.verdicts}
    for rule in ("row_depends_on_batch", "row_depends_on_padding", "saved_model_differs"):
        assert "twice" in lacks[rule]


def test_the_same_model_without_a_state_is_assessed() -> None:
    audit = trained(Base, watched=True)[1]
    assert audit is not None
    silent(audit, "row_depends_on_batch", "saved_model_differs")


@pytest.mark.slow
def test_a_call_of_dropout_that_does_not_know_of_evaluation() -> None:
    audit = trained(lambda: Drops(always=True), watched=True)[1]
    assert audit is not None
    unbroken(audit)
    assert [one.rule for one in audit.report.findings] == ["evaluation_in_training_mode"]
    assert "calls dropout" in audit.report.findings[0].statement
    clean = trained(lambda: Drops(always=False), watched=True)[1]
    assert clean is not None
    silent(clean, "row_depends_on_batch")


def test_a_state_that_is_passed_in_and_out() -> None:
    class Passed(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.body: Any = nn.LSTM(16, 16, batch_first=True)

        def forward(self, idx: torch.Tensor, state: Any = None) -> Any:
            hidden, state = self.body(self.embed(idx), state)
            return self.out(hidden), state

    torch.manual_seed(0)
    model, state = Passed(), (torch.zeros(1, 8, 16), torch.zeros(1, 8, 16))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with Audit(model, optimizer, quiet=True) as audit:
        for number in range(12):
            batch = rows(8, number, shortest=20)
            logits, state = model(batch["input_ids"], state)
            state = (state[0].detach(), state[1].detach())
            shifted_loss(logits, batch["labels"]).backward()
            optimizer.step()
            optimizer.zero_grad()
    silent(audit)
    assert "it is given state" in audit._recorder.seen.reruns.lacks


def test_gradients_for_each_example_by_transforms_of_torch() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.out = nn.Embedding(VOCABULARY, 16), nn.Linear(16, VOCABULARY)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.out(torch.tanh(self.embed(ids)))
            return out

    model = Own()

    def loss(parameters: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
        logits = torch.func.functional_call(model, parameters, (ids[None],))
        return F.cross_entropy(logits[0, :-1], ids[1:])

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with Audit(model, optimizer, quiet=True) as audit:
        for number in range(12):
            detached = {name: p.detach() for name, p in model.named_parameters()}
            each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))
            gradients = each(detached, rows(4, number, shortest=20)["input_ids"])
            for name, p in model.named_parameters():
                p.grad = gradients[name].mean(0)
            optimizer.step()
            optimizer.zero_grad()
    silent(audit)
