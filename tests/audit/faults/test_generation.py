"""Faults of generation and of what it is judged by, each beside its clean twin."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.verdicts import Finding
from ontogeny.data.tokenizer import train_tokenizer
from ontogeny.integrations.audit.recorder_generation import ends_in_padding
from ontogeny.integrations.audit.session import Audit
from tests.audit.judging import audited, silent
from tests.audit.loops import END, PAD, Loop, make_model, rows

pytestmark = pytest.mark.slow


STORY = "the old clock in the hall struck nine and nobody came down to open the heavy door that night"
WORDS = STORY.split()
QUESTIONS = [f"Summarise what happened at number {place}:" for place in range(6)]
ANSWERS = [" ".join(WORDS[place : place + 11]) for place in range(6)]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """257 byte-level tokens and a few more."""
    return train_tokenizer([" ".join([*QUESTIONS, *ANSWERS])] * 3, 300)


def watching(model: Any = None, **watched: Any) -> Audit:
    """The audit of a short loop with this watched."""
    return audited(Loop(model=model or make_model(), steps=2), **watched)


def verdicts(audit: Audit) -> dict[str, Any]:
    return {one.rule: one for one in audit.report.verdicts}


def judged(model: Any = None, **watched: Any) -> dict[str, Any]:
    """All verdicts of a short loop with this watched."""
    return verdicts(watching(model, **watched))


def fitting(tokenizer: Any) -> Any:
    """A model whose ids of special tokens are the tokenizer's."""
    model = make_model()
    for one in (model.config, model.generation_config):
        one.bos_token_id = one.eos_token_id = one.pad_token_id = tokenizer.eos_token_id
    return model


def test_a_reference_at_the_end_of_its_prompt() -> None:
    prompts = [f"{question} {answer}" for question, answer in zip(QUESTIONS, ANSWERS, strict=True)]
    found = judged(prompts=prompts, references=ANSWERS)["reference_in_prompt"]
    assert isinstance(found, Finding)
    assert found.certainty == "certain"
    assert found.numbers["at_its_end"] == 6
    silent(watching(prompts=QUESTIONS, references=ANSWERS), "reference_in_prompt")


def test_a_reference_in_the_middle_and_one_of_which_half_is_quoted() -> None:
    inside = [f"{answer}. {question}" for question, answer in zip(QUESTIONS, ANSWERS, strict=True)]
    found = judged(prompts=inside, references=ANSWERS)["reference_in_prompt"]
    assert (found.verdict, found.certainty, found.numbers["at_its_end"]) == ("finding", "likely", 0)
    # The first 8 of 11 words: one of the reference's 4 runs of 8 stands in the prompt.
    half = [" ".join([question, *answer.split()[:8]]) for question, answer in zip(QUESTIONS, ANSWERS, strict=True)]
    clean = watching(prompts=half, references=ANSWERS)
    silent(clean, "reference_in_prompt")
    assert verdicts(clean)["reference_in_prompt"].numbers["mean_share"] == pytest.approx(1 / 4)
    silent(watching(prompts=QUESTIONS, references=ANSWERS), "reference_in_prompt")


def test_references_as_ids_and_as_text(tokenizer: Any) -> None:
    def encoded(prompts: list[str]) -> Audit:
        ids = [tokenizer.encode(prompt) for prompt in prompts]
        return watching(fitting(tokenizer), tokenizer=tokenizer, prompts=ids, references=ANSWERS)

    answered = [f"{question} {answer}" for question, answer in zip(QUESTIONS, ANSWERS, strict=True)]
    assert [one.rule for one in encoded(answered).report.findings] == ["reference_in_prompt"]
    silent(encoded(QUESTIONS), "reference_in_prompt")

    def cut(longest: int) -> Audit:
        ids = rows(6, 0, shortest=20)["input_ids"]
        return watching(prompts=ids[:, :longest], references=ids[:, 8:18])

    assert [one.rule for one in cut(20).report.findings] == ["reference_in_prompt"]
    silent(cut(8), "reference_in_prompt")


def test_answers_of_a_word_say_nothing() -> None:
    short = judged(prompts=[f"{word} {word}" for word in WORDS], references=WORDS)["reference_in_prompt"]
    assert short.verdict == "not assessable"


def test_ids_that_a_config_brought_along(tokenizer: Any) -> None:
    model = fitting(tokenizer)
    silent(watching(model, tokenizer=tokenizer), "special_ids_agree")
    model = fitting(tokenizer)
    model.config.eos_token_id = model.generation_config.eos_token_id = 2  # GPT-NeoX's own default
    found = judged(model, tokenizer=tokenizer)["special_ids_agree"]
    assert found.severity == "error"
    assert repr(tokenizer.convert_ids_to_tokens(2)) in found.statement
    model.config.eos_token_id = model.generation_config.eos_token_id = 50256
    found = judged(model, tokenizer=tokenizer)["special_ids_agree"]
    assert "50256 is outside" in found.statement


def test_a_tokenizer_that_ends_elsewhere(tokenizer: Any) -> None:
    other = copy.deepcopy(tokenizer)
    silent(watching(fitting(tokenizer), tokenizer=other), "special_ids_agree")
    other.add_special_tokens({"eos_token": "<|done|>"})
    found = judged(fitting(tokenizer), tokenizer=other)["special_ids_agree"]
    assert "generation stops at" in found.statement


def generating(*, side: str, lengths: tuple[int, ...] = (6, 3, 5)) -> Audit:
    """The audit of a loop that generates from a padded batch in between."""
    model = make_model()
    ids, mask = torch.full((len(lengths), 6), PAD), torch.zeros(len(lengths), 6, dtype=torch.long)
    for row, length in enumerate(lengths):
        place = slice(6 - length, 6) if side == "left" else slice(0, length)
        ids[row, place], mask[row, place] = torch.arange(10, 10 + length), 1
    busy: list[int] = []

    def generates(audit: Audit, step: int) -> None:
        if step == 1 and not busy:
            busy.append(step)
            model.eval()
            model.generate(ids, attention_mask=mask, max_new_tokens=4, do_sample=False, pad_token_id=PAD)
            model.train()

    return audited(Loop(model=model, steps=2), generates)


def test_padding_between_prompt_and_answer() -> None:
    found = verdicts(generating(side="right"))["padding_side"]
    assert found.verdict == "finding"
    assert found.numbers["padded_right"] == found.numbers["padded"] > 0
    clean = generating(side="left")
    silent(clean, "padding_side")
    assert verdicts(clean)["padding_side"].numbers["padded_right"] == 0
    even = generating(side="right", lengths=(6, 6, 6))
    silent(even)
    assert verdicts(even)["padding_side"].verdict == "not assessable"


def test_padding_of_prompts_that_are_watched() -> None:
    batch = rows(4, 0)
    right = {name: batch[name] for name in ("input_ids", "attention_mask")}
    left = {name: value.flip(1) for name, value in right.items()}
    assert judged(prompts=right)["padding_side"].verdict == "finding"
    silent(watching(prompts=left), "padding_side")
    assert judged(prompts=right["input_ids"])["padding_side"].verdict == "finding"  # by the padding id
    silent(watching(prompts=left["input_ids"]), "padding_side")


def test_masks_by_hand() -> None:
    masks = np.array([[0, 0, 1, 1], [1, 1, 0, 0], [1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)
    assert ends_in_padding(masks).tolist() == [False, True, True, False, False]


def test_generation_that_was_never_taught_to_end() -> None:
    def without_end(number: int) -> dict[str, torch.Tensor]:
        batch = rows(4, number)
        return {**batch, "labels": batch["labels"].masked_fill(batch["labels"] == END, -100)}

    endless = [list(range(5, 15))] * 8
    ended = torch.tensor([[*row[:-1], END] for row in endless])
    found = audited(Loop(data=without_end), generated=endless).report.findings
    assert {one.rule for one in found} == {"generation_ends", "no_end_of_text"}
    assert "never a target" in found[0].statement
    taught = audited(Loop(), generated=endless).report.findings
    assert [(one.rule, one.severity) for one in taught] == [("generation_ends", "note")]
    silent(audited(Loop(), generated=ended), "generation_ends", "no_end_of_text")


def test_ids_that_were_clamped_to_the_vocabulary(tokenizer: Any) -> None:
    highest = max(i for i in range(len(tokenizer)) if i != tokenizer.eos_token_id)
    model = fitting(tokenizer)
    sound = [[*tokenizer.encode(text), tokenizer.eos_token_id, tokenizer.eos_token_id] for text in ANSWERS]
    clamped = [[i if i != tokenizer.eos_token_id else highest for i in row] for row in sound]
    assert judged(model, tokenizer=tokenizer, generated=clamped)["generated_ids_clamped"].verdict == "finding"
    silent(watching(model, tokenizer=tokenizer, generated=sound), "generated_ids_clamped")


def test_texts_whose_spaces_were_deleted(tokenizer: Any) -> None:
    ids = [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in ANSWERS]

    def of(texts: list[str]) -> Audit:
        watched = {"generated": ids, "generated_texts": texts}
        return watching(fitting(tokenizer), tokenizer=tokenizer, **watched)

    found = verdicts(of([text.replace(" ", "") for text in ANSWERS]))["generated_text_altered"]
    assert found.verdict == "finding"
    assert "spaces" in found.statement
    silent(of(ANSWERS), "generated_text_altered")
    silent(of([text.split(" and ")[0] + " " for text in ANSWERS]), "generated_text_altered")  # cut at a stop string
    found = verdicts(of([text.upper() for text in ANSWERS]))["generated_text_altered"]
    assert "altered" in found.statement


class Letters:
    """A tokenizer of letters that knows no capitals; `spaced`: it keeps the spaces between them."""

    unk_token_id = 0

    def __init__(self, *, spaced: bool) -> None:
        self.spaced = spaced

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        known = [letter for letter in text if self.spaced or letter != " "]
        return [ord(letter) if letter.islower() or letter == " " else 0 for letter in known]

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(i) for i in ids)


def test_a_tokenizer_that_forgets_spaces(tokenizer: Any) -> None:
    found = judged(tokenizer=Letters(spaced=False), references=ANSWERS)["text_round_trip"]
    assert found.numbers["other_spaces"] == 6
    silent(watching(tokenizer=Letters(spaced=True), references=ANSWERS), "text_round_trip")
    found = judged(tokenizer=Letters(spaced=True), references=["UPPER case"])["text_round_trip"]
    assert "unknown" in found.statement
    silent(watching(tokenizer=Letters(spaced=True), references=["lower case"]), "text_round_trip")
    silent(watching(fitting(tokenizer), tokenizer=tokenizer, references=ANSWERS), "text_round_trip")


def test_ids_of_a_config_made_from_scratch(tokenizer: Any) -> None:
    """GPT-NeoX's own defaults are bos 0 and eos 2: ordinary tokens of most other tokenizers."""
    from transformers import GPTNeoXConfig

    fresh = GPTNeoXConfig()
    model = fitting(tokenizer)
    for one in (model.config, model.generation_config):
        one.bos_token_id, one.eos_token_id = fresh.bos_token_id, fresh.eos_token_id
    assert (fresh.bos_token_id, fresh.eos_token_id) == (0, 2)
    found = judged(model, tokenizer=tokenizer)["special_ids_agree"]
    ordinary = {f"config.{name}": i for name, i in (("bos", 0), ("eos", 2)) if i not in tokenizer.all_special_ids}
    assert found.verdict == "finding"
    assert ordinary.items() <= found.numbers.items()
    assert judged(fitting(tokenizer), tokenizer=tokenizer)["special_ids_agree"].verdict == "clear"
