"""A loop is the same to the last bit with the audit and without it, and survives whatever happens inside it."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.integrations.audit import recorder
from ontogeny.integrations.audit.recorder_terms import GRADIENT_CHECKS
from ontogeny.integrations.audit.session import Audit
from tests.audit.composite import Composite, z_loss
from tests.audit.judging import audited, silent
from tests.audit.loops import Loop, make_model, rows, shifted_loss


def weights(loop: Loop) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in loop.model.parameters()]


def run(watch: bool, **settings: Any) -> tuple[list[bytes], bytes]:
    loop = Loop(**settings)
    loop.run((lambda model, optimizer: Audit(model, optimizer, quiet=True)) if watch else None)
    return weights(loop), torch.get_rng_state().numpy().tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"own_loss": True}, {"accumulation": 3, "clip": 0.5}])
def test_bit_identical_with_and_without(settings: dict[str, Any]) -> None:
    assert run(True, **settings) == run(False, **settings)


def test_the_run_goes_on_when_the_audit_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError("planted")

    expected = run(False)
    for name in ("targets_of", "next_token_nll", "fingerprints"):
        monkeypatch.setattr(recorder, name, breaks)
    loop = Loop()
    audits: list[Audit] = []

    def watcher(model: Any, optimizer: Any) -> Audit:
        audits.append(Audit(model, optimizer, quiet=True))
        return audits[0]

    loop.run(watcher)
    assert weights(loop) == expected[0]
    assert any("planted" in mishap for mishap in audits[0].report.mishaps)
    assert audits[0].report.findings == ()


def test_an_error_of_the_loop_passes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        Loop(should_step=lambda _: bool(1 / 0)).run(lambda model, optimizer: Audit(model, optimizer, quiet=True))


def test_hooks_are_gone_afterwards() -> None:
    model = make_model()
    Loop(model=model).run(lambda one, optimizer: Audit(one, optimizer, quiet=True))
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_wrong_names_are_one_line() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(OntogenyError, match="teecher"):
        Audit(model, optimizer).watch(teecher=model)
    with pytest.raises(OntogenyError, match="no check is called 'lable_shift'"):
        Audit(model, optimizer, skip=["lable_shift"])


def test_a_model_whose_own_code_fails_when_it_is_asked() -> None:
    class Shy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(4, 4)

        def get_output_embeddings(self) -> Any:
            raise RuntimeError("not built yet")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    model = Shy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Audit(model, optimizer, quiet=True) as audit:
        for _ in range(3):
            model(torch.ones(2, 4)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert audit.report.findings == ()
    assert audit.report.mishaps == ()


def test_the_comparison_would_notice_a_drawn_number() -> None:
    """Negative control: dropout is on, and one random number more changes the weights."""
    loop, careless = Loop(), Loop(model=make_model())
    loop.run()
    careless.model.register_forward_pre_hook(lambda *_: torch.rand(1) and None)
    careless.run()
    assert weights(loop) != weights(careless)


def test_what_is_kept_in_detail_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that never steps is at its first step for ever: 4 x 20 tokens a batch, 200 at most, so 3 batches."""
    monkeypatch.setattr(recorder, "MOST_TOKENS", 200)
    audit = Loop(steps=12, should_step=lambda _: False).run(lambda m, o: Audit(m, o, quiet=True))
    assert len(audit._recorder.seen.forwards) == 3
    assert audit._recorder.seen.backwards == 12
    assert "no_optimizer_step" in {one.rule for one in audit.report.findings}


def test_what_cannot_be_audited_is_one_line() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(OntogenyError, match=r"is a dict, no torch.nn.Module: .*ModuleDict"):
        Audit({"G": model}, optimizer)
    with pytest.raises(OntogenyError, match="the optimizer is None, which cannot step"):
        Audit(model, None)


@pytest.mark.slow
def test_a_model_that_is_copied_and_written_as_a_whole_in_the_loop() -> None:
    """The copy may run in training mode: it is not heard, and nothing of the audit is in it."""
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    file = io.BytesIO()
    with Audit(model, optimizer, quiet=True) as audit:
        for number in range(12):
            if number % 5 == 0:
                teacher = copy.deepcopy(model).requires_grad_(False)
            batch = rows(4, number)
            loss = model(**batch).loss
            with torch.no_grad():
                teacher(rows(4, number + 500)["input_ids"])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        torch.save(model, file)
        passes = audit._recorder.seen.generation.passes
        hooked = len(model._forward_hooks)
    silent(audit)
    assert (passes, hooked) == (0, 1)
    assert b"ontogeny" not in file.getvalue()
    file.seek(0)
    for other in (teacher, torch.load(file, weights_only=False), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other.eval()(**rows(4, 0)).logits, other(**rows(4, 0)).logits)
        assert audit._recorder.seen.forwards_in_training == 12


class Fused(torch.autograd.Function):
    """As fused cross entropies are: the gradient is made in the forward pass, and scaled in place in the backward."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor, hidden: bool) -> torch.Tensor:
        with torch.enable_grad():
            given = logits.detach().requires_grad_()
            loss = shifted_loss(given, labels)
            (gradient,) = torch.autograd.grad(loss, given)
        ctx.save_for_backward(gradient)
        ctx.hidden = hidden
        return loss.detach()

    @staticmethod
    def backward(ctx: Any, given: torch.Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        (gradient.data if ctx.hidden else gradient).mul_(given)
        return gradient, None, None


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [False, True], ids=["fails", "doubles"])
def test_a_loss_whose_backward_pass_can_be_run_once(*, hidden: bool) -> None:
    def trained(heard: bool) -> list[bytes]:
        fused = {"lm": lambda logits, labels: 0.5 * Fused.apply(logits, labels, hidden), "z": z_loss}
        composite = Composite(terms=fused)
        loop = Loop(loss=composite)
        if not heard:
            loop.run()
            return weights(loop)
        report = audited(loop, composite.hear).report
        lacking = {one.rule: getattr(one, "lacks", "") for one in report.verdicts}
        assert all("computed by Fused, a torch.autograd.Function" in lacking[rule] for rule in GRADIENT_CHECKS)
        assert report.findings == ()
        return weights(loop)

    assert trained(True) == trained(False)
