"""Faults of the loss, each beside the same loop without it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import ontogeny
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


@pytest.mark.parametrize("shift", [0, 1])
def test_labels_of_a_model_that_returns_hidden_states_first(shift: int) -> None:
    """Logits are told from hidden states by their width, that of the table of embeddings."""

    class Both(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = make_model()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            output = self.inner(input_ids, attention_mask, output_hidden_states=True)
            return output.hidden_states[-1], output.logits

    model = Both()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with ontogeny.audit(model, optimizer, quiet=True) as audit:
        for number in range(12):
            batch = rows(4, number)
            _, logits = model(batch["input_ids"], batch["attention_mask"])
            labels = batch["labels"].roll(1 - shift, dims=1)
            shifted_loss(logits, labels).backward()
            optimizer.step()
            optimizer.zero_grad()
    verdicts = {one.rule: one.verdict for one in audit.report.verdicts}
    assert verdicts["label_shift"] == ("finding" if shift == 0 else "clear")


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_every_label_masked() -> None:
    """A template that does not match: the labels of no token are left."""

    def masked(number: int) -> dict[str, torch.Tensor]:
        batch = rows(4, number)
        return {**batch, "labels": torch.full_like(batch["labels"], -100)}

    found = findings(Loop(own_loss=True, data=masked))["supervised_share"]
    assert found.severity == "error"
    assert found.numbers["targets"] == 0
    assert findings(Loop(own_loss=True)) == {}


def summed(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Over tokens."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")


def padded_to_the_longest(number: int) -> dict[str, torch.Tensor]:
    return rows(4, number, length=14 + number % 7)


@pytest.mark.slow
@pytest.mark.parametrize("data", [lambda n: rows(4, n), padded_to_the_longest], ids=["fixed", "dynamic"])
def test_a_hand_written_loss_that_is_a_sum(data: Callable[[int], dict[str, torch.Tensor]]) -> None:
    found = findings(Loop(loss=summed, data=data))
    assert set(found) == {"loss_scale"}
    assert "the sum over tokens" in found["loss_scale"].statement
    by_rows = findings(Loop(loss=lambda logits, labels: summed(logits, labels) / 4, data=data))
    assert set(by_rows) == {"loss_scale"}
    assert "tokens of each row" in by_rows["loss_scale"].statement
    assert findings(Loop(data=data)) == {}
    assert "loss_scale" in clears(Loop(data=data))


def test_a_hand_written_loss_that_is_a_multiple() -> None:
    found = findings(Loop(loss=lambda logits, labels: 8 * shifted_loss(logits, labels)))
    assert set(found) == {"loss_scale"}
    assert found["loss_scale"].severity == "note"
    assert abs(float(found["loss_scale"].numbers["sum_of_weights"]) - 8) < 0.01
    assert findings(Loop(loss=lambda logits, labels: 0.5 * shifted_loss(logits, labels))) == {}  # a term's weight


class DividesLater(torch.optim.SGD):
    """Gradients of a sum over tokens, divided by their number where the optimizer steps."""

    tokens = 0

    def step(self, closure: Any = None) -> Any:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        torch._foreach_div_(gradients, float(DividesLater.tokens))
        return super().step(closure)


def test_a_sum_whose_gradient_is_divided_after_backward_is_right() -> None:
    def counts(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        DividesLater.tokens = int((labels[:, 1:] != -100).sum())
        return summed(logits, labels)

    assert findings(Loop(loss=counts, optimizer=lambda model: DividesLater(model.parameters(), lr=0.1))) == {}
    # Clipping makes gradients smaller, too, and does not excuse the sum: with SGD the bound then sets the step.
    assert "loss_scale" in findings(Loop(loss=summed, clip=30.0))


@pytest.mark.slow
def test_first_tokens_that_have_labels_are_counted_by_some_trainers() -> None:
    """Mean over labels before they are shifted: of 4 rows of n + 1 labels, n are targets."""

    def mean_over_labels(divisor: int) -> Loop:
        model = make_model()
        model.loss_function = lambda logits, labels, **_: (
            summed(logits, labels) / (divisor * (labels != -100).sum() / 2)
        )
        return Loop(own_loss=True, model=model)

    assert findings(mean_over_labels(2)) == {}
    assert set(findings(mean_over_labels(1))) >= {"loss_is_the_mean"}


@pytest.mark.parametrize("right", [False, True])
def test_labels_of_the_token_before(right: bool) -> None:
    def backwards(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits[:, 1:].flatten(0, 1), labels[:, :-1].flatten(), ignore_index=-100)

    found = findings(Loop(loss=shifted_loss if right else backwards, data=lambda n: rows(4, n, shortest=20)))
    assert ("label_shift" in found) is not right
    assert right or "the token before" in found["label_shift"].statement


def test_logits_and_labels_laid_flat_along_different_axes() -> None:
    def transposed(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].T.flatten(), ignore_index=-100)

    found = findings(Loop(loss=transposed))
    assert "do not belong together" in found["label_shift"].statement
    silent(audited(Loop()), "label_shift")


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
def test_a_mask_that_masks_nothing_hides_no_padding(masked: bool) -> None:
    """Ones everywhere, and labels that are the ids: runs of the padding token are trained on."""

    def data(number: int) -> dict[str, torch.Tensor]:
        batch = rows(4, number)
        return (
            batch
            if masked
            else {**batch, "attention_mask": torch.ones_like(batch["input_ids"]), "labels": batch["input_ids"]}
        )

    assert ("padding_supervised" in findings(Loop(own_loss=True, data=data))) is not masked


class TimeFirst(torch.nn.Module):
    """As recurrent models are by default: ids [T, B], logits [T, B, V]."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.body = torch.nn.Embedding(60, 16), torch.nn.GRU(16, 16)
        self.head = torch.nn.Linear(16, 60)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.body(self.table(input_ids))[0])
        return found


def test_time_on_the_first_axis_is_not_taken_for_rows() -> None:
    torch.manual_seed(0)
    model = TimeFirst()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with ontogeny.audit(model, optimizer, quiet=True) as audit:
        for number in range(12):
            ids = rows(4, number, shortest=20)["input_ids"].T
            F.cross_entropy(model(ids)[:-1].flatten(0, 1), ids[1:].flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert audit.report.findings == ()
    lacks = {one.rule: one.lacks for one in audit.report.verdicts if one.verdict == "not assessable"}
    assert "first axis is the batch" in lacks["row_depends_on_batch"]


def test_what_is_narrower_than_the_vocabulary_is_no_logits() -> None:
    """An encoder of width 16 over 60 tokens, with a head on its first place: 1 of 128 places gets a gradient."""

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.mix = torch.nn.Embedding(60, 16), torch.nn.Linear(16, 16)

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.mix(self.table(input_ids))
            return found

    torch.manual_seed(0)
    model, head = Encoder(), torch.nn.Linear(16, 2)
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=1e-3)
    with ontogeny.audit(model, optimizer, quiet=True) as audit:
        for number in range(12):
            ids = rows(4, number, length=128, shortest=128)["input_ids"]
            F.cross_entropy(head(model(ids)[:, 0]), ids[:, 0] % 2).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert audit.report.findings == ()
