from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.measures.continuation import Continuation, make_items
from tests.measures.small import HandBatch, byte_passage, log_probabilities, make_context, passage, random_probe

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"]


def text_probe(count: int, seed: int = 0) -> ProbeSet:
    generator = np.random.default_rng(seed)
    texts = [" ".join([*generator.choice(WORDS, 8), f"number{i}"]) for i in range(count)]
    return ProbeSet(name="p", passages=[byte_passage(text) for text in texts])


def test_items_are_four_endings_of_equal_length_behind_one_beginning() -> None:
    probe = text_probe(9)
    items = make_items(probe, 8)
    made = Continuation(ending_tokens=8).derived(probe)
    assert len(made) == 4 * len(items.passage) == 36
    for item, (row, split) in enumerate(zip(items.passage, items.split, strict=True)):
        own = probe.passages[row].token_ids
        choices = [made.passages[4 * item + choice] for choice in range(4)]
        assert all(np.array_equal(c.token_ids[:split], own[:split]) for c in choices)
        assert all(len(c) == split + 8 for c in choices)
        assert np.array_equal(choices[0].token_ids, own[: split + 8])
        assert len({c.token_ids.tobytes() for c in choices}) == 4
        assert own[split] == ord(" ") + 1  # it ends before a word
        assert split >= 8
        assert not (own[split + 1 : len(own) - 7] == ord(" ") + 1).any()  # before the last word that leaves 8 tokens
    # each ending is the right one once and a wrong one three times
    assert np.bincount(items.donors.ravel()).tolist() == [4] * 9
    assert items.donors[:, 0].tolist() == list(range(9))
    assert all(len(set(row)) == 4 for row in items.donors.tolist())


def test_items_depend_on_the_set_alone() -> None:
    first, again, other = (make_items(text_probe(9, seed), 8) for seed in (0, 0, 1))
    assert np.array_equal(first.donors, again.donors)
    assert not np.array_equal(first.donors, other.donors)


def test_without_white_space_the_ending_is_the_end() -> None:
    probe = random_probe("p", [20, 31, 9, 20, 40])
    items = make_items(probe, 8)  # the third is too short: 9 < 8 + 8
    assert items.passage.tolist() == [0, 1, 3, 4]
    assert items.split.tolist() == [12, 23, 12, 32]


def test_shared_endings_and_small_sets_are_left_out() -> None:
    a, b, c, d, e = (list(range(10 * i, 10 * i + 8)) for i in range(1, 6))
    four = ProbeSet(name="p", passages=[passage(x) for x in (a + b, b + c, c + b, d + a, e + d)])
    assert make_items(four, 8).passage.tolist() == [0, 1, 3, 4]  # the third ends as the first does
    three = ProbeSet(name="p", passages=four.passages[:4])
    assert len(make_items(three, 8).passage) == 0
    assert len(Continuation(ending_tokens=8).derived(three)) == 0


def answered(nll: np.ndarray, sizes: list[int]) -> Any:
    """What is reported for given NLLs [items, 4], with endings of two tokens that have these sizes in bytes."""
    passages = [
        Passage(
            text="",
            token_ids=np.array([1, 1, 2 * i, 2 * i + 1], dtype=np.int32),
            byte_offsets=np.array([0, 1, 2, 3, 2 + size], dtype=np.int32),
            source="",
            supervised=np.ones(4, dtype=bool),
        )
        for i, size in enumerate(sizes)
    ]
    probe = ProbeSet(name="p", passages=passages)
    measure = Continuation(ending_tokens=2)
    made = measure.derived(probe)
    look = measure.look(make_context(None, [probe]))
    rows = np.random.default_rng(0).permutation(16)
    look.see(HandBatch(made, rows.tolist(), nll=[[50.0, value / 4, value * 3 / 4] for value in nll.ravel()[rows]]))
    return look.result().arrays, make_items(probe, 2).donors


def test_accuracies_by_hand() -> None:
    nll = np.array([[1, 2, 3, 4], [2, 1, 3, 4], [4, 4, 4, 4], [1, 1, 2, 2]], dtype=float)
    observed, _ = answered(nll, [2, 2, 2, 2])
    assert observed["nll_nats"].values == pytest.approx(nll)
    # right; wrong; a tie of four; a tie of two
    assert float(observed["acc"][0]) == pytest.approx((1 + 0 + 0.25 + 0.5) / 4)
    assert float(observed["acc_se"][0]) == pytest.approx(np.std([1, 0, 0.25, 0.5], ddof=1) / 2)
    assert float(observed["acc_norm"][0]) == float(observed["acc"][0])  # all endings have the same size
    assert int(observed["n"][0]) == 4
    assert observed["acc"].attrs["chance"] == 0.25


def test_acc_norm_divides_by_the_bytes_of_each_ending() -> None:
    sizes = [8, 2, 2, 2]
    nll = np.array([[4.0, 3, 3, 3], [1, 9, 9, 9], [1, 9, 9, 9], [1, 9, 9, 9]])
    # the first item's own ending is less likely than the others, but 4 / 8 per byte against 3 / 2;
    # for the others the long ending, 9 / 8 per byte, loses against their own, 1 / 2
    observed, donors = answered(nll, sizes)
    assert [0 in row for row in donors.tolist()] == [True] * 4
    assert float(observed["acc"][0]) == 0.75
    assert float(observed["acc_norm"][0]) == 1.0


def test_what_is_not_a_number_is_not_an_accuracy() -> None:
    observed, _ = answered(np.full((4, 4), np.nan), [2, 2, 2, 2])
    assert np.isnan(observed["acc"][0])


def test_it_agrees_with_the_model(model: Any) -> None:
    probe = text_probe(6)
    measure = Continuation(ending_tokens=8)
    observed = run_stream_looks(make_context(model, [probe]), [measure])[0]["continuation"].arrays
    expected = []
    for choice in measure.derived(probe).passages:
        log_p = log_probabilities(model, choice.token_ids)
        places = np.arange(len(choice) - 8, len(choice))
        expected.append(-log_p[places - 1, choice.token_ids[places]].sum())
    assert observed["nll_nats"].values.ravel() == pytest.approx(expected, abs=1e-4)


def test_a_model_that_knows_nothing_is_at_chance(model: Any) -> None:
    probe = random_probe("p", [20] * 120)
    observations, _ = run_stream_looks(make_context(model, [probe], batch_tokens=2000), [Continuation(ending_tokens=8)])
    arrays = observations["continuation"].arrays
    assert abs(float(arrays["acc"][0]) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 120)
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()  # all continuations equally likely
    observations, _ = run_stream_looks(make_context(model, [probe], batch_tokens=2000), [Continuation(ending_tokens=8)])
    assert float(observations["continuation"].arrays["acc"][0]) == 0.25


def test_a_planted_continuation_is_found() -> None:
    # every passage repeats one token of its own: a model that copies finds its ending. Weights that copy, by hand:
    # no attention, no MLP, and a head equal to the embedding, so that the likeliest next token is the present one
    from tests.measures.small import make_model

    copier = make_model(dropout=0.0)
    with torch.no_grad():
        for layer in copier.gpt_neox.layers:
            layer.attention.dense.weight.zero_()
            layer.mlp.dense_4h_to_h.weight.zero_()
        copier.lm_head.weight.copy_(copier.gpt_neox.embed_in.weight * 100)
    probe = ProbeSet(name="p", passages=[passage([10 + i] * 20) for i in range(8)])
    observations, _ = run_stream_looks(make_context(copier, [probe]), [Continuation(ending_tokens=8)])
    assert float(observations["continuation"].arrays["acc"][0]) == 1.0
