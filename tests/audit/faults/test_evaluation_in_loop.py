"""Passes without gradients inside the loop: those that judge the model, and those that belong to a training step."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ontogeny.integrations.audit.session import Audit
from tests.audit.evaluating import Evaluation
from tests.audit.loops import make_model, rows, shifted_loss

pytestmark = pytest.mark.slow


def preferring(*, lora: bool, judge_in_training_mode: bool) -> dict[str, Any]:
    """A training towards a reference: adapters off, or the model's own first guess at the same rows.

    Every fourth step, the model is judged on other rows.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = make_model(dropout=0.0 if lora else 0.1)
    if lora:
        model = get_peft_model(model, LoraConfig(r=4, lora_dropout=0.1, target_modules=["query_key_value"]))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    model.train()
    with Audit(model, optimizer, quiet=True) as audit:
        for number in range(12):
            batch = rows(4, number)
            given = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
            with torch.no_grad():
                if lora:
                    with model.disable_adapter():
                        guess = model(**given).logits
                else:
                    guess = model(**given).logits
            logits = model(**given).logits
            (shifted_loss(logits, batch["labels"]) + 0.1 * F.mse_loss(logits, guess)).backward()
            optimizer.step()
            optimizer.zero_grad()
            if number % 4 == 3:
                Evaluation(model=model, mode=judge_in_training_mode)()
    assert audit.report.mishaps == ()
    return {one.rule: one for one in audit.report.findings}


@pytest.mark.parametrize("lora", [True, False])
def test_a_reference_within_a_step_judges_nothing(*, lora: bool) -> None:
    found = preferring(lora=lora, judge_in_training_mode=True)
    # Three evaluations of five batches; the twelve passes of the reference do not count.
    assert set(found) == {"evaluation_in_training_mode"}
    assert found["evaluation_in_training_mode"].numbers == {"passes": 15, "in_training_mode": 15}
    assert preferring(lora=lora, judge_in_training_mode=False) == {}


def left_on(*, before_each_step: bool, comes_back: bool) -> dict[str, Any]:
    """An evaluation that comes back to training mode or not, in a loop that calls train() at every step or not."""
    torch.manual_seed(0)
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def evaluate() -> dict[str, float]:
        model.eval()
        with torch.no_grad():
            loss = float(model(**rows(4, 99)).loss)
        model.train(comes_back)
        return {"eval_loss": loss}

    model.train()
    with Audit(model, optimizer, quiet=True).watch(evaluate=evaluate) as audit:
        for number in range(12):
            if before_each_step:
                model.train()
                if number % 4 == 0:
                    evaluate()
                    model.train()
            model(**rows(4, number)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert audit.report.mishaps == ()
    return {one.rule: one for one in audit.report.findings}


def test_an_evaluation_that_leaves_evaluation_mode_on() -> None:
    found = left_on(before_each_step=False, comes_back=False)
    assert set(found) == {"evaluation_leaves_alone"}
    assert found["evaluation_leaves_alone"].numbers["other_modes"] == len(list(make_model().modules()))
    assert "dropout stays off" in found["evaluation_leaves_alone"].statement
    assert left_on(before_each_step=False, comes_back=True) == {}
    assert left_on(before_each_step=True, comes_back=False) == {}  # the loop itself comes back


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4])
def test_scheduled_sampling(share: float) -> None:
    """A first pass guesses; some of the tokens that the second one is given are its guesses."""

    def guessing(rows_of_the_step: bool) -> set[str]:
        torch.manual_seed(0)
        model = make_model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        model.train()
        with Audit(model, optimizer, quiet=True) as audit:
            for number in range(12):
                batch = rows(4, number, shortest=20)
                first = batch["input_ids"] if rows_of_the_step else rows(4, 100 + number, shortest=20)["input_ids"]
                with torch.no_grad():
                    guess = model(first).logits.argmax(-1)
                mixed = batch["input_ids"].clone()
                chosen = torch.rand(4, 19) < share
                mixed[:, 1:] = torch.where(chosen, guess[:, :-1], mixed[:, 1:])
                shifted_loss(model(mixed).logits, batch["labels"]).backward()
                optimizer.step()
                optimizer.zero_grad()
        assert audit.report.mishaps == ()
        return {one.rule for one in audit.report.findings}

    assert "evaluation_in_training_mode" not in guessing(rows_of_the_step=True)
    assert "evaluation_in_training_mode" in guessing(rows_of_the_step=False)


@pytest.mark.parametrize("training", [True, False])
def test_rows_of_one_template_are_not_the_same(*, training: bool) -> None:
    """An evaluation in training mode on other rows, of which three quarters are one prompt, is told."""
    torch.manual_seed(0)
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    prompt = rows(1, 7, shortest=20)["input_ids"][:, :15].expand(4, -1)
    model.train()
    with Audit(model, optimizer, quiet=True) as audit:
        for number in range(12):
            given, judged = (
                torch.cat([prompt, rows(4, seed, shortest=20)["input_ids"][:, :5]], dim=1)
                for seed in (number, 100 + number)
            )
            model.train(training)
            with torch.no_grad():
                model(judged)
            model.train()
            labels = torch.where(torch.arange(20) < 15, -100, given)
            shifted_loss(model(given).logits, labels).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert audit.report.mishaps == ()
    assert {one.rule for one in audit.report.findings} == ({"evaluation_in_training_mode"} if training else set())
