"""Faults of stepping, each beside the same loop without it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ontogeny.diagnosis.rule import Detection
from ontogeny.integrations.audit.checks.optimizer import clipping
from ontogeny.integrations.audit.listening import optimizer_name
from ontogeny.integrations.audit.recording import Recording, Step
from ontogeny.integrations.audit.session import Audit
from tests.audit.judging import audited, clears, findings, silent
from tests.audit.loops import Loop, make_model, rows


def test_the_clean_loop_raises_nothing() -> None:
    assert findings(Loop()) == {}
    assert findings(Loop(accumulation=2), accumulation=2) == {}


class Stepper:
    """The post-mortem's: asking counts, and it is asked twice per batch, so that an even accumulation never steps."""

    def __init__(self, accumulation: int) -> None:
        self.accumulation, self.count = accumulation, 0

    def should_step(self) -> bool:
        self.count += 1
        return self.count % self.accumulation == 0

    def asked_twice(self, _: int) -> bool:
        # accumulation 2: the first question of a batch makes the count odd, the second even and is thrown away.
        first = self.should_step()
        self.should_step()
        return first


@pytest.mark.slow
def test_a_question_that_counts_never_steps() -> None:
    found = findings(Loop(accumulation=2, should_step=Stepper(2).asked_twice), accumulation=2)
    assert set(found) == {"no_optimizer_step"}
    assert found["no_optimizer_step"].numbers["backward_passes"] == 24  # 12 steps of 2 micro-batches
    once = Stepper(2)
    silent(audited(Loop(accumulation=2, should_step=lambda _: once.should_step()), accumulation=2), "no_optimizer_step")


@pytest.mark.slow
def test_a_module_outside_the_optimizer_gets_gradients_in_vain() -> None:
    def optimizer(model: Any, *, head_trained: bool) -> Any:
        head = set(model.get_output_embeddings().parameters())
        return torch.optim.AdamW([p for p in model.parameters() if head_trained or p not in head], lr=1e-3)

    found = findings(Loop(optimizer=lambda model: optimizer(model, head_trained=False)))
    assert set(found) == {"gradients_outside_the_optimizer", "tensors_do_not_move"}
    assert "lm_head.weight" in found["gradients_outside_the_optimizer"].statement
    silent(audited(Loop(optimizer=lambda model: optimizer(model, head_trained=True))), *found)


@pytest.mark.slow
def test_an_optimizer_of_another_model_moves_nothing() -> None:
    model, other = make_model(), make_model(seed=1)
    found = findings(Loop(model=model, optimizer=lambda _: torch.optim.AdamW(other.parameters(), lr=1e-3)))
    assert found["tensors_do_not_move"].severity == "error"
    silent(audited(Loop(model=model, optimizer=lambda _: torch.optim.AdamW(model.parameters(), lr=1e-3))), *found)


def test_a_frozen_part_is_not_a_finding() -> None:
    model = make_model()
    model.get_input_embeddings().weight.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    silent(audited(Loop(model=model, optimizer=lambda _: torch.optim.AdamW(trained, lr=1e-3))), "tensors_do_not_move")


@pytest.mark.slow
def test_other_accumulation_than_said() -> None:
    found = findings(Loop(accumulation=2), accumulation=4)
    assert found["backwards_per_step"].numbers["backwards_per_step"] == 2.0
    silent(audited(Loop(accumulation=4), accumulation=4), "backwards_per_step")
    silent(audited(Loop(accumulation=2), accumulation=2), "backwards_per_step")


@pytest.mark.slow
def test_clipping_always_never_and_sometimes() -> None:
    # With a bound far below any norm every step is clipped to it; far above, none is.
    # Every tenth step is looked at, the first 20 are left out: 20, 30, …, 110 are ten of 115.
    long: dict[str, Any] = {"steps": 115}
    assert "every step" in findings(Loop(clip=1e-3, **long), max_grad_norm=1e-3)["clipping"].statement
    assert "no gradient comes near" in findings(Loop(clip=1e6, **long), max_grad_norm=1e6)["clipping"].statement
    silent(audited(Loop(clip=1.0, **long), max_grad_norm=1.0), "clipping")
    silent(audited(Loop(clip=1e-3), max_grad_norm=1e-3))  # 12 steps are too few to say


@pytest.mark.slow
def test_steps_that_are_too_small() -> None:
    adam = findings(Loop(optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=1e-12)))
    assert adam["steps_too_small"].severity == "error"
    # 12 steps of 1e-12, of weights whose norm is that of 0.02 each or more: 12e-12 / 0.02 = 6e-10 at most.
    assert 0 < float(adam["steps_too_small"].numbers["relative_change"]) < 6e-10
    sgd = lambda model: torch.optim.SGD(model.parameters(), lr=1e-2)  # noqa: E731
    assert "steps_too_small" in findings(Loop(clip=1e-9, optimizer=sgd))
    assert findings(Loop(optimizer=sgd)) == {}
    slow = Loop(optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=1e-6))
    assert findings(slow) == {}


def test_steps_that_16_bits_round_away() -> None:
    """Weights of 1 are 2^-7 apart from the next greater one in bfloat16, and 2^-8 from the next smaller one."""

    def narrow(learning_rate: float) -> Loop:
        model = make_model().to(torch.bfloat16)
        return Loop(model=model, optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=learning_rate))

    found = findings(narrow(1e-3))
    assert set(found) == {"tensors_do_not_move"}
    assert "layernorm" in found["tensors_do_not_move"].statement
    assert "smaller than their 16 bits can hold" in found["tensors_do_not_move"].statement
    assert "float32" in found["tensors_do_not_move"].remedy
    assert findings(narrow(1e-2)) == {}


def test_a_group_with_a_learning_rate_of_zero() -> None:
    def two_groups(rate: float) -> Loop:
        def optimizer(model: Any) -> Any:
            weights = list(model.parameters())
            groups: list[dict[str, Any]] = [{"params": weights[:4]}, {"params": weights[4:], "lr": rate}]
            return torch.optim.AdamW(groups, lr=1e-3)

        return Loop(optimizer=optimizer)

    assert "a learning rate of 0" in findings(two_groups(0.0))["tensors_do_not_move"].statement
    assert findings(two_groups(1e-3)) == {}


class Keeps(torch.optim.AdamW):
    """Whoever is asked to clear the gradients forgets it."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        pass


class Zeroes(torch.optim.AdamW):
    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none=False)


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.slow
def test_gradients_that_are_not_cleared(accumulation: int) -> None:
    def loop(kind: Any) -> Loop:
        return Loop(
            accumulation=accumulation,
            data=lambda n: rows(4, n, shortest=20),
            optimizer=lambda model: kind(model.parameters(), lr=1e-3),
        )

    found = findings(loop(Keeps))
    assert set(found) == {"gradients_not_cleared"}
    assert found["gradients_not_cleared"].numbers == {"not_cleared": 11, "steps": 11}
    assert findings(loop(Zeroes)) == {}
    assert findings(loop(torch.optim.AdamW)) == {}
    assert "gradients_not_cleared" in clears(loop(torch.optim.AdamW))


def test_gradients_that_are_cleared_just_before_backward() -> None:
    """Between the forward pass and the backward pass; and where a second optimizer has its own turn."""
    model = make_model()
    halves = list(model.gpt_neox.parameters()), list(model.lm_head.parameters())
    optimizers = [torch.optim.AdamW(half, lr=1e-3) for half in halves]
    with Audit(model, optimizers, quiet=True) as audit:
        for number in range(24):
            loss = model(**rows(4, number)).loss
            one = optimizers[number % 2]
            one.zero_grad()
            loss.backward()
            one.step()
    assert audit.report.mishaps == ()
    assert {one.rule for one in audit.report.findings} == set()


@pytest.mark.slow
def test_no_step_while_accumulation_is_not_known() -> None:
    def never(batches: int) -> Any:
        return findings(Loop(steps=batches, should_step=lambda n: False))["no_optimizer_step"]

    assert never(12).severity == "warning"
    assert "accumulation=" in never(12).remedy
    assert never(64).severity == "error"
    assert findings(Loop(steps=12, should_step=lambda n: False), accumulation=16) == {}
    assert findings(Loop(accumulation=12, steps=2, data=lambda n: rows(4, n, shortest=20)), accumulation=12) == {}


@pytest.mark.slow
def test_a_bound_far_above_all_gradients_of_the_first_steps() -> None:
    found = findings(Loop(clip=1e6, steps=20), max_grad_norm=1e6)
    assert "no gradient comes near" in found["clipping"].statement
    assert findings(Loop(clip=1.0, steps=20), max_grad_norm=1.0) == {}


class Evaluating(torch.nn.Module):
    """Never in training mode, as `from_pretrained` returns a model and a loop leaves it."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner.eval()

    def train(self, mode: bool = True) -> Any:
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


@pytest.mark.slow
def test_a_model_that_is_never_set_to_train() -> None:
    found = findings(Loop(model=Evaluating(make_model())))
    assert set(found) == {"trained_in_evaluation_mode"}
    assert found["trained_in_evaluation_mode"].severity == "note"
    assert findings(Loop(model=Evaluating(make_model(dropout=0.0)))) == {}
    assert findings(Loop()) == {}


def by_hand(backward: Callable[[torch.Tensor, Any], Any], *, kind: Any = torch.optim.AdamW) -> Any:
    """What is found in a loop that calls `backward` with its loss and its optimizer, and steps once per batch."""
    model = make_model()
    optimizer = kind(model.parameters(), lr=1e-2)
    model.train()
    with Audit(model, optimizer, quiet=True).watch(accumulation=1) as audit:
        for number in range(24):
            backward(model(**rows(4, number)).loss, optimizer)
            optimizer.step()
            optimizer.zero_grad()
    assert audit.report.mishaps == ()
    return {one.rule: one for one in audit.report.findings}


@pytest.mark.slow
def test_a_loss_that_goes_backward_twice() -> None:
    def twice(loss: torch.Tensor, optimizer: Any) -> None:
        loss.backward(retain_graph=True)
        loss.backward()

    def looked_at_first(loss: torch.Tensor, optimizer: Any) -> None:
        torch.autograd.grad(loss, optimizer.param_groups[0]["params"], retain_graph=True)
        loss.backward()

    def once_for_a_look(loss: torch.Tensor, optimizer: Any) -> None:
        loss.backward(retain_graph=True)
        optimizer.zero_grad()
        loss.backward()

    def halves(loss: torch.Tensor, optimizer: Any) -> None:
        (0.25 * loss).backward(retain_graph=True)
        (0.75 * loss).backward()

    found = by_hand(twice)
    assert set(found) == {"backwards_per_step"}
    assert found["backwards_per_step"].numbers == {"backwards_per_step": 2.0, "accumulation": 1}
    for right in (looked_at_first, once_for_a_look, halves, lambda loss, _: loss.backward()):
        assert by_hand(right) == {}


@pytest.mark.slow
@pytest.mark.parametrize("to_none", [False, True])
def test_gradients_that_are_cleared_before_the_step(*, to_none: bool) -> None:
    def cleared(loss: torch.Tensor, optimizer: Any) -> None:
        loss.backward()
        optimizer.zero_grad(set_to_none=to_none)

    found = by_hand(cleared, kind=torch.optim.SGD)
    assert "something clears them after backward" in found["tensors_do_not_move"].statement
    assert "between the two" in found["tensors_do_not_move"].remedy
    assert by_hand(lambda loss, _: loss.backward(), kind=torch.optim.SGD) == {}


@pytest.mark.parametrize(
    ("optimizer", "key", "certainty", "words"),
    [
        ("SGD", "", "certain", "(the bound, max_grad_norm, is 0.5, the largest norm 0.5 in 20 steps)"),
        ("SGD", "train.clip", "certain", "clipping sets how far each batch moves the weights"),
        ("AdamW", "gradient_clip_val", "likely", "under adamw, whose steps hardly depend on the size of gradients"),
        ("Own", "", "possible", "under Adam and its kin it hardly does"),
    ],
)
def test_what_clipping_always_means_depends_on_the_optimizer(
    optimizer: str, key: str, certainty: str, words: str
) -> None:
    """Forty gradients of the bound's own norm, of which the first 20 do not count. The bound has the user's name."""
    steps = [Step(number=i, backwards=1, learning_rates=(1e-3,), grad_norm=0.5) for i in range(40)]
    watched = {"max_grad_norm": [(0, 0.5)], **({"clip_key": [(0, key)]} if key else {})}
    found = clipping.judge(Recording(steps=steps, optimizer=optimizer, watched=watched))
    assert isinstance(found, Detection)
    assert found.certainty == certainty
    assert words in found.statement
    assert f"raise {key or 'max_grad_norm'} to about the median norm" in found.remedy


def test_the_audit_knows_the_optimizer_inside_wrappers() -> None:
    """Which it names is that of the class which steps."""
    wrapped = type("Wrapped", (), {"optimizer": torch.optim.SGD(make_model().parameters(), lr=0.1)})()
    assert [optimizer_name(one) for one in (wrapped, wrapped.optimizer)] == ["SGD", "SGD"]
    assert audited(Loop())._recorder.seen.optimizer == "AdamW"
