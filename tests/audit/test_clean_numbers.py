"""Trainings with nothing wrong whose weights or gradients are no plain 32 bits, or are held elsewhere."""

from typing import Any

import pytest
import torch

from ontogeny.integrations.audit import recorder
from ontogeny.integrations.audit.reading import norms_of
from ontogeny.integrations.audit.session import Audit
from tests.audit.judging import audited, silent
from tests.audit.loops import VOCABULARY, Loop, make_model, rows, shifted_loss

pytestmark = pytest.mark.slow


STEPPING = ("no_optimizer_step", "tensors_do_not_move", "steps_too_small", "gradients_not_cleared")


class Recurrent(torch.nn.Module):
    """A linear recurrence over complex numbers, or whose table of embeddings has sparse gradients."""

    def __init__(self, *, sparse: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(VOCABULARY, 16, sparse=sparse)
        self.decay = torch.nn.Parameter(torch.polar(torch.full((16,), 0.8), torch.rand(16)))
        self.head = torch.nn.Linear(16, VOCABULARY)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids).to(self.decay.dtype)
        state, states = torch.zeros_like(x[:, 0]), []
        for place in range(ids.shape[1]):
            state = self.decay * state + x[:, place]
            states.append(state.real)
        return self.head(torch.stack(states, 1))


def trained(model: Any, optimizers: list[Any]) -> Audit:
    with Audit(model, optimizers, quiet=True) as audit:
        for number in range(12):
            ids = rows(4, number, shortest=20)["input_ids"]
            shifted_loss(model(ids), ids).backward()
            for one in optimizers:
                one.step()
                one.zero_grad()
    return audit


def test_64_bits() -> None:
    silent(audited(Loop(model=make_model().double())), *STEPPING)


@pytest.mark.parametrize("double", [False, True])
def test_complex_numbers(*, double: bool) -> None:
    model = Recurrent()
    if double:
        model.double()
        model.decay = torch.nn.Parameter(model.decay.detach().to(torch.complex128))
    silent(trained(model, [torch.optim.AdamW(model.parameters(), lr=1e-3)]), *STEPPING)


def test_sparse_gradients() -> None:
    model = Recurrent(sparse=True)
    dense = torch.optim.AdamW([*model.head.parameters(), model.decay], lr=1e-3)
    silent(trained(model, [dense, torch.optim.SparseAdam([model.table.weight], lr=1e-3)]), *STEPPING)


def test_norms_of_all_kinds() -> None:
    """3, 4 -> 5 of each; a sparse one has 1 and 2 at the same place, which are 3, and a 4 elsewhere."""
    plain = torch.tensor([3.0, 4.0])
    sparse = torch.sparse_coo_tensor(torch.tensor([[0, 0, 2]]), torch.tensor([1.0, 2.0, 4.0]), (3,))
    given = [plain, plain.double(), plain.bfloat16(), sparse, torch.tensor([3 + 4j]), torch.tensor([3 + 4j]).conj()]
    assert [float(one) for one in norms_of(given)] == [5.0] * 6
    assert norms_of([plain.double()])[0].dtype == torch.float64
    assert not sparse.is_coalesced()


@pytest.mark.slow
def test_a_step_that_cannot_be_read_is_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError("planted")

    def trained(steps: bool) -> Any:
        return Loop(should_step=lambda _: steps, steps=70).run(lambda m, o: Audit(m, o, quiet=True)).report

    monkeypatch.setattr(recorder, "gradients", breaks)
    assert trained(True).findings == ()
    assert trained(True).mishaps == ("look_at: RuntimeError: planted",)
    monkeypatch.setattr(recorder, "Step", breaks)
    (lacking,) = (one for one in trained(True).verdicts if one.rule == "no_optimizer_step")
    assert "steps that the audit can read" in getattr(lacking, "lacks", "")
    assert [one.rule for one in trained(False).findings] == ["no_optimizer_step"]
