"""Generation beside reconstruction."""

import numpy as np
import pytest

from ontogeny.analyses.routes import Routes
from tests.analyses.tables import table


def test_a_planted_difference_is_found_where_it_is() -> None:
    """Reconstruction is 0.5 better at checkpoint 4, for trained passages only."""
    one = table(accuracy=np.full((9, 80), 0.25))
    better = np.full((9, 80), 0.25)
    better[4, one.trained] += 0.5
    found = Routes().compare(one, table(accuracy=better))
    trained = found.numbers["groups"]["trained"]
    assert trained["difference"] == pytest.approx([0, 0, 0, 0, 0.5, 0, 0, 0, 0])
    assert trained["p_corrected"][4] < 0.01
    assert (np.delete(trained["p_corrected"], 4) == 1).all()
    assert "reconstructed from latents better than written by themselves: most at epoch 10" in found.verdict
    assert (found.numbers["groups"]["novel"]["p_corrected"] == 1).all()


@pytest.mark.slow
def test_noise_is_no_difference() -> None:
    """At 5% 10 of 200 draws are expected; 20 or more have a probability of 0.3% (2,000 draws gave 5.05%)."""
    claims = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        one, other = (table(accuracy=random.random((9, 80))) for _ in range(2))
        claims += bool((Routes().compare(one, other).numbers["groups"]["trained"]["p_corrected"] < 0.05).any())
    assert claims <= 19


def test_few_documents_are_not_assessable() -> None:
    """Signs of five documents can be flipped in 32 ways, so that no p is below 2 / 32: nothing could be found."""
    few = table(passages=5)
    assert Routes().compare(few, few).verdict == (
        "not assessable: lacks 6 documents or more: there are 5; take the probe set from more documents"
    )


def test_what_is_not_found_is_not_called_equal() -> None:
    same = Routes().compare(table(), table()).verdict
    assert (
        same
        == "no sign that trained passages are written better by themselves or from their latents, at any checkpoint"
    )
