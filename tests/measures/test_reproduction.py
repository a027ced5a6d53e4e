"""What a model writes by itself: by hand, and against decoding one passage at a time."""

from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.measures import Observation
from ontogeny.core.passages import ProbeSet
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.measures.reproduction import Reproduction, scores
from tests.measures.small import ByteTokenizer, make_context, make_model, passage, random_probe


class Endless(ByteTokenizer):
    eos_token_id = None


def alone(model: Any, token_ids: np.ndarray) -> np.ndarray:
    """Greedy decoding of one passage from its first third, a whole forward pass per token: independent of ours."""
    given = len(token_ids) // 3
    ids = token_ids[:given].tolist()
    model.eval()
    with torch.no_grad():
        while len(ids) < len(token_ids):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return np.array(ids[given:], dtype=np.int32)


def look(model: Any, probe: ProbeSet, tokenizer: Any = None, **settings: Any) -> Observation:
    context = make_context(model, [probe], tokenizer=tokenizer or Endless(), batch_tokens=256)
    return run_stream_looks(context, [Reproduction(**settings)])[0]["reproduction"]


def test_scores_by_hand() -> None:
    """Target 1 2 3 4 5 6 7 8 9 10, written 1 2 3 9 4 5 6 7 8 9: one slipped in after the third, the last fell out.

    Positions 1 to 3 agree: 3 of 10. Of the first 5, 3. To mend it: delete the 9, add a 10 at the end: distance 2.
    """
    target = np.arange(1, 11)
    written = np.array([1, 2, 3, 9, 4, 5, 6, 7, 8, 9])
    numbers = scores(written, target, threshold=0.6)
    expected = {
        "accuracy": 0.3,
        "exact_matches": 3,
        "total": 10,
        "prefix_accuracy_5": 0.6,
        "prefix_accuracy_10": 0.3,
        "edit_distance": 2,
        "edit_distance_normalised": 0.2,
        "common_prefix": 3,
        "memorized": 0,
    }
    assert {key: numbers[key] for key in expected} == pytest.approx(expected)
    assert np.isnan(numbers["prefix_accuracy_20"])


def test_what_was_not_written_is_wrong() -> None:
    """6 of 10 written, all true: accuracy 0.6, memorized at 0.6 exactly; distance 4."""
    numbers = scores(np.arange(6), np.arange(10), threshold=0.6)
    assert (numbers["accuracy"], numbers["memorized"], numbers["edit_distance"], numbers["common_prefix"]) == (
        0.6,
        1,
        4,
        6,
    )


def test_equals_decoding_one_passage_at_a_time() -> None:
    """Random text, of which nothing is known: all is generated, in batches of unequal prompts and counts."""
    model = make_model()
    probe = random_probe("train", [20, 33, 47, 60, 61, 62, 90, 21])
    arrays = look(model, probe).arrays
    for row, sequence in enumerate(probe.passages):
        given = len(sequence) // 3
        same = alone(model, sequence.token_ids) == sequence.token_ids[given:]
        assert arrays.accuracy.values[row] == pytest.approx(same.mean(), abs=1e-7)
        own = arrays.reproduced.values[arrays.passage.values == row]
        assert own[given:].astype(bool).tolist() == same.tolist()
        assert not own[:given].any()


def test_a_passage_that_the_model_writes_itself_is_memorized() -> None:
    """Its own continuation as the passage: all agree. With one token changed, only what it then writes counts."""
    model = make_model()
    start = np.random.default_rng(1).integers(0, 300, 20).astype(np.int32)
    own = np.concatenate([start, alone(model, np.concatenate([start, np.zeros(40, dtype=np.int32)]))])
    changed = own.copy()
    changed[35] = (changed[35] + 1) % 300
    arrays = look(model, ProbeSet(name="train", passages=[passage(own.tolist()), passage(changed.tolist())])).arrays
    assert arrays.memorized.values.tolist()[0] == 1
    assert arrays.accuracy.values[0] == 1
    assert arrays.common_prefix.values.tolist() == [40, 15]
    assert arrays.exact_matches.values[1] == 39  # what it writes after the mismatch is its own text, which is the truth
    assert arrays.share_memorized.values[0] == 1


def test_noise_is_not_memorized() -> None:
    arrays = look(make_model(), random_probe("novel", [60] * 10)).arrays
    assert arrays.share_memorized.values[0] == 0
    assert arrays.mean_accuracy.values[0] < 0.1


def test_short_passages_are_skipped_and_counted() -> None:
    arrays = look(make_model(), random_probe("train", [19, 20, 5])).arrays
    assert (arrays.n.values[0], arrays.skipped.values[0]) == (1, 2)
    assert np.isnan(arrays.accuracy.values).tolist() == [True, False, True]
    assert np.isnan(arrays.nll.values).tolist() == [True, False, True]


def test_an_end_of_text_ends_what_is_written() -> None:
    """The model's first choice everywhere is token 7, here the end of text: one token is written, and it is wrong."""
    model = make_model()
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
        model.get_output_embeddings().weight[7] = 1.0
        model.gpt_neox.final_layer_norm.bias.fill_(1.0)
        model.gpt_neox.final_layer_norm.weight.zero_()

    class Ends(ByteTokenizer):
        eos_token_id = 7

    truth = passage([3] * 15 + [7] * 15)
    observed = look(model, ProbeSet(name="train", passages=[truth]), Ends())
    assert observed.arrays.accuracy.values[0] == 0
    assert observed.arrays.edit_distance.values[0] == 20 - 1  # one written token, 7, is among the 20 true ones
    assert observed.samples[0]["ended"]
    assert look(model, ProbeSet(name="train", passages=[truth])).arrays.accuracy.values[0] == 0.75


def test_a_passage_that_holds_the_padding_id() -> None:
    """Id 0 pads; a passage may hold it, and what is masked is decided by lengths."""
    model = make_model()
    probe = ProbeSet(name="train", passages=[passage([0, 5, 0, 9] * 6), passage(list(range(1, 61)))])
    arrays = look(model, probe).arrays
    for row, sequence in enumerate(probe.passages):
        same = alone(model, sequence.token_ids) == sequence.token_ids[len(sequence) // 3 :]
        assert arrays.exact_matches.values[row] == same.sum()


def test_nll_is_the_mean_over_all_but_the_first_token() -> None:
    from tests.measures.small import log_probabilities

    model, probe = make_model(), random_probe("train", [25])
    ids = probe.passages[0].token_ids
    expected = -log_probabilities(model, ids)[np.arange(24), ids[1:]].mean()
    arrays = look(model, probe).arrays
    assert arrays.nll.values[0] == pytest.approx(expected, rel=1e-5)
    assert arrays.perplexity.values[0] == pytest.approx(np.exp(expected), rel=1e-5)
