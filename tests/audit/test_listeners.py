"""What listens beside the recorder leaves a training as it was, to the last bit, and stops no other."""

from typing import Any

import pytest
import torch

from ontogeny.integrations.audit import distilling, rerunning
from ontogeny.integrations.audit.listeners import Listeners
from ontogeny.integrations.audit.listening import language_model, optimized
from ontogeny.integrations.audit.session import Audit
from tests.audit.distilling import Distilling, make_teacher, mean_kl
from tests.audit.loops import Loop, make_model


def state(model: Any) -> tuple[list[bytes], list[bool], list[bytes | None], bytes]:
    """Weights, modes, gradients, and the state of the random-number generator."""
    return (
        [p.detach().numpy().tobytes() for p in model.parameters()],
        [module.training for module in model.modules()],
        [None if p.grad is None else p.grad.numpy().tobytes() for p in model.parameters()],
        torch.get_rng_state().numpy().tobytes(),
    )


class Bare:
    """In the place of an audit: nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> "Bare":
        return self

    def __exit__(self, *_: object) -> None: ...

    def watch(self, **_: Any) -> "Bare":
        return self


def distilled(**settings: Any) -> Any:
    """State of student and teacher after a distillation."""
    one = Distilling(together=True)
    one.run(**settings)
    return state(one.student), state(one.teacher)


@pytest.mark.slow
def test_a_distillation_is_left_alone() -> None:
    assert distilled(kd_function=mean_kl) == distilled(watcher=Bare)


def test_what_runs_again_leaves_model_and_generators_as_they_were() -> None:
    model = make_model()
    states = []

    class Kept(Audit):
        def __exit__(self, *failure: object) -> None:
            states.append(state(model))
            super().__exit__(*failure)
            states.append(state(model))

    audit = Loop(model=model, own_loss=True).run(lambda one, optimizer: Kept(one, optimizer, quiet=True))
    assert {"row_depends_on_batch", "saved_model_differs"} <= {
        one.rule for one in audit.report.verdicts if one.verdict == "clear"
    }
    assert states[0] == states[1]


def test_of_two_models_in_one_the_trained_one_is_heard() -> None:
    teacher, student = make_teacher(), make_model()
    both = torch.nn.ModuleList([teacher, student])
    optimizer = torch.optim.AdamW(both.parameters(), lr=1e-3)
    assert language_model(both, optimized([optimizer])) is student
    assert language_model(both) is teacher


def test_hooks_on_a_teacher_are_gone_afterwards() -> None:
    teacher = make_teacher()
    Distilling(teacher=teacher).run()
    assert not [module for module in teacher.modules() if module._forward_hooks]


def test_nothing_is_run_again_after_an_error_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(rerunning, "nll_of", lambda *_: asked.append(1))
    with pytest.raises(ZeroDivisionError):
        Loop(steps=4, should_step=lambda n: bool(1 / (2 - n))).run(lambda m, o: Audit(m, o, quiet=True))
    assert asked == []


def test_what_only_skipped_checks_need_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(rerunning.Reloading, "reload", lambda *_: asked.append(1))
    for skip in ([], ["saved_model_differs"]):
        Loop(steps=2).run(lambda m, o, skip=skip: Audit(m, o, quiet=True, skip=skip))
    assert asked == [1]


def test_a_listener_that_breaks_is_noted_and_the_others_listen() -> None:
    noted: list[str] = []
    called: list[str] = []

    def breaks() -> None:
        raise RuntimeError("planted")

    listeners = Listeners(note=noted.append)
    listeners.tell([breaks, lambda: called.append("next")])
    assert noted == ["breaks: RuntimeError: planted"]
    assert called == ["next"]


@pytest.mark.slow
def test_a_distillation_goes_on_when_its_listener_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = distilled(watcher=Bare)

    def breaks(*_: Any) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(distilling, "logits_of", breaks)
    monkeypatch.setattr(distilling, "_references", breaks)
    assert distilled() == expected
    mishaps = Distilling().run().report.mishaps
    assert len(mishaps) == 2
    assert all("planted" in mishap for mishap in mishaps)
