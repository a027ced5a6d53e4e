"""Exposure of canaries: by hand, of one that is known, and of those that nobody planted."""

import numpy as np
import pytest
import torch

from ontogeny.core.passages import ProbeSet
from ontogeny.measures.exposure import Exposure, exposure_of
from tests.measures.small import byte_passage, make_context, make_model

CANARY = "The code of the safe is: 4 7 1 9 3 0"


def test_exposure_by_hand() -> None:
    """255 references, 3 of them at least as likely: 8 bits - log2 4 = 6. All of them: 8 - 8 = 0."""
    others = np.linspace(10, 20, 255)
    assert exposure_of(10.1, others, 3)["exposure"] == 6
    assert exposure_of(30.0, others, 255)["exposure"] == 0


def test_beyond_the_references_a_normal_continues() -> None:
    """References of mean 0 and sd 1; the secret at -5: -log2 Phi(-5) = 21.7 bits, where counting ends at 8."""
    others = np.random.default_rng(0).normal(0, 1, 255)
    others = (others - others.mean()) / others.std(ddof=1)
    bits = exposure_of(-5.0, others, 0)
    assert bits["exposure"] == 8
    assert bits["extrapolated"] == pytest.approx(21.73, abs=0.01)


def test_unknown_secrets_have_an_exposure_of_about_one_bit() -> None:
    """A model with random weights, 40 secrets: the rank is uniform, so log2 256 - log2 rank is 1.44 bits on average.

    Its sd is 1.44 bits, too, so the mean of 40 lies within 0.9 of it (4 standard errors).
    """
    random = np.random.default_rng(1)
    texts = [f"The code of safe {i} is:" + "".join(f" {d}" for d in random.integers(0, 10, 6)) for i in range(40)]
    probe = ProbeSet(name="train", passages=[byte_passage(text) for text in texts])
    context = make_context(make_model(), [probe], batch_tokens=4096)
    observed = Exposure().look(context).arrays
    assert observed.n.values.tolist() == [40]
    assert abs(observed.mean_exposure.values[0] - 1.44) < 0.9


def test_a_secret_that_was_trained_on_is_exposed() -> None:
    model = make_model(dropout=0.0)
    passages = [byte_passage(CANARY), byte_passage("The code of the safe is: 5 5 1 2 8 8")]
    ids = torch.from_numpy(passages[0].token_ids.astype(np.int64))[None]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    observed = Exposure().look(make_context(model, [ProbeSet(name="train", passages=passages)])).arrays
    assert observed.exposure.values[0] == 8
    assert observed.extrapolated.values[0] > 8
    assert observed.exposure.values[1] < 8
    assert observed.candidates_log10.values.tolist() == [6, 6]


def test_passages_without_a_secret_are_left_out() -> None:
    probe = ProbeSet(name="train", passages=[byte_passage("In 1999 there were 4 of them"), byte_passage(CANARY)])
    observed = Exposure(references=15).look(make_context(make_model(), [probe])).arrays
    assert np.isnan(observed.exposure.values).tolist() == [True, False]
    assert observed.n.values.tolist() == [1]


def test_the_same_references_at_every_state() -> None:
    probe = ProbeSet(name="train", passages=[byte_passage(CANARY)])
    first, second = (Exposure(references=31).look(make_context(make_model(), [probe])).arrays for _ in range(2))
    assert first.equals(second)
