"""Faults of evaluation, each beside the same evaluation without it."""

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.verdicts import Finding
from ontogeny.integrations.audit.recorder_averages import AverageRecorder
from ontogeny.integrations.audit.recorder_evaluation import numbers_of
from ontogeny.integrations.audit.returned import LOSS, bare, named
from ontogeny.integrations.audit.seen import Follows
from ontogeny.integrations.audit.session import Audit
from tests.audit.composite import Composite
from tests.audit.evaluating import Evaluation
from tests.audit.judging import audited, silent
from tests.audit.loops import END, Loop, make_model, rows

CHECKS = {
    "evaluation_leaves_alone",
    "evaluation_in_training_mode",
    "trained_in_evaluation_mode",
    "evaluation_counts_once",
    "evaluation_token_weighted",
    "perplexity_of_nll",
    "evaluation_objective",
}


def judged(model: Any = None, *, texts: int | None = None, **settings: Any) -> Audit:
    """The audit of a loop with an evaluation of these settings; `texts`: that many are said to be evaluated."""
    model = model or make_model()
    watched: dict[str, Any] = {} if texts is None else {"validation_texts": [str(number) for number in range(texts)]}
    return audited(Loop(model=model), evaluate=Evaluation(model=model, **settings), **watched)


def found(audit: Audit) -> dict[str, Finding]:
    return {one.rule: one for one in audit.report.findings}


def of(model: Any = None, **settings: Any) -> dict[str, Finding]:
    """What is found about an evaluation with these settings."""
    return found(judged(model, **settings))


def test_the_clean_evaluation_is_clear() -> None:
    silent(judged(texts=20), *CHECKS)  # 5 batches of 4


def test_an_accuracy_of_the_rows_of_the_loss() -> None:
    model = make_model()
    evaluation = Evaluation(model=model)

    def accuracy(numbers: dict[str, float]) -> Mapping[str, float]:
        model.eval()
        with torch.no_grad():
            right = [
                float(
                    (
                        model(one["input_ids"], attention_mask=one["attention_mask"]).logits[:, :-1].argmax(-1)
                        == one["labels"][:, 1:]
                    )
                    .float()
                    .mean()
                )
                for one in evaluation.data()
            ]
        model.train()
        return numbers | {"accuracy": float(np.mean(right))}

    evaluation.after = accuracy
    silent(audited(Loop(model=model), evaluate=evaluation), *CHECKS - {"evaluation_objective"})


@pytest.mark.slow
def test_losses_of_two_splits() -> None:
    """Which rows belong to which is not seen; a single one that is off is told as ever."""

    def two(numbers: dict[str, float]) -> dict[str, float]:
        return {"train_loss": numbers["eval_loss"] - 1, "val_loss": numbers["eval_loss"] + 1}

    silent(judged(after=two), "evaluation_leaves_alone")
    assert named(two({"eval_loss": 3.0}), LOSS) is None
    assert set(of(after=lambda numbers: {"val_loss": numbers["eval_loss"] + 1})) == {"evaluation_objective"}


@pytest.mark.slow
def test_weights_that_are_moved_to_an_average_and_back() -> None:
    def judged_after(back: float) -> Audit:
        model = make_model()
        other = [p + 0.1 * p * torch.randn_like(p) for p in model.parameters()]

        def moved(share: float) -> None:
            with torch.no_grad():
                for p, q in zip(model.parameters(), other, strict=True):
                    p.lerp_(q, share)

        def restored(numbers: dict[str, float]) -> dict[str, float]:
            moved(back)
            return numbers

        return judged(model, before=lambda: moved(1 - 1 / 0.9), after=restored)

    clean = judged_after(1 - 0.9)
    silent(clean, "evaluation_leaves_alone")
    assert clean._recorder.seen.evaluated is not None
    assert clean._recorder.seen.evaluated.rounded  # by some last bits
    assert found(judged_after(1 - 0.91))["evaluation_leaves_alone"].numbers["changed"] == 28


def weights(model: Any) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in model.parameters()]


@pytest.mark.slow
def test_an_evaluation_that_moves_weights_is_caught_and_undone() -> None:
    model, plain = make_model(), make_model()

    def moves() -> None:
        with torch.no_grad():
            model.get_output_embeddings().weight.add_(1)

    assert of(model, before=moves)["evaluation_leaves_alone"].numbers["changed"] == 1
    random = torch.get_rng_state()
    Loop(model=plain).run()
    assert weights(model) == weights(plain)
    assert torch.equal(random, torch.get_rng_state())
    silent(judged(), "evaluation_leaves_alone")


@pytest.mark.slow
def test_gradients_that_are_left_behind() -> None:
    model = make_model()
    left = of(model, gradients=True)
    assert left["evaluation_leaves_alone"].numbers["gradients"] == len(list(model.parameters()))
    model = make_model()

    def clears(numbers: Mapping[str, float]) -> Mapping[str, float]:
        model.zero_grad()
        return numbers

    silent(judged(model, gradients=True, after=clears), "evaluation_leaves_alone")


@pytest.mark.slow
def test_a_seed_that_is_set_and_one_that_is_put_back() -> None:
    assert of(seed=42)["evaluation_leaves_alone"].numbers["reseeded"] == 1

    def forks() -> None:
        with torch.random.fork_rng():
            torch.manual_seed(42)

    silent(judged(before=forks), "evaluation_leaves_alone")
    silent(judged(before=lambda: torch.rand(3)), "evaluation_leaves_alone")  # a data loader draws, too


@pytest.mark.slow
def test_dropout_while_the_model_is_judged() -> None:
    assert of(mode=True)["evaluation_in_training_mode"].numbers["in_training_mode"] == 5
    silent(judged(mode=False), "evaluation_in_training_mode")
    silent(judged(make_model(dropout=0.0), mode=True), "evaluation_in_training_mode")


@pytest.mark.slow
def test_passes_without_gradients_inside_the_loop() -> None:
    def validating(*, mode: bool) -> Audit:
        model = make_model()

        def validates(audit: Audit, step: int) -> None:
            if step in (4, 8) and not busy:
                busy.append(step)
                Evaluation(model=model, mode=mode)()
                busy.clear()

        busy: list[int] = []
        return audited(Loop(model=model), validates)

    assert set(found(validating(mode=True))) == {"evaluation_in_training_mode"}
    silent(validating(mode=False), "evaluation_in_training_mode")


@pytest.mark.slow
def test_training_that_never_comes_back_from_evaluation_mode() -> None:
    def evaluating(*, comes_back: bool) -> Audit:
        model = make_model()

        def evaluates(_: Audit, step: int) -> None:
            if step == 5:
                model.eval()
                model.train(comes_back)

        return audited(Loop(model=model), evaluates)

    # The mode changes before pass 5: 5 passes in training mode, 7 of 12 not.
    stays = found(evaluating(comes_back=False))["trained_in_evaluation_mode"]
    assert stays.numbers["in_evaluation_mode"] == 7
    silent(evaluating(comes_back=True), "trained_in_evaluation_mode")


@pytest.mark.slow
def test_examples_that_are_counted_twice_and_never() -> None:
    assert of(again=2)["evaluation_counts_once"].numbers["repeated"] == 8
    silent(judged(again=0), "evaluation_counts_once")
    silent(judged(again=5), "evaluation_counts_once")  # all of them: no number is off
    silent(judged(texts=20, again=5), "evaluation_counts_once")
    of_one = {"batches": 1, "again": 1}  # the same batch again and again
    assert of(**of_one)["evaluation_counts_once"].numbers["repeated"] == 4
    assert "last 3 of 23" in of(texts=23)["evaluation_counts_once"].statement
    silent(judged(texts=20), "evaluation_counts_once")


def against(tokens: Any, by: float) -> Any:
    """A model whose logits of these tokens are lower, whatever stands before."""
    model = make_model()
    with torch.no_grad():
        last = model.gpt_neox.final_layer_norm
        last.weight[0], last.bias[0] = 0.0, 1.0  # the first number of what the output embedding is given is 1
        model.get_output_embeddings().weight[tokens, 0] = -by
    return model


@pytest.mark.slow
def test_a_mean_of_means() -> None:
    # Every row has one end of text, so that one that is hard weighs most in short rows, which come first.
    wrong = of(against(END, 10), by_batch=True)
    assert set(wrong) == {"evaluation_token_weighted"}
    numbers = wrong["evaluation_token_weighted"].numbers
    assert float(numbers["returned"]) == pytest.approx(float(numbers["mean_of_batches"]), rel=1e-5)
    assert float(numbers["returned"]) != pytest.approx(float(numbers["mean_over_tokens"]), rel=0.01)
    silent(judged(against(END, 10), by_batch=False), "evaluation_token_weighted")


def test_a_perplexity_that_is_cut_off() -> None:
    def evaluating(most: float) -> Audit:
        """About half of the evaluation's tokens, those from 32 on, cost 60 nats; none of the training's does."""
        model = against(slice(32, None), 60)

        def data(number: int) -> dict[str, torch.Tensor]:
            batch = rows(4, number)
            ids = torch.where(batch["input_ids"] < 32, batch["input_ids"], batch["input_ids"] - 28)
            return {**batch, "input_ids": ids, "labels": torch.where(batch["labels"] == -100, -100, ids)}

        def perplexity(numbers: dict[str, float]) -> dict[str, float]:
            return numbers | {"perplexity": math.exp(min(numbers["eval_loss"], most))}

        return audited(Loop(model=model, data=data), evaluate=Evaluation(model=model, after=perplexity))

    cut_off = found(evaluating(20))
    assert set(cut_off) == {"perplexity_of_nll"}
    assert "485165195.41" in cut_off["perplexity_of_nll"].statement
    silent(evaluating(math.inf), "perplexity_of_nll", "evaluation_objective")


@pytest.mark.slow
def test_the_perplexity_of_a_composite() -> None:
    def evaluating(*, of_the_whole: bool) -> Audit:
        """The loss is 1 x lm + 0.05 x z in training and in evaluation, where z = 40 stands for any."""

        def numbers_of(numbers: dict[str, float]) -> dict[str, float]:
            lm = numbers["eval_loss"]
            return {"loss": lm + 2, "lm_loss": lm, "z_loss": 40.0, "ppl": math.exp(lm + 2 * of_the_whole)}

        model, composite = make_model(), Composite()
        evaluation = Evaluation(model=model, after=numbers_of)
        return audited(Loop(model=model, loss=composite), composite.hear, evaluate=evaluation)

    whole = found(evaluating(of_the_whole=True))
    assert set(whole) == {"perplexity_of_nll"}
    assert "exp of the whole loss" in whole["perplexity_of_nll"].statement
    silent(evaluating(of_the_whole=False), "perplexity_of_nll", "evaluation_objective")


@pytest.mark.slow
def test_a_mean_of_perplexities() -> None:
    def evaluating(factor: float) -> Audit:
        return judged(after=lambda numbers: numbers | {"perplexity": numbers["perplexity"] * factor})

    assert set(found(evaluating(1.1))) == {"perplexity_of_nll"}
    silent(evaluating(1.0), "perplexity_of_nll")


@pytest.mark.slow
def test_other_weights_in_evaluation() -> None:
    def evaluating(feature: float, feature_in_training: float) -> Audit:
        training = {"lm": 0.3, "kd": 0.7, "feature": feature_in_training}
        terms = dict(zip(training, [*Composite().terms.values()] * 2, strict=False))
        composite, model = Composite(terms=terms, weights=training), make_model()

        def evaluate() -> dict[str, float]:
            model.eval()
            composite.weights = training | {"feature": feature}
            with torch.no_grad():
                data = Evaluation(model=model).data()
                losses = [float(composite(model(**batch).logits, batch["labels"])) for batch in data]
            composite.weights = training
            model.train()
            return {"loss": float(np.mean(losses))}

        return audited(Loop(model=model, loss=composite), composite.hear, evaluate=evaluate)

    other = found(evaluating(0.1, feature_in_training=0.0))
    assert set(other) == {"evaluation_objective", "weight_of_zero"}
    assert "'feature' 0.1 (training: 0)" in other["evaluation_objective"].statement
    assert set(found(evaluating(0.2, feature_in_training=0.1))) == {"evaluation_objective"}
    silent(evaluating(0.1, feature_in_training=0.1), "evaluation_objective", "weight_of_zero")


@pytest.mark.slow
def test_returned_terms_that_do_not_add_up_as_in_training() -> None:
    def returning(loss: float) -> Audit:
        composite, returned = Composite(), {"val/loss": loss, "val/lm": 4.0, "val/z": 16.0}
        return audited(Loop(loss=composite), composite.hear, evaluate=lambda: returned)

    # Training: 1 x lm + 0.05 x z. The evaluation returns lm = 4 and z = 16: 4.8; with full weight on z it is 20.
    assert set(found(returning(20.0))) == {"evaluation_objective"}
    silent(returning(4.8), "evaluation_objective")


@pytest.mark.slow
def test_a_plain_training_and_an_evaluation_of_something_else() -> None:
    def evaluating(more: float) -> Audit:
        return judged(after=lambda numbers: {"eval_loss": numbers["eval_loss"] + more})

    assert set(found(evaluating(1))) == {"evaluation_objective"}
    silent(evaluating(0), "evaluation_objective")


def averaged(decay: float, *, used: bool = True) -> Audit:
    model = make_model()
    ema = copy.deepcopy(model)

    def follows(_: Audit, step: int) -> None:
        if step:
            for average, p in zip(ema.parameters(), model.parameters(), strict=True):
                average.data.mul_(decay).add_(p.data, alpha=1 - decay)

    return audited(Loop(model=model), follows, evaluate=Evaluation(model=ema if used else model), ema=ema)


@pytest.mark.slow
def test_an_average_that_lags() -> None:
    lagging = found(averaged(0.9999))
    assert set(lagging) == {"average_lags"}
    numbers = lagging["average_lags"].numbers
    assert float(numbers["horizon_steps"]) == pytest.approx(10_000, rel=0.05)
    assert float(numbers["share_of_start"]) == pytest.approx(0.9999**12, abs=1e-3)
    silent(averaged(0.5), "average_lags")  # 0.5^12 of the start is left
    silent(averaged(0.9999, used=False), "average_lags")


@pytest.mark.slow
def test_weights_that_are_swapped_in_for_the_evaluation() -> None:
    def swapping(decay: float) -> Audit:
        model = make_model()
        shadow = {name: p.detach().clone() for name, p in model.named_parameters()}

        def follows(_: Audit, step: int) -> None:
            for name, p in model.named_parameters():
                shadow[name].mul_(decay).add_(p.data, alpha=1 - decay)

        def evaluate() -> Mapping[str, float]:
            own = {name: p.detach().clone() for name, p in model.named_parameters()}
            model.load_state_dict(shadow, strict=False)
            numbers = Evaluation(model=model)()
            model.load_state_dict(own, strict=False)
            return numbers

        return audited(Loop(model=model), follows, evaluate=evaluate, ema=shadow)

    lagging = found(swapping(1.0))
    assert set(lagging) == {"average_lags"}
    assert lagging["average_lags"].numbers["share_of_start"] == 1.0
    silent(swapping(0.5), "average_lags")


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
        "loss",
        "nll",
        "ppl",
        "loss",
        "value",
    ]
    assert numbers_of({"a": torch.tensor(2.0), "b": "x", "c": None, "d": True}) == {"a": 2.0}
    assert numbers_of(3) == {"loss": 3.0}
