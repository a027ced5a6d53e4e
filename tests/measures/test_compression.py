"""Compression of a model's states, against the definition computed token by token in float64."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.measures import Observation
from ontogeny.core.passages import ProbeSet
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.measures.compression import Compression
from tests.looking.test_neighbours import brute_force
from tests.measures.small import make_context, make_model, passage, random_probe


def scored(at: np.ndarray, after: np.ndarray, k: int) -> np.ndarray:
    """The definition, token by token, in float64."""
    neighbours = brute_force(torch.from_numpy(at), k)
    return np.array([-math.log(after[rows].astype(np.float64).var(axis=0).sum() + 1e-10) for rows in neighbours])


def states_of(model: Any, probe: ProbeSet, *, raw_last: bool = False) -> list[np.ndarray]:
    """States after each block of every passage, one passage at a time: independent of ours."""
    rows: list[list[np.ndarray]] = []
    model.eval()
    caught: list[torch.Tensor] = []
    hook = model.gpt_neox.final_layer_norm.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    for sequence in probe.passages:
        ids = torch.from_numpy(sequence.token_ids.astype(np.int64))[None]
        with torch.no_grad():
            hidden = list(model(input_ids=ids, output_hidden_states=True).hidden_states[1:])
        if raw_last:
            hidden[-1] = caught[-1]
        rows.append([state[0].numpy() for state in hidden])
    hook.remove()
    return [np.concatenate(layer) for layer in zip(*rows, strict=True)]


def look(model: Any, sets: list[ProbeSet], **settings: Any) -> Observation:
    return run_stream_looks(make_context(model, sets), [Compression(**settings)])[0]["compression"]


def test_scores_of_a_model_follow_the_definition() -> None:
    model = make_model()
    probes = [random_probe("train", [30, 21], seed=0), random_probe("novel", [25], seed=1)]
    whole = ProbeSet(name="all", passages=[*probes[0].passages, *probes[1].passages])
    first, second = states_of(model, whole)
    observed = look(model, probes, k=5).arrays
    expected = scored(first, second, 5)
    assert observed.score.shape == (1, 76)
    np.testing.assert_allclose(observed.score.values[0], expected, rtol=1e-5)
    means = [expected[:30].mean(), expected[30:51].mean(), expected[51:].mean()]
    np.testing.assert_allclose(observed.passage_score.values[0], means, rtol=1e-5)
    neighbours = brute_force(torch.from_numpy(first), 5)
    ratio = [
        math.log(first[n].astype(np.float64).var(axis=0).sum() / second[n].astype(np.float64).var(axis=0).sum())
        for n in neighbours
    ]
    np.testing.assert_allclose(observed.scale_free.values[0], ratio, rtol=1e-4)


def test_without_the_final_norm() -> None:
    model = make_model()
    probes = [random_probe("train", [40]), random_probe("novel", [30], seed=1)]
    whole = ProbeSet(name="all", passages=[*probes[0].passages, *probes[1].passages])
    first, second = states_of(model, whole, raw_last=True)
    observed = look(model, probes, k=5, final_norm=False).arrays
    np.testing.assert_allclose(observed.score.values[0], scored(first, second, 5), rtol=1e-4)


def test_equal_passages_stand_in_the_pool_once() -> None:
    """A passage in both sets scores as it does alone in one: its copy is no neighbour of it at distance 0."""
    model = make_model()
    shared, other = random_probe("x", [30, 30]).passages
    twice = look(model, [ProbeSet(name="train", passages=[shared, other]), ProbeSet(name="novel", passages=[shared])])
    once = look(model, [ProbeSet(name="train", passages=[shared, other])])
    np.testing.assert_allclose(twice.arrays.score.values[0, :60], once.arrays.score.values[0], rtol=1e-6)
    np.testing.assert_array_equal(twice.arrays.score.values[0, 60:], twice.arrays.score.values[0, :30])


def test_identical_states_score_what_the_definition_says() -> None:
    """One token over and over at every position would differ by position; so the model is made to forget its input."""
    model = make_model()
    with torch.no_grad():
        for parameter in model.gpt_neox.parameters():
            parameter.zero_()
    observed = look(model, [ProbeSet(name="train", passages=[passage([5] * 20)])], k=5)
    np.testing.assert_allclose(observed.arrays.score.values, -math.log(1e-10), rtol=1e-6)
    np.testing.assert_allclose(observed.arrays.scale_free.values, 0, atol=1e-6)


def test_the_pool_is_train_and_novel_where_there_are_both() -> None:
    model = make_model()
    probes = [random_probe(name, [20], seed=i) for i, name in enumerate(["train", "novel", "general"])]
    assert set(look(model, probes).arrays.probe_of_token.values.tolist()) == {"train", "novel"}
    assert look(model, probes, probes=("general",)).arrays.attrs["pool_tokens"] == 20


def test_a_pool_that_is_too_small_scores_nothing() -> None:
    """15 neighbours need 16 tokens."""
    assert np.isnan(look(make_model(), [random_probe("train", [15])]).arrays.score.values).all()
    assert np.isfinite(look(make_model(), [random_probe("train", [16])]).arrays.score.values).all()


def test_many_states_lie_in_a_file_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from ontogeny.measures import compression

    model, probes = make_model(), [random_probe("train", [40, 30])]
    in_memory = look(model, probes)
    monkeypatch.setattr(compression, "IN_MEMORY_BYTES", 0)
    np.testing.assert_array_equal(look(model, probes).arrays.score.values, in_memory.arrays.score.values)
