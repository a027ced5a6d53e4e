"""A loop is the same to the last bit with the audit and without it, and survives whatever happens inside it."""

from typing import Any

import pytest
import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.integrations.audit import recorder
from ontogeny.integrations.audit.session import Audit
from tests.audit.loops import Loop, make_model


def weights(loop: Loop) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in loop.model.parameters()]


def run(watch: bool, **settings: Any) -> tuple[list[bytes], bytes]:
    loop = Loop(**settings)
    loop.run((lambda model, optimizer: Audit(model, optimizer, quiet=True)) if watch else None)
    return weights(loop), torch.get_rng_state().numpy().tobytes()


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
