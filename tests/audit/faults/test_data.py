"""Faults of the data, each beside the same loop without it."""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch

from tests.audit.judging import audited, findings, findings_with, silent
from tests.audit.loops import END, VOCABULARY, Loop, rows

WORDS = np.array([f"word{i}" for i in range(400)])


def texts(count: int, seed: int, *, template: str = "", words: int = 40) -> list[str]:
    draw = np.random.default_rng(seed)
    return [template + " ".join(draw.choice(WORDS, words)) for _ in range(count)]


@pytest.mark.slow
def test_a_validation_text_that_is_trained_on() -> None:
    train, validation = texts(50, 0), texts(20, 1)
    found = findings(Loop(), train_texts=train, validation_texts=[*validation, train[3].upper()])
    assert set(found) == {"validation_in_training"}
    assert found["validation_in_training"].numbers["exact"] == 1
    others = [*validation, texts(1, 2)[0].upper()]
    silent(audited(Loop(), train_texts=train, validation_texts=others), "validation_in_training")


@pytest.mark.slow
def test_a_passage_that_is_trained_on() -> None:
    train, validation = texts(50, 0), texts(20, 1)

    def quoting(text: str) -> list[str]:
        return [*validation, "and so " + " ".join(text.split()[:30])]

    found = findings(Loop(), train_texts=train, validation_texts=quoting(train[3]))["validation_in_training"]
    # 20 texts of 40 words have 28 runs of 13 words each; the one of 32 words has 20, of which 18 are of the train text.
    assert found.numbers["gram_rate"] == pytest.approx(18 / (20 * 28 + 20))
    assert found.numbers["exact"] == 0
    others = quoting(texts(1, 2)[0])
    silent(audited(Loop(), train_texts=train, validation_texts=others), "validation_in_training")


def test_a_template_that_all_texts_share_is_no_leak() -> None:
    template = " ".join(f"common{i}" for i in range(30)) + " "
    train, validation = texts(50, 0, template=template), texts(20, 1, template=template)
    silent(audited(Loop(), train_texts=train, validation_texts=validation), "validation_in_training")


@pytest.mark.slow
def test_two_beginnings_of_text() -> None:
    def data(number: int, *, twice: bool) -> dict[str, torch.Tensor]:
        batch = rows(4, number)
        batch["input_ids"][:, 0] = END  # begin and end are one token in this model's config
        batch["input_ids"][:, 1] = END if twice else 5
        return {**batch, "labels": torch.where(batch["attention_mask"].bool(), batch["input_ids"], -100)}

    assert set(findings(Loop(data=lambda n: data(n, twice=True)))) == {"double_begin"}
    silent(audited(Loop(data=lambda n: data(n, twice=False))), "double_begin")


@pytest.mark.slow
def test_truncation_that_eats_the_answer() -> None:
    def data(number: int, longest: int) -> dict[str, torch.Tensor]:
        """Prompts of 2 to 30 tokens and an answer of 6, cut at `longest`."""
        draw = torch.Generator().manual_seed(number)
        ids = torch.randint(2, VOCABULARY, (4, 36), generator=draw)
        prompt = torch.randint(2, 31, (4, 1), generator=draw)
        place = torch.arange(36)[None]
        mask = (place < prompt + 6).long()
        ids = torch.where(place == prompt + 5, END, torch.where(mask.bool(), ids, 0))
        labels = torch.where((place >= prompt) & mask.bool(), ids, -100)
        return {
            name: one[:, :longest] for name, one in {"input_ids": ids, "attention_mask": mask, "labels": labels}.items()
        }

    found = findings(Loop(data=lambda n: data(n, 20)))
    assert set(found) == {"rows_without_targets"}
    eaten = sum(int((data(n, 20)["labels"][:, 1:] == -100).all(dim=1).sum()) for n in range(12))
    assert eaten > 3
    assert found["rows_without_targets"].numbers["without_targets"] == eaten
    assert found["rows_without_targets"].numbers["of_full_length"] == eaten
    silent(audited(Loop(data=lambda n: data(n, 36))), "rows_without_targets")


def packed(number: int, *, anew: bool, heeded: bool = True) -> dict[str, Any]:
    """Two documents of 20 tokens in a row; `anew`: position ids begin anew; `heeded`: as the model needs it."""
    ids = rows(4, number, shortest=20)["input_ids"].view(2, 40)
    batch: dict[str, Any] = {"input_ids": ids, "labels": ids.clone()}
    if anew:
        batch["position_ids"] = torch.arange(20).repeat(2).expand(2, 40)
        batch["labels"][:, 20] = -100
        batch |= {"use_cache": not heeded}
    return batch


def test_documents_that_see_each_other() -> None:
    # While a cache is kept, position ids that begin anew are not heeded; without one the model makes a mask of them.
    found = findings(Loop(own_loss=True, data=lambda n: packed(n, anew=True, heeded=False)))
    assert set(found) == {"packing_leaks"}
    assert found["packing_leaks"].severity == "warning"
    silent(audited(Loop(own_loss=True, data=lambda n: packed(n, anew=True))), "packing_leaks")


@pytest.mark.slow
def test_documents_one_behind_the_other_as_in_pretraining_are_a_note() -> None:
    found = findings(Loop(own_loss=True, data=lambda n: packed(n, anew=False)))
    assert set(found) == {"packing_leaks"}
    assert found["packing_leaks"].severity == "note"
    silent(audited(Loop(own_loss=True, data=lambda n: packed(n, anew=True))), "packing_leaks")


def showing(ids: list[list[Any]]) -> Any:
    """Tells the audit before each forward pass of its batch's ids; the model runs again after the last."""
    return lambda audit, at: audit.watch(ids=ids[at]) if at < len(ids) else None


def seen(loop: Loop, ids: list[list[Any]], **watched: Any) -> dict[str, Any]:
    """Findings of a loop whose batches have these ids."""
    return findings_with(loop, showing(ids), **watched)


def epochs(examples: int, count: int, batch: int = 4) -> list[list[Any]]:
    """Batches of a permutation of the examples in each epoch."""
    draw = np.random.default_rng(0)
    order = np.concatenate([draw.permutation(examples) for _ in range(count)])
    return order.reshape(-1, batch).tolist()


def test_examples_of_two_epochs_are_clear() -> None:
    two = audited(Loop(steps=10), showing(epochs(20, 2)), examples=20)
    silent(two, "index_out_of_range", "examples_in_an_epoch")


def test_examples_that_come_back_too_early() -> None:
    drawn = np.random.default_rng(0).integers(0, 100, (12, 4)).tolist()  # with replacement
    assert set(findings_with(Loop(), showing(drawn), examples=100)) == {"examples_in_an_epoch"}
    permuted = epochs(100, 1)[:12]
    silent(audited(Loop(), showing(permuted), examples=100), "examples_in_an_epoch")


def test_examples_that_are_never_seen() -> None:
    ids = epochs(20, 2)
    found = findings_with(Loop(steps=10), showing(ids), examples=100)["examples_in_an_epoch"]
    assert found.numbers["before_one_comes_back"] == 20
    assert "never seen" in found.statement
    silent(audited(Loop(steps=10), showing(ids), examples=20), "examples_in_an_epoch")


@pytest.mark.slow
def test_indices_beyond_the_examples_and_clamped_ones() -> None:
    ids = np.arange(48).reshape(12, 4)
    assert set(findings_with(Loop(), showing(ids.tolist()), examples=40)) == {"index_out_of_range"}
    silent(audited(Loop(), showing(ids.tolist()), examples=48), "index_out_of_range")
    clamped = findings_with(Loop(), showing(np.minimum(ids, 30).tolist()))  # 17 ids, 31 to 47, have become 30
    assert set(clamped) == {"index_out_of_range"}
    assert clamped["index_out_of_range"].numbers["times"] == 18
    silent(audited(Loop(), showing(ids.tolist())))  # of how many examples is not known: not assessable


def encode(several: list[str]) -> np.ndarray:
    """A stand-in for an encoder: a vector that depends on the text alone."""
    seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) for text in several]
    return np.stack([np.random.default_rng(seed).standard_normal(16) for seed in seeds])


def test_embeddings_that_belong_to_the_next_text() -> None:
    def paired(shift: int) -> Any:
        many = texts(48, 0)
        vectors = torch.tensor(np.roll(encode(many), shift, axis=0))

        def watch(audit: Any, at: int) -> Any:
            here = slice(4 * at, 4 * at + 4)
            return audit.watch(embeddings=vectors[here], texts=many[here]) if at < 12 else None

        return audited(Loop(), watch, encode=encode)

    assert {one.rule for one in paired(1).report.findings} == {"pairing_broken"}
    silent(paired(0), "pairing_broken")


def test_an_epoch_that_begins_again() -> None:
    whole = epochs(48, 3)
    again = seen(Loop(), [*whole[:4], *whole[:8]], examples=48)  # a resume after four batches begins anew
    assert set(again) == {"examples_in_an_epoch"}
    # 16 examples, then the same 16.
    assert again["examples_in_an_epoch"].statement.startswith("after 16 of 48 examples the same ones come again: 16")
    assert seen(Loop(steps=30), whole[6:], examples=48) == {}  # a resume in the middle of an epoch goes on


@pytest.mark.slow
def test_a_licence_and_a_short_answer_are_no_leak() -> None:
    licence = " this work is licensed under the terms of a licence of sixteen words and may be shared"
    train, validation = texts(200, 0), texts(40, 1)
    licensed = [text + licence for text in train[:4]], [text + licence for text in validation[:8]]
    assert findings(Loop(), train_texts=train + licensed[0], validation_texts=validation + licensed[1]) == {}
    answered = findings(
        Loop(), train_texts=[*train, "I do not know that"], validation_texts=[*validation, "i do not know that!"]
    )
    assert answered["validation_in_training"].severity == "note"
    leaked = findings(Loop(), train_texts=train, validation_texts=[*validation, *train[:4]])["validation_in_training"]
    # 4 of 44 texts of 40 words each.
    assert leaked.severity == "error"
    assert leaked.numbers["share"] == pytest.approx(4 / 44)
    assert findings(Loop(), train_texts=train, validation_texts=validation) == {}


@pytest.mark.slow
def test_few_indices_that_are_clamped() -> None:
    """8 of 96 indices are beyond the last example, once and in two shuffled epochs."""
    loop = Loop(steps=24)
    found = seen(loop, np.minimum(np.arange(96), 87).reshape(24, 4).tolist())
    assert set(found) == {"index_out_of_range"}
    assert found["index_out_of_range"].numbers["times"] == 9
    assert seen(loop, np.arange(96).reshape(24, 4).tolist()) == {}
    twice = seen(loop, np.minimum(epochs(48, 2), 43).tolist())
    assert twice["index_out_of_range"].numbers["times"] == 10
    assert seen(loop, epochs(48, 2)) == {}
    assert seen(loop, np.random.default_rng(0).integers(0, 40, (24, 4)).tolist()) == {}  # drawn with replacement


@pytest.mark.slow
def test_indices_that_are_clamped_after_they_were_watched() -> None:
    def data(number: int, last: int) -> dict[str, torch.Tensor]:
        parts = [rows(1, min(at, last)) for at in range(4 * number, 4 * number + 4)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    ids = np.arange(48).reshape(12, 4).tolist()
    found = seen(Loop(data=lambda n: data(n, 41)), ids)
    assert set(found) == {"index_out_of_range"}
    assert "the 7 largest ids, from 41 on" in found["index_out_of_range"].statement
    assert seen(Loop(data=lambda n: data(n, 47)), ids) == {}


def paired(vectors: Any, at: list[Any] | None = None) -> dict[str, Any]:
    """Findings where 48 texts come with these vectors, and their batches with these ids."""
    many = texts(48, 0)

    def watch(audit: Any, step: int) -> Any:
        here = slice(4 * step, 4 * step + 4)
        if step < 12:
            audit.watch(embeddings=torch.tensor(vectors[here]), texts=many[here], ids=(at or list(range(48)))[here])

    return {one.rule: one for one in audited(Loop(), watch, encode=encode, examples=48).report.findings}


def test_an_index_within_a_split_that_is_used_on_the_whole() -> None:
    """Two shards of 24 texts: the index of a text within its own shard looks up a vector among all."""
    own = encode(texts(48, 0))
    local = [at % 24 for at in range(48)]
    found = paired(own[local], local)
    assert set(found) == {"pairing_broken", "examples_in_an_epoch"}
    assert found["pairing_broken"].numbers["share_near"] == pytest.approx(0.5, abs=0.1)  # the first shard is right
    assert "24 were never seen" in found["examples_in_an_epoch"].statement
    assert paired(own) == {}


@pytest.mark.slow
def test_vectors_of_another_file_and_of_the_last_text() -> None:
    own, of_train = encode(texts(48, 0)), encode(texts(48, 5))
    assert set(paired(of_train)) == {"pairing_broken"}  # the vectors of the training file for validation's texts
    assert set(paired(own[np.minimum(np.arange(48), 39)])) == {"pairing_broken"}  # 8 of 48 get the last one's
    assert paired(own) == {}
