"""How many samples it takes: by hand, against the model's own probabilities, and against sampling."""

import math

import numpy as np
import pytest
import torch

from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.measures.discoverable import Discoverable, probability_in, sampler_log_probability, samples_for
from tests.measures.small import log_probabilities, make_context, make_model, random_probe


def test_chance_by_hand() -> None:
    """p = 0.5: 1 - 0.5^2 = 0.75 in two. p = 0.01: 1 - 0.99^100 = 0.6340 in a hundred."""
    probability = probability_in(np.log([0.5, 0.01]), np.array([1, 2, 100]))
    assert probability[0, :2] == pytest.approx([0.5, 0.75])
    assert probability[1, 2] == pytest.approx(0.633968, abs=1e-6)


def test_tiny_and_certain_chances_keep_their_digits() -> None:
    """p = e^-60: 1 - (1 - p)^n is n p to 16 digits, where the plain formula gives 0. p = 1 gives 1, p = 0 gives 0."""
    probability = probability_in(np.array([-60.0, 0.0, -math.inf]), np.array([1, 1000]))
    assert probability[0].tolist() == pytest.approx([math.exp(-60), 1000 * math.exp(-60)], rel=1e-12)
    assert probability[1].tolist() == [1, 1]
    assert probability[2].tolist() == [0, 0]


def test_samples_by_hand() -> None:
    """ln 0.5 / ln 0.9 = 6.58: seven samples at p_z = 0.1. One is enough at 0.5. None are at 0."""
    assert samples_for(np.log([0.1, 0.5]), 0.5).tolist() == [7, 1]
    assert samples_for(np.array([-math.inf]), 0.5).tolist() == [math.inf]


def test_sampler_by_hand() -> None:
    """Logits 2 1 0 at temperature 2 are 1 0.5 0; of the top 2, e / (e + e^0.5) and e^0.5 / (e + e^0.5)."""
    logits = torch.tensor([[2.0, 1.0, 0.0]]).expand(3, 3)
    probability = sampler_log_probability(logits, torch.tensor([0, 1, 2]), 2.0, 2)
    both = math.e + math.exp(0.5)
    assert probability.tolist() == pytest.approx([math.log(math.e / both), math.log(math.exp(0.5) / both), -math.inf])


def test_without_a_sampler_it_is_the_nll() -> None:
    model, probe = make_model(), random_probe("p", [20, 9, 30])
    measure = Discoverable(prefix_tokens=4, suffix_tokens=6, top_k=None)
    observed = run_stream_looks(make_context(model, [probe]), [measure])[0]["discoverable"].arrays
    for row in (0, 2):
        ids = probe.passages[row].token_ids
        expected = log_probabilities(model, ids)[np.arange(3, 9), ids[4:10]].sum()
        assert observed.log_p.values[row] == pytest.approx(expected, rel=1e-5)
    assert np.isnan(observed.log_p.values[1])
    assert observed.passages.values.tolist() == [2]
    assert observed.attrs["sampler"] == "temperature 1, top-k all"


def test_the_chance_is_that_of_sampling() -> None:
    """Two tokens from the top 3, drawn 4,000 times: the frequency lies within 4 binomial sd of exp(log_p)."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 50, generator=random) * 3
    targets = logits.topk(2, dim=-1).indices[:, 1]
    p = math.exp(float(sampler_log_probability(logits, targets, 1.5, 3).sum()))
    top = (logits / 1.5).topk(3, dim=-1)
    drawn = [
        row.indices[torch.multinomial(torch.softmax(row.values, 0), 4000, replacement=True, generator=random)]
        for row in (type(top)((top.values[i], top.indices[i])) for i in range(2))
    ]
    share = float(((drawn[0] == targets[0]) & (drawn[1] == targets[1])).double().mean())
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / 4000)
    assert 0.01 < p < 0.5
