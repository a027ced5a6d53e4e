"""Trainings with nothing wrong whose optimizers step in a way of their own, or not equally often."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ontogeny.integrations.audit.session import Audit
from tests.audit.judging import audited, findings, silent
from tests.audit.loops import VOCABULARY, Loop, make_model, rows

pytestmark = pytest.mark.slow


class Sam(torch.optim.Optimizer):
    """As commonly written: two half steps, and `step` is never called."""

    def __init__(self, weights: Any, *, base: str = "base_optimizer") -> None:
        super().__init__(weights, {"lr": 0.1})
        self.inner = torch.optim.SGD(self.param_groups)
        self.param_groups = self.inner.param_groups
        setattr(self, base, self.inner)

    @torch.no_grad()
    def first_step(self) -> None:
        weights = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in weights])
        for p in weights:
            self.state[p]["old"] = p.clone()
            p.add_(p.grad, alpha=0.05 / float(norm))
        self.zero_grad()

    @torch.no_grad()
    def second_step(self) -> None:
        for p, state in self.state.items():
            p.copy_(state["old"])
        self.inner.step()
        self.zero_grad()


@pytest.mark.parametrize("base", ["base_optimizer", "nobody_knows_it"])
def test_sharpness_aware(base: str) -> None:
    model = make_model()
    optimizer = Sam(model.parameters(), base=base)
    model.train()
    with Audit(model, optimizer, quiet=True).watch(accumulation=1) as audit:
        for number in range(36):
            for step in (optimizer.first_step, optimizer.second_step):
                model(**rows(4, number)).loss.backward()
                step()
    heard = base == "base_optimizer"
    silent(audit, *(("no_optimizer_step", "tensors_do_not_move", "backwards_per_step") if heard else ()))
    assert len(audit._recorder.seen.steps) == (36 if heard else 0)


def test_an_optimizer_that_runs_the_batch_again() -> None:
    model = make_model(dropout=0.0)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    with Audit(model, optimizer, quiet=True).watch(accumulation=1) as audit:
        for number in range(8):

            def closure(number: int = number) -> torch.Tensor:
                optimizer.zero_grad()
                loss = model(**rows(4, number)).loss
                loss.backward()
                return loss

            optimizer.step(closure)
    silent(audit, "no_optimizer_step", "backwards_per_step")
    assert audit._recorder.seen.backwards > 8


def test_copies_in_32_bits_of_weights_in_16() -> None:
    model = make_model().to(torch.bfloat16)
    copies = [p.detach().float().requires_grad_() for p in model.parameters()]
    optimizer = torch.optim.AdamW(copies, lr=1e-4)
    model.train()
    with Audit(model, optimizer, quiet=True) as audit:
        for number in range(14):
            model(**rows(4, number)).loss.backward()
            for p, one in zip(model.parameters(), copies, strict=True):
                one.grad = None if p.grad is None else p.grad.float()
            optimizer.step()
            model.zero_grad()
            with torch.no_grad():
                for p, one in zip(model.parameters(), copies, strict=True):
                    p.copy_(one)
    silent(audit, "no_optimizer_step")


@pytest.mark.slow
@pytest.mark.parametrize("steps", [10, 40])
def test_the_rest_of_an_epoch(steps: int) -> None:
    """Epochs of 5 micro-batches, of which 4 and then 1 go into a step: every second window is shorter."""

    def stepping(epoch: int, *at: int) -> Loop:
        return Loop(
            steps=steps, accumulation=4, should_step=lambda n: n % epoch in at, data=lambda n: rows(4, n, shortest=20)
        )

    silent(audited(stepping(5, 3, 4), accumulation=4), "backwards_per_step")
    assert "backwards_per_step" in findings(stepping(5, 1, 4), accumulation=4)  # 2 and 3: never 4
    carried_on = findings(stepping(9, 3, 8), accumulation=4)  # 4 and 5
    assert carried_on["backwards_per_step"].numbers["backwards_per_step"] == 5.0


class Keyed(torch.nn.Module):
    """Attention whose keys have a bias: it adds the same to all scores of a row, which softmax does not feel."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(VOCABULARY, 16)
        self.query, self.key, self.value = (torch.nn.Linear(16, 16) for _ in range(3))
        self.head = torch.nn.Linear(16, VOCABULARY)
        self.unused = torch.nn.Parameter(torch.ones(3))
        self.uses: Callable[[torch.Tensor], Any] = lambda x: x + 0.1 * self.unused.sum()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        parts = (one(x)[:, None] for one in (self.query, self.key, self.value))
        x = x + F.scaled_dot_product_attention(*parts, is_causal=True)[:, 0]
        return self.head(self.uses(x))


def test_a_tensor_whose_gradient_is_rounding() -> None:
    def trained(model: Any, *, rests: bool = False) -> Audit:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        with Audit(model, optimizer, quiet=True) as audit:
            for number in range(16):
                model.key.requires_grad_(not (rests and 4 <= number < 8))
                ids = rows(4, number, shortest=20)["input_ids"]
                F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
                optimizer.step()
                optimizer.zero_grad()
        return audit

    audit = trained(Keyed())
    silent(audit, "tensors_do_not_move")
    assert all(set(step.negligible) <= {"key.bias"} for step in audit._recorder.seen.steps)
    silent(trained(Keyed(), rests=True), "tensors_do_not_move")
    without = Keyed()
    without.uses = lambda x: x
    (found,) = trained(without).report.findings
    assert found.rule == "tensors_do_not_move"
    assert found.statement.endswith("unused")
