"""Faults of what is trained on, each beside the same loop without it."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

import ontogeny
from ontogeny.integrations.audit.session import Audit
from tests.audit.judging import audited, clears, findings, findings_with, silent
from tests.audit.loops import END, PAD, VOCABULARY, Loop, make_model, rows

TARGETS = {
    "row_depends_on_batch",
    "row_depends_on_padding",
    "divided_by_padding",
    "no_end_of_text",
    "boilerplate_supervised",
    "outlying_examples",
}


def test_the_clean_loop_is_clear() -> None:
    assert clears(Loop()) >= TARGETS
    assert findings(Loop()) == {}


def gpt2() -> Any:
    """Absolute positions."""
    from transformers import AutoModelForCausalLM, GPT2Config

    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=64,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        model.transformer.wpe.weight.mul_(20)  # so that positions matter, as in a trained model
    return model


def left(number: int, *, positions: bool = False, mask: bool = True) -> dict[str, torch.Tensor]:
    """The same rows with their padding on the left."""
    batch = rows(4, number)
    shift = [int(n) for n in (batch["attention_mask"] == 0).sum(dim=1)]
    batch = {
        name: torch.stack([row.roll(by) for row, by in zip(value, shift, strict=True)]) for name, value in batch.items()
    }
    if positions:
        batch["position_ids"] = (batch["attention_mask"].cumsum(dim=1) - 1).clamp_min(0)
    return batch if mask else {name: value for name, value in batch.items() if name != "attention_mask"}


def test_padding_on_the_left_without_a_mask() -> None:
    found = findings(Loop(own_loss=True, data=lambda n: left(n, mask=False)))
    assert set(found) == {"row_depends_on_batch"}
    silent(audited(Loop(own_loss=True, data=left)), "row_depends_on_batch", "row_depends_on_padding")


@pytest.mark.slow
def test_padding_on_the_left_counted_by_absolute_positions() -> None:
    found = findings(Loop(model=gpt2(), own_loss=True, data=left))
    assert {"row_depends_on_batch", "row_depends_on_padding"} <= set(found)
    counted = Loop(model=gpt2(), own_loss=True, data=lambda n: left(n, positions=True))
    silent(audited(counted), "row_depends_on_batch", "row_depends_on_padding")
    on_the_right = Loop(model=gpt2(), own_loss=True, data=lambda n: rows(4, n))
    silent(audited(on_the_right), "row_depends_on_batch", "row_depends_on_padding")


def test_what_cannot_be_padded_further_says_why() -> None:
    """Rows of 60 places, of the model's 64: there is no room for 8 more."""
    audit = audited(Loop(own_loss=True, data=lambda n: rows(4, n, length=60)))
    lacks = {one.rule: one.lacks for one in audit.report.verdicts if one.verdict == "not assessable"}
    assert lacks["row_depends_on_padding"] == "a batch of at most 56 places, to which 8 can be added"
    assert "row_depends_on_batch" not in lacks


def test_a_model_that_is_given_more_than_ids_is_not_run_again() -> None:
    class Weighted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = make_model()

        def forward(self, input_ids: Any, attention_mask: Any, labels: Any, scale: torch.Tensor) -> Any:
            output = self.inner(input_ids, attention_mask, labels=labels)
            output.loss = output.loss * scale.mean()
            return output

        def get_output_embeddings(self) -> Any:
            return self.inner.get_output_embeddings()

    audit = audited(Loop(model=Weighted(), own_loss=True, data=lambda n: {**rows(4, n), "scale": torch.ones(4)}))
    lacks = {one.rule: one.lacks for one in audit.report.verdicts if one.verdict == "not assessable"}
    assert "it is given scale" in lacks["row_depends_on_batch"]
    assert audit.report.findings == ()


def test_a_loss_divided_by_all_places() -> None:
    def total(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(
            logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
        )

    by_places = Loop(loss=lambda logits, labels: total(logits, labels) / labels.numel())
    assert set(findings(by_places)) == {"divided_by_padding"}
    by_targets = Loop(loss=lambda logits, labels: total(logits, labels) / (labels[:, 1:] != -100).sum())
    silent(audited(by_targets), "divided_by_padding")


@pytest.mark.slow
def test_an_end_of_text_that_is_never_a_target() -> None:
    def ending(*, masked: bool = False, missing: bool = False) -> Loop:
        def data(number: int) -> dict[str, torch.Tensor]:
            batch = rows(4, number)
            if missing:
                batch["input_ids"] = torch.where(batch["input_ids"] == END, 7, batch["input_ids"])
            left_out = (batch["attention_mask"] == 0) | (masked & (batch["input_ids"] == END))
            batch["labels"] = torch.where(left_out, -100, batch["input_ids"])
            return batch

        return Loop(data=data)

    for faulty, how in ((ending(masked=True), "masked out"), (ending(missing=True), "does not stand in the text")):
        found = findings(faulty)
        assert set(found) == {"no_end_of_text"}
        assert how in found["no_end_of_text"].statement
    silent(audited(ending()), "no_end_of_text")


PROMPT = 14


def prompted(number: int, masked: int) -> dict[str, torch.Tensor]:
    """A line of 4 tokens, boilerplate of 10, and an answer of 12 to 20; the first `masked` tokens have no labels."""
    answer = rows(4, number)
    line = torch.randint(2, VOCABULARY, (4, 4), generator=torch.Generator().manual_seed(number + 1000))
    prompt = torch.cat([line, torch.arange(20, 30).expand(4, 10)], dim=1)
    batch = {
        "input_ids": torch.cat([prompt, answer["input_ids"]], dim=1),
        "attention_mask": torch.cat([torch.ones_like(prompt), answer["attention_mask"]], dim=1),
        "labels": torch.cat([prompt, answer["labels"]], dim=1),
    }
    batch["labels"][:, :masked] = -100
    return batch


def test_only_the_first_line_of_the_prompt_is_masked() -> None:
    found = findings(Loop(data=lambda n: prompted(n, 4)))
    assert set(found) == {"boilerplate_supervised"}
    assert found["boilerplate_supervised"].numbers["same_tokens"] == 10
    silent(audited(Loop(data=lambda n: prompted(n, PROMPT))), "boilerplate_supervised")


def test_prompts_of_known_length_among_the_targets() -> None:
    def known(audit: Any, number: int) -> Any:
        return audit.watch(prompt_lengths=[PROMPT] * 4)

    found = findings_with(Loop(data=lambda n: prompted(n, 4)), known)
    # 48 rows of 14 prompt tokens, of which the first is no target of anything: 13 each, 10 of them supervised.
    assert found["prompt_supervised"].numbers == {"supervised": 480, "prompt_tokens": 624}
    silent(audited(Loop(data=lambda n: prompted(n, PROMPT)), known), "prompt_supervised")


@pytest.mark.slow
def test_an_example_of_another_kind() -> None:
    def data(number: int, *, planted: bool) -> dict[str, torch.Tensor]:
        batch = rows(4, number)
        body = batch["attention_mask"].bool() & (batch["input_ids"] != END)
        few = torch.where(body, 2 + batch["input_ids"] % 3, batch["input_ids"])  # everything is one of three tokens
        if planted and number == 30:
            few[2] = torch.where(body[2], 40 + batch["input_ids"][2] % 10, few[2])
        return {**batch, "input_ids": few, "labels": torch.where(batch["attention_mask"].bool(), few, -100)}

    def loop(planted: bool) -> Loop:
        return Loop(
            model=make_model(dropout=0.0),
            steps=40,
            data=lambda n: data(n, planted=planted),
            optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2),
        )

    found = findings(loop(True), first=40)
    assert set(found) == {"outlying_examples"}
    assert "step 30 row 2" in found["outlying_examples"].statement
    silent(audited(loop(False), first=40), "outlying_examples")


def unmasked(number: int, *, pad: int, supervised: int, mask: str = "none") -> dict[str, torch.Tensor]:
    """Rows padded with `pad`, of which the first `supervised` places of padding have labels.

    Without an attention mask, or with one made of ids, which hides the end of a text that is the padding token too.
    """
    batch = rows(4, number)
    real = batch["attention_mask"].bool()
    if pad == END:
        real = real & (batch["input_ids"] != END)  # what is behind a text is its end first, and then padding
    ids = torch.where(real, batch["input_ids"], pad)
    place = torch.arange(ids.shape[1])[None] - real.sum(dim=1, keepdim=True)
    found = {"input_ids": ids, "labels": torch.where(place < supervised, ids, -100)}
    return found if mask == "none" else {**found, "attention_mask": (ids != pad).long()}


def padded_with(pad: int) -> Any:
    model = make_model()
    model.config.pad_token_id = pad
    return model


@pytest.mark.slow
@pytest.mark.parametrize("mask", ["none", "of ids"])
@pytest.mark.parametrize("pad", [PAD, END], ids=["a_token_of_its_own", "end_of_text"])
def test_padding_supervised_without_a_mask_or_with_one_of_ids(pad: int, mask: str) -> None:
    def loop(supervised: int) -> Loop:
        return Loop(
            model=padded_with(pad), own_loss=True, data=lambda n: unmasked(n, pad=pad, supervised=supervised, mask=mask)
        )

    found = findings(loop(supervised=99))
    assert set(found) == {"padding_supervised"}
    # By hand: 48 rows of 20 places; where the padding is an end of text, the first of it is the end, and right.
    padded = sum(int((rows(4, n)["input_ids"] == PAD).sum()) for n in range(12))
    assert found["padding_supervised"].numbers["padding"] == padded
    right = 1 if pad == END else 0
    assert findings(loop(supervised=right)) == {}
    assert clears(loop(supervised=right)) >= {"padding_supervised", "no_end_of_text"}


def test_a_padding_token_inside_the_texts_is_none() -> None:
    """A config's padding token, 0 by default, may be a word of whoever trains on other ids."""

    def data(number: int) -> dict[str, torch.Tensor]:
        ids = torch.randint(0, 3, (4, 20), generator=torch.Generator().manual_seed(number))
        return {"input_ids": ids, "labels": ids.clone()}

    audit = audited(Loop(own_loss=True, data=data))
    assert audit.report.findings == ()
    assert "padding_supervised" not in {one.rule for one in audit.report.verdicts if one.verdict == "clear"}


def test_an_end_of_text_that_is_masked_as_padding() -> None:
    def loop(supervised: int) -> Loop:
        return Loop(model=padded_with(END), own_loss=True, data=lambda n: unmasked(n, pad=END, supervised=supervised))

    found = findings(loop(supervised=0))
    assert set(found) == {"no_end_of_text"}
    assert "masked out" in found["no_end_of_text"].statement
    assert findings(loop(supervised=1)) == {}


def test_a_divergence_over_the_prompt_does_not_train_on_it() -> None:
    """KL to a reference everywhere, cross entropy on answers alone: prompts are pulled towards the reference."""
    reference = make_model(seed=1, dropout=0.0).eval()

    def held(logits: torch.Tensor, labels: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            other = reference(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.softmax(-1)
        real = batch["attention_mask"].bool()
        return 0.5 * F.kl_div(logits.log_softmax(-1)[real], other[real], reduction="batchmean")

    def run(*, mask: bool) -> Audit:
        model = make_model(dropout=0.0)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        with ontogeny.audit(model, optimizer, quiet=True) as audit:
            for number in range(12):
                batch = rows(4, number)
                if mask:
                    batch["labels"][:, :6] = -100
                audit.watch(prompt_lengths=[6] * 4)
                output = model(**batch)
                (output.loss + held(output.logits, batch["labels"], batch)).backward()
                optimizer.step()
                optimizer.zero_grad()
        return audit

    assert "prompt_supervised" not in {one.rule for one in run(mask=True).report.findings}
    assert "prompt_supervised" in {one.rule for one in run(mask=False).report.findings}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cross entropy", "nll", "right"])
def test_a_softmax_that_is_taken_twice(how: str) -> None:
    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        at, targets = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
        if how == "nll":
            return F.nll_loss(at.softmax(-1), targets, ignore_index=-100)
        if how == "right":
            return F.nll_loss(at.log_softmax(-1), targets, ignore_index=-100)
        return F.cross_entropy(at.softmax(-1), targets, ignore_index=-100)

    if how == "right":
        silent(audited(Loop(loss=loss)), "softmax_twice")
    else:
        assert findings(Loop(loss=loss))["softmax_twice"].severity == "error"
