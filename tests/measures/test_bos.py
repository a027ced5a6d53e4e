"""With BOS in front, every measure sees the text: its numbers are those of plain passes over BOS and the text."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.data.bos import Bos
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.measures.cloze import find_words
from ontogeny.measures.compression import Compression
from ontogeny.measures.discoverable import Discoverable
from ontogeny.measures.evaluation import Evaluation
from ontogeny.measures.exposure import Exposure
from ontogeny.measures.extraction import Extraction
from ontogeny.measures.generation import Generation
from ontogeny.measures.questions import Questions
from ontogeny.measures.reproduction import Reproduction
from ontogeny.measures.token_nll import TokenNll
from tests.measures.small import byte_passage, log_probabilities, make_context, make_model

BOS = 290
TEXTS = ("The cat sat on the mat, and slept all day long.", "Every dog has its day, some say so.", "So it goes again")
COUNTS = pytest.mark.parametrize("ids", [(BOS,), (291, BOS)])


@pytest.fixture(scope="module")
def model() -> Any:
    return make_model(dropout=0.0)


def probe_of(ids: Sequence[int]) -> ProbeSet:
    bos = Bos(token_ids=tuple(ids))
    return ProbeSet(name="p", passages=[bos.before(byte_passage(text)) for text in TEXTS])


def look(model: Any, measure: Any, ids: Sequence[int]) -> Any:
    context = make_context(model, [probe_of(ids)], bos=tuple(ids))
    return run_stream_looks(context, [measure])[0][measure.group]


def direct(model: Any, ids: Sequence[int], text: str) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities [bytes, V] of every byte of the text after BOS and the bytes before it; and the bytes' ids."""
    own = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) + 1
    log_p = log_probabilities(model, np.concatenate([np.array(ids, dtype=np.int64), own]))
    return log_p[len(ids) - 1 : -1], own


@COUNTS
def test_token_nll_and_evaluation(model: Any, ids: tuple[int, ...]) -> None:
    """The text's first byte is predicted; what stands before it is not."""
    seen = look(model, TokenNll(), ids).arrays
    nll = [-log_p[np.arange(len(own)), own] for log_p, own in (direct(model, ids, text) for text in TEXTS)]
    expected = np.concatenate([[*[np.nan] * len(ids), *values] for values in nll])
    np.testing.assert_allclose(seen["nll_nats"].values, expected, atol=1e-4)
    assert (seen["rank"].values[: len(ids)] == -1).all()
    evaluated = look(model, Evaluation(), ids).arrays
    tokens = sum(len(text) for text in TEXTS)  # one token per byte, all of them predicted
    total = sum(values.sum() for values in nll)
    assert int(evaluated["n_tokens"][0]) == tokens
    assert float(evaluated["nll"][0]) == pytest.approx(total / tokens, abs=1e-4)
    assert float(evaluated["bits_per_byte"][0]) == pytest.approx(total / np.log(2) / tokens, abs=1e-4)
    assert evaluated["scored_tokens"].values.tolist() == [len(text) for text in TEXTS]


def greedy(model: Any, prompt: Sequence[int], count: int) -> list[int]:
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@COUNTS
def test_reproduction_and_extraction(model: Any, ids: tuple[int, ...]) -> None:
    """A third of the text's own bytes is given, after BOS; of an extraction k bytes after BOS."""
    model.eval()
    reproduced = look(model, Reproduction(min_tokens=16), ids).arrays
    extracted = look(model, Extraction(prefix_tokens=4, suffix_tokens=6, score=True), ids).arrays
    for row, text in enumerate(TEXTS):
        log_p, own = direct(model, ids, text)
        given = len(own) // 3
        written = greedy(model, [*ids, *own[:given].tolist()], len(own) - given)
        accuracy = float((np.array(written) == own[given:]).mean())
        assert float(reproduced["accuracy"][row]) == pytest.approx(accuracy)
        assert float(reproduced["total"][row]) == len(own) - given
        first_choice = log_p.argmax(axis=1) == own
        assert float(extracted["matched"][row]) == pytest.approx(first_choice[4:10].mean())
        suffix = greedy(model, [*ids, *own[:4].tolist()], 6)
        assert float(extracted["memorization_score"][row]) == pytest.approx((np.array(suffix) == own[4:10]).mean())
        # the shortest prefix goes through the last byte that is not the first choice; none is needed if all are
        needed = int(np.flatnonzero(~first_choice)[-1]) + 1 if (~first_choice).any() else 0
        assert float(extracted["strength"][row]) == pytest.approx(1 - needed / len(own))


def test_places_of_extractable_suffixes(model: Any) -> None:
    """A model that always writes byte 'x' extracts x's only, and only at the text's own positions."""
    constant = make_model(dropout=0.0)
    with torch.no_grad():
        constant.gpt_neox.final_layer_norm.weight.zero_()
        constant.gpt_neox.final_layer_norm.bias.fill_(1.0)
        constant.lm_head.weight.zero_()
        constant.lm_head.weight[ord("x") + 1] = 1.0
    probe = ProbeSet(name="p", passages=[Bos(token_ids=(BOS,)).before(byte_passage("abxxxxcd"))])
    measure = Extraction(prefix_tokens=2, suffix_tokens=4)
    seen = run_stream_looks(make_context(constant, [probe]), [measure])[0]["extraction"].arrays
    # tokens: BOS a b x x x x c d; the window's suffix is the four x's
    assert seen["in_extractable_suffix"].values.tolist() == [0, 0, 0, 1, 1, 1, 1, 0, 0]
    assert seen["extractable"].values.tolist() == [1.0]
    without = ProbeSet(name="p", passages=[byte_passage("abxxxxcd")])
    seen = run_stream_looks(make_context(constant, [without]), [measure])[0]["extraction"].arrays
    assert seen["in_extractable_suffix"].values.tolist() == [0, 0, 1, 1, 1, 1, 0, 0]


@COUNTS
def test_discoverable(model: Any, ids: tuple[int, ...]) -> None:
    seen = look(model, Discoverable(prefix_tokens=4, suffix_tokens=5, top_k=None), ids).arrays
    expected = []
    for text in TEXTS:
        log_p, own = direct(model, ids, text)
        expected.append(log_p[np.arange(4, 9), own[4:9]].sum())
    np.testing.assert_allclose(seen["log_p"].values, expected, atol=1e-4)


def test_compression_leaves_out_what_is_the_same_everywhere(model: Any) -> None:
    """BOS has one state in every passage: in the pool, its neighbours would be its copies, which score 23.03."""
    seen = look(model, Compression(k=2), (BOS,)).arrays
    score = seen["score"].values
    starts = np.cumsum([0, *(len(text) + 1 for text in TEXTS)])[:-1]
    assert np.isnan(score[:, starts]).all()
    assert int(seen.attrs["pool_tokens"]) == sum(len(text) for text in TEXTS)
    others = np.delete(score, starts, axis=1)
    assert np.isfinite(others).all()
    assert others.max() < 20
    first = len(TEXTS[0])
    np.testing.assert_allclose(seen["passage_score"].values[:, 0], others[:, :first].mean(axis=1), rtol=1e-5)
    as_text = replace_bos(probe_of((BOS,)))
    counted = run_stream_looks(make_context(model, [as_text]), [Compression(k=2)])[0]["compression"].arrays
    assert counted["score"].values.max() == pytest.approx(23.03, abs=0.01)


def replace_bos(probe: ProbeSet) -> ProbeSet:
    """The same tokens, BOS taken for text."""
    passages: list[Passage] = [replace(passage, bos_tokens=0) for passage in probe.passages]
    return ProbeSet(name=probe.name, passages=passages)


def test_prompts_of_generation_questions_and_secrets(model: Any) -> None:
    """What is fed to the model begins with BOS; what is compared is the text after it."""
    model.eval()
    context = make_context(model, [probe_of((BOS,))], bos=(BOS,))
    observed = Generation(prompts=1, prompt_tokens=8, new_tokens=6, draws=0).look(context)
    own = np.frombuffer(TEXTS[0].encode(), dtype=np.uint8).astype(int) + 1
    expected = greedy(model, [BOS, *own[:8].tolist()], 6)
    kept = expected[: expected.index(0)] if 0 in expected else expected
    assert observed.samples[0]["text"] == context.tokenizer.decode(kept)
    assert observed.samples[0]["reference"] == TEXTS[0][8:14]

    asked = Questions(at_most=1, new_tokens=5).look(context)
    question = np.frombuffer(str(asked.samples[0]["prompt"]).encode(), dtype=np.uint8).astype(int) + 1
    answer = context.tokenizer.decode(greedy(model, [BOS, *question.tolist()], 5))
    assert asked.samples[0]["text"] == next(iter(answer.strip().splitlines()), "")

    canary = Bos(token_ids=(BOS,)).before(byte_passage("The code is 4 7"))
    exposed = Exposure(references=15).look(make_context(model, [ProbeSet(name="p", passages=[canary])], bos=(BOS,)))
    log_p, ids = direct(model, (BOS,), "The code is 4 7")
    secret = -log_p[np.arange(11, 15), ids[11:15]].sum()  # " 4 7", after eleven bytes
    assert float(exposed.arrays["secret_nll"][0]) == pytest.approx(secret, abs=1e-4)


def test_cloze_has_the_same_words(model: Any) -> None:
    words = find_words(probe_of((BOS,)))
    plain = find_words(ProbeSet(name="p", passages=[byte_passage(text) for text in TEXTS]))
    assert (words.first - 1).tolist() == plain.first.tolist()
    one_word = ProbeSet(name="p", passages=[Bos(token_ids=(BOS,)).before(byte_passage("Hello."))])
    assert not len(find_words(one_word).first)  # nothing stands before the word but BOS
