"""Faults of the loss, each beside the same loop without it."""

import torch
from torch.nn import functional as F

from tests.audit.judging import audited, clears, findings, silent
from tests.audit.loops import PAD, Loop, make_model, rows, shifted_loss

LOSS = {"label_shift", "supervised_share", "padding_supervised", "initial_loss"}


def test_the_clean_loop_is_clear_and_not_only_unassessable() -> None:
    assert clears(Loop()) >= LOSS
    assert clears(Loop(own_loss=True)) >= LOSS | {"loss_is_the_mean"}
    assert findings(Loop(own_loss=True)) == {}


def test_labels_that_are_not_shifted() -> None:
    def copies(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)

    found = findings(Loop(loss=copies))
    assert "label_shift" in found
    assert "copy" in found["label_shift"].statement
    silent(audited(Loop(loss=shifted_loss)), "label_shift")


def test_labels_that_are_shifted_twice() -> None:
    def skips(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        shifted = torch.full_like(batch["labels"], -100)
        shifted[:, :-1] = batch["labels"][:, 1:]
        return {**batch, "labels": shifted}

    found = findings(Loop(own_loss=True, data=lambda n: skips(rows(4, n))))
    assert "skips a token" in found["label_shift"].statement
    silent(audited(Loop(own_loss=True, data=lambda n: rows(4, n))), "label_shift")


def test_every_label_masked_but_a_few() -> None:
    def data(number: int, *, masked: bool) -> dict[str, torch.Tensor]:
        batch = rows(16, number, length=60, shortest=55)
        if masked:
            batch["labels"] = torch.full_like(batch["labels"], -100)
            batch["labels"][0, 5] = batch["input_ids"][0, 5]
        return batch

    assert "supervised_share" in findings(Loop(data=lambda n: data(n, masked=True)))
    silent(audited(Loop(data=lambda n: data(n, masked=False))), "supervised_share")


def test_padding_among_the_targets() -> None:
    def unmasked(number: int) -> dict[str, torch.Tensor]:
        batch = rows(4, number)
        return {**batch, "labels": batch["input_ids"]}

    found = findings(Loop(data=unmasked))
    # Rows of 12 to 20 tokens are padded to 20: the padded places are counted by hand from the data.
    padded = sum(int((rows(4, n)["input_ids"] == PAD).sum()) for n in range(12))
    assert found["padding_supervised"].numbers["padding"] == padded
    silent(audited(Loop(data=lambda n: rows(4, n))), "padding_supervised")


def test_a_loss_that_is_a_sum_over_something_else() -> None:
    def times(factor: int) -> Loop:
        model = make_model()
        inner = model.loss_function
        model.loss_function = lambda *args, **kwargs: factor * inner(*args, **kwargs)
        return Loop(own_loss=True, model=model)

    numbers = findings(times(4))["loss_is_the_mean"].numbers  # as a sum over four devices would be
    assert abs(float(numbers["loss"]) / float(numbers["mean_nll"]) - 4) < 1e-4
    silent(audited(times(1)), "loss_is_the_mean")


def test_micro_batches_that_are_summed_or_averaged() -> None:
    def four(*, divide: bool) -> Loop:
        return Loop(accumulation=4, divide=divide, data=lambda n: rows(4, n, shortest=20))

    def two(*lengths: int) -> Loop:
        return Loop(accumulation=2, data=lambda n: rows(4, n, length=lengths[n % 2], shortest=lengths[n % 2]))

    found = findings(four(divide=False))["accumulation_normalised"]
    assert abs(float(found.numbers["sum_of_weights"]) - 4) < 0.01
    silent(audited(four(divide=True)), "accumulation_normalised")
    # Micro-batches of 12 and 20 tokens a row, each averaged: a token of the shorter weighs 19/11 = 1.73 times as much.
    found = findings(two(12, 20))["accumulation_normalised"]
    assert abs(float(found.numbers["spread"]) - (19 / 11 - 1)) < 0.01
    silent(audited(two(20, 20)), "accumulation_normalised")


def test_a_first_loss_far_above_guessing() -> None:
    def scaled(factor: float) -> Loop:
        model = make_model()
        with torch.no_grad():
            model.get_output_embeddings().weight.mul_(factor)
        return Loop(model=model)

    assert "initial_loss" in findings(scaled(200))
    silent(audited(scaled(1)), "initial_loss")
