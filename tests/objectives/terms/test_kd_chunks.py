"""Distillation across tokenizers: chunks, their probabilities against enumeration, and the bias of tokens."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ontogeny.core.errors import DataError, OntogenyError
from ontogeny.core.passages import Passage
from ontogeny.data.collate import collate
from ontogeny.data.tokenizer import encode, token_bytes, train_tokenizer
from ontogeny.models.companions import Companion, retokenized
from ontogeny.objectives.chunks import (
    Extensions,
    chunks_between,
    edges_of,
    nll_of,
    sums_between,
    tokenization_bias,
    white_space_ids,
)
from ontogeny.objectives.forward import FrozenForward
from ontogeny.objectives.terms.kd_chunks import KdChunks, log_rest
from tests.objectives.terms.pairs import accumulation_error, built, double, frozen, neox, slope_error, told, value
from tests.objectives.test_alignment import tokens
from tests.small_runs import WORDS

TEXTS = [" ".join(np.random.default_rng(i).choice(WORDS, 400)) for i in range(3)]
OURS, THEIRS = train_tokenizer(TEXTS[:1], 300), train_tokenizer([t[::-1] for t in TEXTS], 275)
"""The second has learned merges of the same words written backwards: few of them fit."""


def passages(count: int = 6) -> list[Passage]:
    """A few words each, of different lengths; some tokens are not supervised."""
    generator = np.random.default_rng(5)
    made = []
    for i in range(count):
        text = " ".join(generator.choice(WORDS, int(generator.integers(2, 6))))
        ids, offsets = encode(OURS, text)
        supervised = generator.random(len(ids)) < 0.9
        made.append(Passage(text=text, token_ids=ids, byte_offsets=offsets, source=f"{i}", supervised=supervised))
    return made


def student(seed: int = 1) -> Any:
    return neox(seed=seed, vocabulary=len(OURS))


def teacher(seed: int = 7) -> Companion:
    return replace(frozen(neox(seed=seed, vocabulary=len(THEIRS)), trained_with=OURS), tokenizer=THEIRS)


def log_p(model: Any, ids: list[int]) -> np.ndarray:
    """float64 [n, V], of what comes after each of the tokens: the whole model on one unpadded sequence."""
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().log_softmax(-1).numpy()


def starts_with_space(tokenizer: Any) -> list[int]:
    return [i for i, t in enumerate(token_bytes(tokenizer, len(tokenizer))) if t and t[:1].isspace()]


def by_definition(
    model: Any, master: Any, texts: list[Passage], *, temperature: float, boundary: float | None
) -> float:
    """Per byte of supervised text: walks over bytes, one passage at a time, with no code of ours but the tokenizers."""
    total = covered = 0.0
    for ours, theirs in zip(texts, retokenized(texts, THEIRS), strict=True):
        sides = []
        for own, passage, tokenizer in ((model, ours, OURS), (master, theirs, THEIRS)):
            table = log_p(own, passage.token_ids.tolist())
            gains = [table[t - 1, passage.token_ids[t]] for t in range(1, len(passage))]
            spaces = np.log(np.exp(table[:, starts_with_space(tokenizer)]).sum(1))
            sides.append((passage.byte_offsets.tolist(), gains, spaces, passage.supervised))
        covered += sum(np.diff(ours.byte_offsets)[1:] * ours.supervised[1:])
        begin = None
        common = sorted(set(sides[0][0]) & set(sides[1][0]))
        for byte, before in zip(common[1:], common, strict=False):
            whole = True
            for offsets, _, _, supervised in sides:
                inside = range(offsets.index(before), offsets.index(byte))
                whole &= all(t > 0 and supervised[t] for t in inside)
            if not whole:
                begin = None
                continue
            begin = before if begin is None else begin
            at = [offsets.index(byte) for offsets, _, _, _ in sides]
            if boundary is not None and math.exp(sides[1][2][at[1] - 1]) <= boundary:
                continue
            q, p = (
                sum(gains[offsets.index(begin) - 1 : offsets.index(byte) - 1]) + (spaces[i - 1] if boundary else 0)
                for (offsets, gains, spaces, _), i in zip(sides, at, strict=True)
            )
            p, q = math.exp(p / temperature), math.exp(q / temperature)
            total += temperature * (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))
            begin = byte
    return total / covered


@pytest.mark.parametrize("boundary", [None, 0.05, 0.058])
def test_by_definition(boundary: float | None) -> None:
    model, master, texts = student(), teacher(), passages()
    for temperature in (2.0, 100.0):
        objective = built(KdChunks(temperature=temperature, boundary=boundary), model, master)
        expected = by_definition(model, master.model, texts, temperature=temperature, boundary=boundary)
        assert expected > 0
        assert value(objective, model, texts) == pytest.approx(expected, rel=1e-3)


def test_chunks_by_hand() -> None:
    """[1, 2, 1, 1, 2] bytes against [1, 3, 1, 2] meet at 0, 1, 4, 5, 7; the last token of ours is not supervised.

    The first token is none's target, so the first edge that closes a supervised chunk is the one at byte 4.
    """
    ours = tokens(1, 2, 1, 1, 2)
    ours = replace(ours, supervised=np.array([1, 1, 1, 1, 0], dtype=bool))
    edges = edges_of([ours], [tokens(1, 3, 1, 2)])
    assert edges.ours.tolist() == [0, 1, 3, 4, 5]
    assert edges.theirs.tolist() == [0, 1, 2, 3, 4]
    assert edges.supervised.tolist() == [False, False, True, True, False]
    assert edges.goes_on.tolist() == [False, True, True, False, False]
    every = chunks_between(edges, np.ones(5, dtype=bool))
    assert (every.begin.tolist(), every.end.tolist()) == ([1, 2], [2, 3])
    joined = chunks_between(edges, np.array([True, True, False, True, True]))
    assert (joined.begin.tolist(), joined.end.tolist()) == ([1], [3])
    none = chunks_between(edges, np.zeros(5, dtype=bool))
    assert (none.begin.tolist(), none.end.tolist()) == ([], [])


def test_sums_between_by_hand() -> None:
    values = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    summed = sums_between(values, np.array([0, 1, 1]), np.array([1, 0, 2]), np.array([3, 2, 3]))
    assert summed.tolist() == [6.0, 24.0, 32.0]
    assert sums_between(values, *[np.zeros(0, dtype=np.int64)] * 3).tolist() == []


def test_the_rest_has_a_logarithm() -> None:
    """1 - p with p = 1/2, 1/e^20 and e^-1e-6: ln 1/2, -e^-20, ln 1e-6 (to 5e-7)."""
    rest = log_rest(torch.tensor([-math.log(2), -20.0, -1e-6], dtype=torch.float64))
    assert rest.tolist() == pytest.approx([-math.log(2), -math.exp(-20), math.log(1e-6) - 5e-7], rel=1e-9)


def exact_prefix(model: Any, spelled: tuple[bytes | None, ...], given: list[int], text: bytes) -> float:
    """Probability that the bytes behind `given` begin with `text`, over all chains of tokens: enumeration."""
    table = np.exp(log_p(model, given)[-1])
    total = 0.0
    for i, token in enumerate(spelled):
        if token is None:
            continue
        if token.startswith(text):
            total += table[i]
        elif text.startswith(token):
            total += table[i] * exact_prefix(model, spelled, [*given, i], text[len(token) :])
    return float(total)


def test_chunk_likelihoods_and_the_bias_against_enumeration() -> None:
    """A toy BPE of 275 tokens: all chains that spell each chunk of up to 3 bytes, given the canonical chain before it.

    The chunk's likelihood is one of these chains, so not above their sum; the bias that is told counts the covers of
    the last token and so lies between 0 and the exact one. Random weights prefer no chain: the canonical one misses
    nats. For chunks of one token of one byte no cover begins earlier: there, the two are the same.
    """
    master = teacher()
    (text,) = passages(1)
    spelled = token_bytes(THEIRS, len(THEIRS))
    (own,) = retokenized([replace(text, supervised=np.ones(len(text), dtype=bool))], THEIRS)
    batch: Any = collate([own], 0)
    same = replace(master, tokenizer=None)
    forward = FrozenForward(same, batch, needs=frozenset())
    nll = nll_of(forward)[0].double().numpy()
    gaps, exact_gaps, short = [], [], 0
    ids, offsets = own.token_ids.tolist(), own.byte_offsets.tolist()
    for begin in range(1, min(len(ids), 8)):
        for end in range(begin + 1, min(begin + 4, len(ids)) + 1):
            if offsets[end] - offsets[begin] > 3:
                continue
            chain = -nll[begin:end].sum()
            by_hand = sum(log_p(master.model, ids[:t])[-1, ids[t]] for t in range(begin, end))
            assert chain == pytest.approx(by_hand, rel=1e-4)
            content = text.text.encode()[offsets[begin] : offsets[end]]
            exact = math.log(exact_prefix(master.model, spelled, ids[:begin], content))
            bias = float(tokenization_bias(forward, torch.tensor([end - 2]), Extensions(spelled)))
            assert -1e-6 <= bias <= exact - chain + 1e-4
            if len(content) == 1:
                assert bias == pytest.approx(exact - chain, abs=1e-4)
                short += 1
            gaps.append(bias)
            exact_gaps.append(exact - chain)
    assert short > 3
    assert max(gaps) > 0.1
    assert max(exact_gaps) > 2


def test_tokens_that_extend_another_by_hand() -> None:
    """In order: a (1), ab (3), abc (0), b (2): ab and abc extend a, abc extends ab; id 4 has no bytes."""
    extensions = Extensions((b"abc", b"a", b"b", b"ab", None))
    assert extensions.order.tolist() == [1, 3, 0, 2]
    assert [extensions.of(i) for i in range(5)] == [(2, 3), (0, 3), (3, 4), (1, 3), (0, 0)]
    highest = Extensions((b"\xff", b"\xff\xff", b"a"))
    assert highest.of(0) == (1, 3)


def test_with_the_same_tokens_and_weights_there_is_nothing_to_learn() -> None:
    """Every token is a chunk; another teacher with the same tokens is far."""
    model, texts = student(), passages()
    for boundary in (None, 0.05):
        term = KdChunks(boundary=boundary)
        assert 0 <= value(built(term, model, frozen(student(), trained_with=OURS)), model, texts) < 1e-8
        assert value(built(term, model, frozen(student(2), trained_with=OURS)), model, texts) > 1e-3


def test_every_setting_changes_the_loss() -> None:
    model, texts = student(), passages()
    both = teacher(), replace(teacher(8), name="other")
    sides = [
        (KdChunks(boundary=0.05), KdChunks(boundary=0.05, teacher="other")),
        (KdChunks(boundary=None), KdChunks(boundary=None, divergence="reverse")),
        (KdChunks(boundary=None), KdChunks(boundary=None, divergence="jensen_shannon")),
        (
            KdChunks(boundary=None, divergence="jensen_shannon", beta=0.2),
            KdChunks(boundary=None, divergence="jensen_shannon", beta=0.8),
        ),
        (KdChunks(boundary=None, temperature=1.0), KdChunks(boundary=None)),
        (KdChunks(boundary=0.05), KdChunks(boundary=0.058)),
        (KdChunks(boundary=0.05), KdChunks(boundary=None)),
    ]
    for first, second in sides:
        one_value, other_value = (value(built(term, model, *both), model, texts) for term in (first, second))
        assert abs(one_value - other_value) > 1e-3 * abs(one_value)


@pytest.mark.parametrize(
    "term", [KdChunks(boundary=0.05), KdChunks(boundary=None, divergence="jensen_shannon", beta=0.3)]
)
def test_gradients_accumulation_and_padding(term: KdChunks) -> None:
    """Finite differences in float64; 8 pieces as 1; the teacher has no gradient."""
    model, master = student(), teacher()
    assert accumulation_error(built(term, model, master), model, passages()) < 1e-5
    double(model, master.model)
    assert slope_error(built(term, model, master), model, passages(2)) < 1e-4
    assert all(p.grad is None for p in master.model.parameters())


def test_the_bias_is_told_and_a_tokenizer_of_bytes_has_none() -> None:
    """Without merges no token extends another; its spelling is that of the bytes."""
    model, texts = student(), passages()
    biased = told(built(KdChunks(boundary=None), model, teacher()), model, texts)
    assert biased["kd_chunks_bias"] > 0.01
    bytes_alone = train_tokenizer(["a"], 257)
    plain = frozen(neox(seed=7, vocabulary=len(bytes_alone)), trained_with=OURS)
    unbiased = told(built(KdChunks(boundary=None), model, replace(plain, tokenizer=bytes_alone)), model, texts)
    assert unbiased["kd_chunks_bias"] == pytest.approx(0, abs=1e-6)


def test_pairs_and_settings_that_cannot_work_are_refused() -> None:
    model = student()
    with pytest.raises(OntogenyError, match="no token of the student is known to begin with it: write boundary: null"):
        white_space_ids((b"a", None, b"b "), "kd_chunks", "the student")
    with pytest.raises(DataError, match="without the trained model's tokenizer"):
        value(built(KdChunks(), model, replace(teacher(), trained_with=None)), model, passages(2))
    with pytest.raises(ValidationError, match="only to jensen_shannon"):
        KdChunks(beta=0.3)
