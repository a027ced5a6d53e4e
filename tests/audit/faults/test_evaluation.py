"""Faults of evaluation, each beside the same evaluation without it."""

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.contracts import Finding
from ontogeny.integrations.audit.checks.evaluation import bare
from ontogeny.integrations.audit.recorder_averages import AverageRecorder
from ontogeny.integrations.audit.recorder_evaluation import numbers_of
from ontogeny.integrations.audit.seen import Follows
from ontogeny.integrations.audit.session import Audit
from tests.audit.composite import Composite
from tests.audit.evaluating import Evaluation
from tests.audit.judging import audited
from tests.audit.loops import Loop, make_model

CHECKS = {
    "evaluation_leaves_alone", "evaluation_in_training_mode", "trained_in_evaluation_mode", "evaluation_counts_once",
    "evaluation_token_weighted", "perplexity_of_nll", "evaluation_objective",
}  # fmt: skip


def of(model: Any = None, *, loop: Mapping[str, Any] | None = None, watched: Mapping[str, Any] | None = None,
       **settings: Any) -> dict[str, Finding]:  # fmt: skip
    """What is found about an evaluation with these settings."""
    model = model or make_model()
    evaluation = Evaluation(model=model, **settings)
    report = audited(Loop(model=model, **(loop or {})), evaluate=evaluation, **(watched or {})).report
    return {one.rule: one for one in report.findings}


def test_the_clean_evaluation_is_clear() -> None:
    model = make_model()
    texts = [str(number) for number in range(20)]  # 5 batches of 4
    report = audited(Loop(model=model), evaluate=Evaluation(model=model), validation_texts=texts).report
    assert report.findings == ()
    assert {one.rule for one in report.verdicts if one.verdict == "clear"} >= CHECKS


def weights(model: Any) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in model.parameters()]


def test_an_evaluation_that_moves_weights_is_caught_and_undone() -> None:
    model, plain = make_model(), make_model()

    def moves() -> None:
        with torch.no_grad():
            model.get_output_embeddings().weight.add_(1)

    found = of(model, before=moves)
    assert found["evaluation_leaves_alone"].numbers["changed"] == 1
    random = torch.get_rng_state()
    Loop(model=plain).run()
    assert weights(model) == weights(plain)
    assert torch.equal(random, torch.get_rng_state())


def test_gradients_that_are_left_behind() -> None:
    model = make_model()
    found = of(model, gradients=True)
    assert found["evaluation_leaves_alone"].numbers["gradients"] == len(list(model.parameters()))


def test_a_seed_that_is_set_and_one_that_is_put_back() -> None:
    assert of(seed=42)["evaluation_leaves_alone"].numbers["reseeded"] == 1

    def forks() -> None:
        with torch.random.fork_rng():
            torch.manual_seed(42)

    assert of(before=forks) == {}
    assert of(before=lambda: torch.rand(3)) == {}  # a data loader draws, too


def test_dropout_while_the_model_is_judged() -> None:
    found = of(mode=True)
    assert found["evaluation_in_training_mode"].numbers["in_training_mode"] == 5
    assert "evaluation_in_training_mode" not in of(make_model(dropout=0.0), mode=True)


def test_passes_without_gradients_inside_the_loop() -> None:
    def judged(*, mode: bool) -> set[str]:
        model = make_model()

        def validates(audit: Audit, step: int) -> None:
            if step in (4, 8) and not busy:
                busy.append(step)
                Evaluation(model=model, mode=mode)()
                busy.clear()

        busy: list[int] = []
        return {one.rule for one in audited(Loop(model=model), validates).report.findings}

    assert judged(mode=True) == {"evaluation_in_training_mode"}
    assert judged(mode=False) == set()


def test_training_that_never_comes_back_from_evaluation_mode() -> None:
    model = make_model()

    def evaluates(_: Audit, step: int) -> None:
        if step == 5:
            model.eval()

    report = audited(Loop(model=model), evaluates).report
    found = {one.rule: one for one in report.findings}
    # The mode changes before pass 5: 5 passes in training mode, 7 of 12 not.
    assert found["trained_in_evaluation_mode"].numbers["in_evaluation_mode"] == 7
    assert "trained_in_evaluation_mode" not in of()


def test_examples_that_are_counted_twice_and_never() -> None:
    found = of(again=2)
    assert found["evaluation_counts_once"].numbers["repeated"] == 8
    dropped = of(watched={"validation_texts": ["a"] * 23})
    assert "last 3 of 23" in dropped["evaluation_counts_once"].statement


def test_a_mean_of_means() -> None:
    def spread(model: Any) -> Any:
        """Make texts of different lengths differ in NLL: the 30th place and later ones are harder."""
        with torch.no_grad():
            model.get_output_embeddings().weight.mul_(30)
        return model

    assert "evaluation_token_weighted" not in of(spread(make_model()))
    found = of(spread(make_model()), by_batch=True)["evaluation_token_weighted"].numbers
    assert float(found["returned"]) == pytest.approx(float(found["mean_of_batches"]), rel=1e-5)
    assert float(found["returned"]) != pytest.approx(float(found["mean_over_tokens"]), rel=0.01)


def clamped(numbers: dict[str, float]) -> dict[str, float]:
    loss = numbers["eval_loss"] + 47.6
    return {"eval_loss": loss, "perplexity": math.exp(min(loss, 20))}


def test_a_perplexity_that_is_cut_off() -> None:
    found = of(after=clamped)
    assert "485165195.41" in found["perplexity_of_nll"].statement


def test_the_perplexity_of_a_composite() -> None:
    def composite(numbers: dict[str, float]) -> dict[str, float]:
        loss = numbers["eval_loss"] + 2
        return {"loss": loss, "lm_loss": numbers["eval_loss"], "ppl": math.exp(loss)}

    found = of(after=composite)["perplexity_of_nll"]
    assert "exp of the whole loss" in found.statement
    right = of(after=lambda numbers: {"loss": numbers["eval_loss"], "ppl": numbers["perplexity"]})
    assert right == {}


def test_a_mean_of_perplexities() -> None:
    found = of(after=lambda numbers: numbers | {"perplexity": numbers["perplexity"] * 1.1})
    assert set(found) == {"perplexity_of_nll"}


@pytest.mark.parametrize("caught", [True, False])
def test_other_weights_in_evaluation(*, caught: bool) -> None:
    training = {"lm": 0.3, "kd": 0.7, "feature": 0.0}
    full = {"lm": 0.3, "kd": 0.7, "feature": 0.1} if caught else training
    terms = dict(zip(training, [*Composite().terms.values()] * 2, strict=False))
    composite = Composite(terms=terms, weights=training)
    model = make_model()

    def evaluate() -> dict[str, float]:
        composite.weights = full
        evaluation = Evaluation(model=model)
        with torch.no_grad():
            losses = [float(composite(model(**batch).logits, batch["labels"])) for batch in evaluation.data()]
        return {"loss": float(np.mean(losses))}

    report = audited(Loop(model=model, loss=composite), composite.hear, evaluate=evaluate).report
    found = {one.rule: one for one in report.findings}
    assert ("evaluation_objective" in found) == caught
    if caught:
        assert "'feature' 0.1 (training: 0)" in found["evaluation_objective"].statement


@pytest.mark.parametrize("caught", [True, False])
def test_returned_terms_that_do_not_add_up_as_in_training(*, caught: bool) -> None:
    # Training: 1 x lm + 0.05 x z. The evaluation returns lm = 4 and z = 16: 4.8; with full weight on z it is 20.
    returned = {"val/loss": 20.0 if caught else 4.8, "val/lm": 4.0, "val/z": 16.0}
    composite = Composite()
    report = audited(Loop(loss=composite), composite.hear, evaluate=lambda: returned).report
    found = {one.rule: one for one in report.findings}
    assert ("evaluation_objective" in found) == caught


def test_a_plain_training_and_an_evaluation_of_something_else() -> None:
    found = of(after=lambda numbers: {"eval_loss": numbers["eval_loss"] + 1})
    assert set(found) == {"evaluation_objective"}


def averaged(decay: float, *, used: bool = True) -> dict[str, Finding]:
    model = make_model()
    ema = copy.deepcopy(model)

    def follows(_: Audit, step: int) -> None:
        if step:
            for average, p in zip(ema.parameters(), model.parameters(), strict=True):
                average.data.mul_(decay).add_(p.data, alpha=1 - decay)

    evaluation = Evaluation(model=ema if used else model)
    report = audited(Loop(model=model), follows, evaluate=evaluation, ema=ema).report
    assert "average_lags" not in {one.rule for one in report.verdicts if one.verdict == "not assessable"}
    return {one.rule: one for one in report.findings}


def test_an_average_that_lags() -> None:
    found = averaged(0.9999)
    assert set(found) == {"average_lags"}
    numbers = found["average_lags"].numbers
    assert float(numbers["horizon_steps"]) == pytest.approx(10_000, rel=0.05)
    assert float(numbers["share_of_start"]) == pytest.approx(0.9999**12, abs=1e-3)
    assert averaged(0.5) == {}  # 0.5^12 of the start is left
    assert averaged(0.9999, used=False) == {}


def test_weights_that_are_swapped_in_for_the_evaluation() -> None:
    model = make_model()
    shadow = {name: p.detach().clone() for name, p in model.named_parameters()}

    def evaluate() -> Mapping[str, float]:
        own = {name: p.detach().clone() for name, p in model.named_parameters()}
        model.load_state_dict(shadow, strict=False)
        numbers = Evaluation(model=model)()
        model.load_state_dict(own, strict=False)
        return numbers

    report = audited(Loop(model=model), evaluate=evaluate, ema=shadow).report
    found = {one.rule: one for one in report.findings}
    assert set(found) == {"average_lags"}
    assert found["average_lags"].numbers["share_of_start"] == 1.0


def test_the_decay_by_hand() -> None:
    kept: list[Follows] = []
    recorder = AverageRecorder(kept)
    model = torch.nn.Linear(2, 1, bias=False)
    ema = [torch.zeros(1, 2)]
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[4.0, 8.0]]))
        recorder.see(model, ema, 0)
        ema[0] = 0.75 * ema[0] + 0.25 * model.weight
        model.weight.mul_(3)
        recorder.see(model, ema, 1)
    assert kept == [Follows(step=1, decay=0.75)]


def test_an_evaluation_that_fails_is_noted_and_breaks_nothing() -> None:
    model = make_model()

    def breaks() -> float:
        raise ValueError("no file")

    with Audit(model, torch.optim.SGD(model.parameters(), lr=0.1), quiet=True).watch(evaluate=breaks) as audit:
        pass
    assert any("no file" in mishap for mishap in audit.report.mishaps)
    assert not model._forward_hooks


def test_names_of_numbers() -> None:
    assert [bare(name) for name in ("eval_loss", "val/NLL", "validation-ppl", "loss", "value")] == [
        "loss", "nll", "ppl", "loss", "value",
    ]  # fmt: skip
    assert numbers_of({"a": torch.tensor(2.0), "b": "x", "c": None, "d": True}) == {"a": 2.0}
    assert numbers_of(3) == {"loss": 3.0}
