"""Frozen models beside the trained one: the same passages, in their own tokens where need be."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage
from ontogeny.data.collate import collate
from ontogeny.data.tokenizer import encode_batch, end_of_text_id, train_tokenizer
from ontogeny.models.companions import freeze, retokenized
from ontogeny.objectives.alignment import common_edges
from ontogeny.objectives.forward import CompanionForwards
from tests.measures.small import make_model, random_probe

TEXTS = ["the old bird sat on the cold stone", "a red bird flew over the old stone", "cold water over red stones"] * 20


def passage(text: str, tokenizer, *, ended: bool = False, from_byte: int = 0) -> Passage:  # type: ignore[no-untyped-def]
    """A passage of our tokens; supervised from a byte on."""
    ((ids, offsets),) = encode_batch(tokenizer, [text])
    supervised = offsets[:-1] >= from_byte
    if ended:
        ids, offsets = np.append(ids, np.int32(end_of_text_id(tokenizer))), np.append(offsets, offsets[-1])
        supervised = np.append(supervised, True)
    return Passage(text=text, token_ids=ids, byte_offsets=offsets, source="by hand", supervised=supervised)


@pytest.fixture(scope="module")
def tokenizers():  # type: ignore[no-untyped-def]
    """One of single bytes, nearly; one that has merged whole words."""
    return train_tokenizer(TEXTS, 258), train_tokenizer(TEXTS, 300)


def test_the_same_text_in_other_tokens(tokenizers) -> None:  # type: ignore[no-untyped-def]
    """Same bytes; supervised where a token's first byte was; an end of text stays one."""
    small, large = tokenizers
    ours = passage(TEXTS[0], large, ended=True, from_byte=7)  # from " bird" on
    (theirs,) = retokenized([ours], small)
    assert theirs.text == ours.text
    assert theirs.byte_offsets[-1] == ours.byte_offsets[-1] == len(TEXTS[0])
    assert theirs.token_ids[-1] == end_of_text_id(small)
    assert theirs.supervised[:-1].tolist() == [bool(start >= 7) for start in theirs.byte_offsets[:-2]]
    a, b = common_edges(ours, theirs)
    assert ours.byte_offsets[a].tolist() == theirs.byte_offsets[b].tolist()
    assert len(a) == len(ours)  # every edge of the merged tokens is one of the single bytes, too
    (back,) = retokenized([theirs], large)
    assert back.token_ids.tolist() == ours.token_ids.tolist()


def test_its_forward_pass_is_the_models_own(tokenizers) -> None:  # type: ignore[no-untyped-def]
    """Logits equal those of the model on the retokenized text, without gradients, without drawing a random number."""
    small, large = tokenizers
    model = make_model(vocabulary=len(small), dropout=0.5)
    companion = freeze("teacher", model, small, large, {})
    assert companion.tokenizer is small
    ours = [passage(text, large) for text in TEXTS[:3]]
    before = torch.get_rng_state()
    forward = CompanionForwards({"teacher": companion}, collate(ours, 0), frozenset({"logits", "hidden_states"}))
    theirs = forward["teacher"]
    assert torch.equal(torch.get_rng_state(), before)
    assert not theirs.logits.requires_grad
    for row, own in enumerate(retokenized(ours, small)):
        with torch.no_grad():
            alone = model(input_ids=torch.from_numpy(own.token_ids.astype(np.int64))[None]).logits[0]
        assert torch.allclose(theirs.logits[row, : len(own)], alone, atol=1e-5)
        assert theirs.passages[row].token_ids.tolist() == own.token_ids.tolist()
    assert len(theirs.hidden_states) == 3


def test_the_same_tokenizer_shares_the_batch(tokenizers) -> None:  # type: ignore[no-untyped-def]
    _, large = tokenizers
    companion = freeze("teacher", make_model(vocabulary=len(large)), large, large, {})
    batch = collate([passage(TEXTS[0], large)], 0)
    assert companion.tokenizer is None
    assert companion.read(batch) is batch


def test_what_it_cannot_read_is_refused(tokenizers) -> None:  # type: ignore[no-untyped-def]
    small, large = tokenizers
    same = freeze("teacher", make_model(vocabulary=280), large, large, {})
    with pytest.raises(DataError, match="knows 280 token ids, the tokenizer has 300"):
        same.check(random_probe("x", [5]).passages, vocabulary=300)
    with pytest.raises(DataError, match="has 200 tokens for the companion 'teacher', whose context holds 128"):
        same.check(random_probe("x", [5, 200]).passages, vocabulary=280)
    other = freeze("teacher", make_model(vocabulary=len(small)), small, large, {})
    long = passage(" ".join(TEXTS[:5]), large)
    with pytest.raises(DataError, match="for the companion 'teacher'"):
        other.read(collate([long], 0))
    with pytest.raises(DataError, match="needs the passages' text"):
        other.read({"input_ids": torch.zeros(1, 2, dtype=torch.long)})


def test_side_inputs_are_padded_with_zeros_and_must_be_everywhere(tokenizers) -> None:  # type: ignore[no-untyped-def]
    _, large = tokenizers
    one, two = (passage(text, large) for text in TEXTS[:2])
    one = replace(one, sides={"voice": np.ones((1, 2), dtype=np.float32)})
    two = replace(two, sides={"voice": np.full((2, 2), 3, dtype=np.float32)})
    assert collate([one, two], 0).sides["voice"].tolist() == [[[1, 1], [0, 0]], [[3, 3], [3, 3]]]
    assert one.fingerprint != replace(one, sides={}).fingerprint
    with pytest.raises(KeyError):
        collate([one, replace(two, sides={})], 0)
