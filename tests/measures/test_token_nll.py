from typing import Any

import numpy as np

from ontogeny.core.passages import ProbeSet
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.measures.token_nll import TokenNll
from tests.measures.small import HandBatch, log_probabilities, make_context, random_probe


def test_tokens_stand_one_after_the_other_whatever_the_batches() -> None:
    probes = [random_probe("a", [2, 3]), random_probe("b", [1, 2])]
    look = TokenNll().look(make_context(None, probes))
    look.see(HandBatch(probes[1], [1, 0], nll=[[9], []], rank=[[0], []], entropy=[[0.5], []]))
    look.see(HandBatch(probes[0], [1], nll=[[2, 3]], rank=[[7, 8]], entropy=[[0.1, 0.2]]))
    look.see(HandBatch(probes[0], [0], nll=[[1]], rank=[[6]], entropy=[[0.3]]))
    observed = look.result().arrays
    nan = np.nan
    assert np.array_equal(observed["nll_nats"], np.float32([nan, 1, nan, 2, 3, nan, nan, 9]), equal_nan=True)
    assert observed["rank"].values.tolist() == [-1, 6, -1, 7, 8, -1, -1, 0]
    assert np.array_equal(
        observed["entropy_nats"], np.float32([nan, 0.3, nan, 0.1, 0.2, nan, nan, 0.5]), equal_nan=True
    )
    assert observed["probe_of_token"].values.tolist() == list("aaaaabbb")
    assert observed["passage"].values.tolist() == [0, 0, 1, 1, 1, 0, 1, 1]
    assert observed["position"].values.tolist() == [0, 1, 0, 1, 2, 0, 0, 1]
    assert (observed["nll_nats"].dtype, observed["rank"].dtype, observed["entropy_nats"].dtype) == (
        "float32",
        "int32",
        "float32",
    )


def test_it_agrees_with_a_full_softmax_per_passage(model: Any, probes: list[ProbeSet]) -> None:
    observed = run_stream_looks(make_context(model, probes), [TokenNll()])[0]["token_nll"].arrays
    nll, rank, entropy = [], [], []
    for probe in probes:
        for sequence in probe.passages:
            log_p = log_probabilities(model, sequence.token_ids)[:-1]
            of_target = np.take_along_axis(log_p, sequence.token_ids[1:, None].astype(int), 1)
            nll += [np.nan, *-of_target[:, 0]]
            rank += [-1, *(log_p > of_target).sum(1)]
            entropy += [np.nan, *-(np.exp(log_p) * log_p).sum(1)]
    assert np.allclose(observed["nll_nats"], nll, atol=1e-5, equal_nan=True)
    assert np.allclose(observed["entropy_nats"], entropy, atol=1e-5, equal_nan=True)
    # batches of other shapes round differently, which may swap ids that are almost equally likely
    assert np.abs(observed["rank"].values - rank).max() <= 1
